"""Many recordings through one system, several at once for a service; results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from linnet.audio import Audio, load
from linnet.errors import AudioError, LinnetError
from linnet.evaluation.providers.protocol import Provider, ProviderError, ProviderRefusal, ProviderTranscript

PATIENCE = 10


@dataclass(frozen=True)
class ProviderRequest:
    """A recording to recognize: anything `linnet.audio.load` takes, or a function that returns an `Audio`."""

    audio: Any
    language: str | None = None
    prompt: str | None = None


@dataclass(frozen=True)
class ProviderReply:
    """The result of one request: a transcript or an error, and the duration of the audio in seconds."""

    transcript: ProviderTranscript | None = None
    error: LinnetError | None = None
    duration: float = 0.0


def transcribe_all(
    provider: Provider, requests: Iterable[ProviderRequest], *, concurrency: int | None = None, patience: int = PATIENCE
) -> Iterator[ProviderReply]:
    """Recognize recordings, `concurrency` at once (default: the provider's); replies in order.

    A recording that fails is a reply with its error. A `ProviderRefusal`, or `patience` consecutive failures that are
    not caused by the audio, end the run. An interrupted run closes the provider, which ends its pauses.
    """
    many = concurrency or provider.concurrency
    replies = _one_by_one(provider, requests) if many == 1 else _side_by_side(provider, requests, many)
    in_a_row = 0
    with closing(replies):
        for reply in replies:
            if isinstance(reply.error, ProviderRefusal):
                raise reply.error
            in_a_row = in_a_row + 1 if _is_of_provider(reply.error) else 0
            if in_a_row == patience:
                problem = f"{patience} consecutive recordings failed, the last with: {reply.error}"
                raise ProviderError(provider.identity.name, problem, "fix that, then run it again") from reply.error
            yield reply


def _is_of_provider(error: LinnetError | None) -> bool:
    return error is not None and not isinstance(error, AudioError)


def _one_by_one(provider: Provider, requests: Iterable[ProviderRequest]) -> Generator[ProviderReply, None, None]:
    for request in requests:
        yield _answer(provider, request)


def _side_by_side(
    provider: Provider, requests: Iterable[ProviderRequest], many: int
) -> Generator[ProviderReply, None, None]:
    pending: deque[Future[ProviderReply]] = deque()
    with ThreadPoolExecutor(many, thread_name_prefix="linnet-provider") as pool:
        try:
            for request in requests:
                pending.append(pool.submit(_answer, provider, request))
                if len(pending) >= 2 * many:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            if pending:
                for future in pending:
                    future.cancel()
                provider.close()


def _answer(provider: Provider, request: ProviderRequest) -> ProviderReply:
    audio: Audio | None = None
    try:
        made = request.audio() if callable(request.audio) else request.audio
        audio = made if isinstance(made, Audio) else load(made)
        transcript = provider.transcribe(audio, language=request.language, prompt=request.prompt)
    except LinnetError as error:
        return ProviderReply(error=error, duration=0.0 if audio is None else audio.duration)
    return ProviderReply(transcript, duration=audio.duration)
