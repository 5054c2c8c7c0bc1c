"""Services: what is asked, what is understood, and what becomes of everything that can go wrong."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from linnet.audio import Audio
from linnet.errors import AudioError, OptionError
from linnet.evaluation.log import ScoredRow
from linnet.evaluation.providers import (
    Provider,
    ProviderError,
    ProviderOptions,
    ProviderRecognizer,
    ProviderRefusal,
    ProviderRequest,
    ProviderTranscript,
    open_provider,
    transcribe_all,
)
from linnet.evaluation.providers.http import retry_after
from linnet.evaluation.providers.upload import flac
from linnet.evaluation.run import EvaluationOptions, evaluate_rows
from linnet.text.normalizers import Normalizers
from tests.support import transcription_services as services
from tests.support.transcription_services import KEY, Reply, Service, noise, said, serving

pytest.importorskip("httpx2", reason="the extra providers is not installed")
pytest.importorskip("tenacity", reason="the extra providers is not installed")

KINDS = {
    "openai": ("openai:whisper-1", "OPENAI_API_KEY", services.openai),
    "elevenlabs": ("elevenlabs:scribe_v1", "ELEVENLABS_API_KEY", services.elevenlabs),
    "deepgram": ("deepgram:nova-3", "DEEPGRAM_API_KEY", services.deepgram),
    "assemblyai": ("assemblyai:universal-3-pro,universal-2", "ASSEMBLYAI_API_KEY", services.assemblyai),
}
SOUND = Audio(noise(0.1), "a.wav")
TEXT = said(flac(SOUND))


@pytest.fixture(autouse=True)
def _no_proxy_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    for _, variable, _ in KINDS.values():
        monkeypatch.setenv(variable, KEY)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def service(kind: str) -> Iterator[Service]:
    with serving(KINDS[kind][2]) as running:
        yield running


def opened(kind: str, service: Service | str, **settings: Any) -> Provider:
    url = service if isinstance(service, str) else service.url
    settings = {"pause": 0.01, "timeout": 10.0, "attempts": 3, **settings}
    return open_provider(f"{KINDS[kind][0]}@{url}", ProviderOptions(**settings), cache=False)


def failure(provider: Provider) -> ProviderError:
    with provider, pytest.raises(ProviderError) as caught:
        provider.transcribe(SOUND, language="en")
    return caught.value


def test_what_is_heard_comes_back(kind: str, service: Service) -> None:
    with opened(kind, service) as provider:
        heard = provider.transcribe(SOUND, language="en")
    assert heard.text == TEXT
    assert heard.language == {"openai": None, "elevenlabs": "eng"}.get(kind, "en")
    assert [(word.word, word.start, word.end) for word in heard.words] == (
        [] if kind == "openai" else [("Heard", 0, 0.5)]
    )
    assert 0 < heard.seconds < 60
    assert not heard.cached


def test_the_request_is_the_one_of_the_interface(kind: str, service: Service) -> None:
    with opened(kind, service, fields={"extra": True}) as provider:
        provider.transcribe(SOUND, language="en-GB")
        provider.transcribe(SOUND)
    assert all(asked.headers["user-agent"].startswith("linnet/") for asked in service.asked)
    if kind == "assemblyai":
        orders = [json.loads(asked.body) for asked in service.asked if asked.path == "/v2/transcript"]
        models = ["universal-3-pro", "universal-2"]
        url = "https://cdn.assemblyai.com/upload/"
        assert orders == [
            {"audio_url": f"{url}0", "speech_models": models, "language_code": "en", "extra": True},
            {"audio_url": f"{url}1", "speech_models": models, "language_detection": True, "extra": True},
        ]
    elif kind == "deepgram":
        named, detected = service.asked
        assert named.query == {"model": ["nova-3"], "language": ["en-GB"], "extra": ["true"]}
        assert detected.query == {"model": ["nova-3"], "detect_language": ["true"], "extra": ["true"]}
    else:
        (fields, files), (others, _) = (asked.form() for asked in service.asked)
        assert files["file"][:2] == ("audio.flac", "audio/flac")
        model, language = {"openai": ("model", "language"), "elevenlabs": ("model_id", "language_code")}[kind]
        expected = {"openai": {"response_format": ["json"]}, "elevenlabs": {"tag_audio_events": ["false"]}}[kind]
        assert others == {model: [KINDS[kind][0].partition(":")[2]], "extra": ["true"], **expected}
        assert fields == {language: ["en"], **others}


def test_prompts_are_passed_on_or_refused(kind: str, service: Service) -> None:
    with opened(kind, service) as provider:
        if kind in ("deepgram", "elevenlabs"):
            with pytest.raises(OptionError, match="takes no prompt; use the field keyterm"):
                provider.transcribe(SOUND, prompt="Linnet")
            assert not service.asked
            return
        provider.transcribe(SOUND, prompt="Linnet")
    sent = [asked for asked in service.asked if b"Linnet" in asked.body]
    assert len(sent) == 1
    told = json.loads(sent[0].body)["prompt"] if kind == "assemblyai" else sent[0].form()[0]["prompt"]
    assert told in ("Linnet", ["Linnet"])


def test_openai_tells_language_and_words_where_they_are_asked_for() -> None:
    with (
        serving(services.openai) as service,
        opened("openai", service, fields={"response_format": "verbose_json"}) as provider,
    ):
        heard = provider.transcribe(SOUND)
    assert (heard.language, [word.word for word in heard.words]) == ("english", ["Heard"])


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/"])
def test_an_openai_address_may_end_in_v1(path: str) -> None:
    with serving(services.openai) as service, opened("openai", service.url + path) as provider:
        assert provider.transcribe(SOUND).text == TEXT
    assert [asked.path for asked in service.asked] == ["/v1/audio/transcriptions"]


@given(arrays(np.int16, st.integers(1, 3000)))
def test_the_sound_is_sent_sample_for_sample(whole: np.ndarray[Any, np.dtype[np.int16]]) -> None:
    sent, rate = soundfile.read(BytesIO(flac(Audio((whole / 32768).astype(np.float32)))), dtype="int16")
    assert rate == 16000
    assert np.array_equal(sent, whole)


def test_samples_beyond_full_scale_are_clipped() -> None:
    sent, _ = soundfile.read(BytesIO(flac(Audio(np.array([2.0, -2.0, 1.0], np.float32)))), dtype="int16")
    assert sent.tolist() == [32767, -32768, 32767]


def test_retry_after_is_honored_before_the_own_pause(kind: str, service: Service) -> None:
    service.script = [Reply(429, {"error": "slow down"}, {"Retry-After": "0"}), Reply(503, None, {"Retry-After": "0"})]
    begun = time.monotonic()
    with opened(kind, service, pause=0.01 if kind == "assemblyai" else 30.0) as provider:
        assert provider.transcribe(SOUND).text == TEXT
    assert time.monotonic() - begun < 20
    assert len({asked.body for asked in service.asked[:3]}) in (1, 3)  # the same again (boundaries of forms differ)


def test_a_retry_after_in_seconds_is_waited_for() -> None:
    with serving(services.deepgram) as service, opened("deepgram", service, pause=0.0) as provider:
        service.script = [Reply(429, None, {"Retry-After": "1"})]
        begun = time.monotonic()
        heard = provider.transcribe(SOUND)
        elapsed = time.monotonic() - begun
    assert 0 < heard.seconds <= elapsed - 1  # waiting is not its work


def test_a_service_that_wants_hours_is_not_waited_for() -> None:
    with serving(services.deepgram) as service:
        service.script = [Reply(429, None, {"Retry-After": "7200"})]
        error = failure(opened("deepgram", service))
    assert str(error) == "deepgram:nova-3: status 429: null; it asks to retry after 7200 s"
    assert len(service.asked) == 1


def test_retry_after_is_read_as_seconds_or_as_a_date() -> None:
    assert retry_after("2.5") == 2.5
    assert 8 < (retry_after(format_datetime(datetime.now(UTC) + timedelta(seconds=10), usegmt=True)) or 0) <= 10
    assert retry_after(format_datetime(datetime.now(UTC) - timedelta(days=1), usegmt=True)) == 0
    assert [retry_after(value) for value in (None, "soon", "-1", "nan", "")] == [None] * 5


def test_failures_of_the_server_are_tried_again_up_to_a_limit(kind: str, service: Service) -> None:
    service.script = [Reply(500, {"error": "out of memory"})] * 9
    error = failure(opened(kind, service, attempts=4))
    assert str(error) == f'{KINDS[kind][0]}: status 500: {{"error": "out of memory"}} (tried 4 times); try again later'
    assert (error.status, error.attempts, len(service.asked)) == (500, 4, 4)


@pytest.mark.parametrize("status", [400, 413, 415, 422, 301, 418])
def test_other_refusals_are_not_tried_again(status: int) -> None:
    with serving(services.deepgram) as service:
        service.script = [Reply(status, {"err_msg": "no"})] * 3
        error = failure(opened("deepgram", service))
        assert (error.status, len(service.asked)) == (status, 1)
    assert not isinstance(error, ProviderRefusal)
    assert str(error).startswith(f'deepgram:nova-3: status {status}: {{"err_msg": "no"}}; ')


def test_a_web_page_is_no_answer(kind: str, service: Service) -> None:
    page = b"<!doctype html>\n<html><title>Log in</title>" + b"x" * 1000
    service.script = [Reply(200, page, {"Content-Type": "text/html"})]
    error = failure(opened(kind, service))
    shown = f"<!doctype html> <html><title>Log in</title>{'x' * 1000}"[:200]
    assert str(error) == (
        f"{KINDS[kind][0]}: expected JSON, got text/html: {shown}; check that {service.url} is the URL of its API"
    )
    assert len(service.asked) == 1


def test_an_error_shows_no_control_characters() -> None:
    with serving(services.deepgram) as service:
        service.script = [Reply(400, b"\x1b[31mred\x07 \xff")]
        assert str(failure(opened("deepgram", service))).startswith("deepgram:nova-3: status 400: ?[31mred? \ufffd; ")


@pytest.mark.parametrize(
    "body", [[], "text", 3, None, {}, {"text": None}, {"text": ["a"]}, {"results": {"channels": []}}]
)
def test_json_without_a_text_is_an_error_and_no_empty_transcript(kind: str, service: Service, body: Any) -> None:
    service.script = [Reply(200, body)]
    error = failure(opened(kind, service))
    assert str(error).startswith(f"{KINDS[kind][0]}: ")
    assert ("expected a JSON object" if not isinstance(body, dict) else "the response has no") in str(error)
    assert len(service.asked) == 1


@pytest.mark.parametrize("results", [{"channels": [{"alternatives": []}]}, {"channels": [{"alternatives": [{}]}]}, []])
def test_deepgram_without_alternatives(results: Any) -> None:
    with serving(services.deepgram) as service:
        service.script = [Reply(200, {"results": results})]
        assert "the response has no" in str(failure(opened("deepgram", service)))


def test_silence_is_an_empty_transcript_and_no_error() -> None:
    empty = {"results": {"channels": [{"alternatives": [{"transcript": "", "confidence": 0.0, "words": []}]}]}}
    with serving(services.deepgram) as service, opened("deepgram", service) as provider:
        service.script = [Reply(200, empty)]
        assert provider.transcribe(SOUND, language="en").text == ""


def test_a_service_that_does_not_answer(kind: str, service: Service) -> None:
    service.script = [Reply(200, {}, delay=0.6)] * 2
    error = failure(opened(kind, service, timeout=0.2, attempts=2))
    assert str(error) == (
        f"{KINDS[kind][0]}: {service.url} did not respond within 0.2 s (tried 2 times); "
        "raise the timeout, or try again later"
    )


def test_nobody_is_there(kind: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        error = failure(opened(kind, url, attempts=2))
    assert str(error) == (
        f"{KINDS[kind][0]}: {url} cannot be reached (Connection refused) (tried 2 times); check the URL and the network"
    )


def test_a_wrong_key_is_refused_once_and_never_shown(
    kind: str, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KINDS[kind][1], "sk-wrong-key")
    error = failure(opened(kind, service))
    assert isinstance(error, ProviderRefusal)
    assert str(error).startswith(f"{KINDS[kind][0]}: status 401: ")
    assert str(error).endswith(f"; check the key in {KINDS[kind][1]}")
    assert "***" in str(error)
    assert "wrong" not in str(error)
    assert len(service.asked) == 1


def test_no_key_names_the_variable(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KINDS[kind][1], " ")
    with pytest.raises(ProviderRefusal) as caught:
        open_provider(KINDS[kind][0])
    assert str(caught.value) == f"{KINDS[kind][0]}: has no API key; set the environment variable {KINDS[kind][1]}"


def test_a_key_may_have_another_variable(kind: str, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KINDS[kind][1])
    monkeypatch.setenv("GROQ_API_KEY", KEY)
    with opened(kind, service, key_variable="GROQ_API_KEY") as provider:
        assert provider.transcribe(SOUND).text == TEXT
    monkeypatch.setenv("GROQ_API_KEY", "clé")
    with pytest.raises(ProviderRefusal, match="the key in GROQ_API_KEY has non-ASCII characters"):
        opened(kind, service, key_variable="GROQ_API_KEY")


def test_an_own_server_may_be_asked_without_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")

    def keyless(server: Service, asked: services.Asked) -> Reply:
        assert "authorization" not in asked.headers
        return Reply(body={"text": "fine"})

    with serving(keyless) as service, opened("openai", service) as provider:
        assert provider.transcribe(SOUND).text == "fine"


def test_a_password_in_an_address_is_not_shown() -> None:
    with serving(services.openai) as service:
        provider = opened("openai", service.url.replace("http://", "http://me:secret@"))
        service.script = [Reply(418, None)]
        assert provider.identity.url == service.url
        assert str(failure(provider)).endswith(f"check the address {service.url}")


def test_what_a_service_says_of_an_address_is_not_quoted_with_its_secrets() -> None:
    said = "no user me:s3cret%40x, or s3cret@x; with k3y"
    with serving(lambda *_: Reply(401, body={"error": said})) as service:
        provider = opened("openai", service.url.replace("http://", "http://me:s3cret%40x@") + "/?key=k3y", attempts=1)
        told = str(failure(provider))
    assert "no user me:***, or ***; with ***" in told
    assert not [secret for secret in ("s3cret", "k3y") if secret in told]
    for spec in ("opnai:whisper-1@http://me:s3cret@host/", "openai:@http://me:s3cret@host/?s3cret"):
        with pytest.raises(OptionError) as caught:
            open_provider(spec)
        assert "s3cret" not in str(caught.value)
    with pytest.raises(ProviderError) as error:
        opened("openai", "http://me:s3cret/x@host")
    assert "s3cret" not in str(error.value)


@pytest.mark.parametrize("url", ["http://[::1", "http://127.0.0.1:port"])
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(ProviderError, match=r"is not a valid URL|cannot be reached|failed"):
        opened("openai", url, attempts=1).transcribe(SOUND)


def test_assemblyai_tells_why_a_recording_failed_and_when_it_takes_too_long() -> None:
    def speak(server: Service, asked: services.Asked) -> Reply:
        done = services.assemblyai(server, asked)
        return Reply(body={**done.body, **state}) if asked.method == "GET" else done

    with serving(speak) as service:
        state: dict[str, Any] = {"status": "error", "error": "Transcoding failed. File type is not audio."}
        error = failure(opened("assemblyai", service))
        assert "the recording failed: Transcoding failed. File type is not audio.; check" in str(error)
        state = {"status": "processing", "error": None}
        error = failure(opened("assemblyai", service, timeout=1.0))
        assert "still processing after 1 s; raise the timeout" in str(error)
        state = {"status": "completed", "text": None}
        assert "the response has no 'text'" in str(failure(opened("assemblyai", service)))
        state = {"status": "lost"}
        assert "unknown status 'lost'" in str(failure(opened("assemblyai", service)))


# Answers that are kept


class Kept:
    """A service, its cache, and what was said of it."""

    def __init__(self, kind: str, service: Service, folder: Path) -> None:
        self.kind, self.service, self.folder = kind, service, folder
        self.notices: list[str] = []

    def __call__(
        self, sound: Audio = SOUND, model: str = "", language: str | None = None, **fields: Any
    ) -> ProviderTranscript:
        options = ProviderOptions(pause=0.01, attempts=1, fields=fields)
        spec = f"{self.kind}:{model}" if model else KINDS[self.kind][0]
        name = f"{spec}@{self.service.url}"
        with open_provider(name, options, folder=self.folder, notify=self.notices.append) as provider:
            return provider.transcribe(sound, language=language)

    def files(self) -> list[Path]:
        return sorted(self.folder.rglob("*.json"))


@pytest.fixture
def kept(kind: str, service: Service, tmp_path: Path) -> Kept:
    return Kept(kind, service, tmp_path)


def test_a_second_run_asks_nothing(kept: Kept) -> None:
    first = kept()
    asked = len(kept.service.asked)
    second = kept(Audio(SOUND.samples.copy(), "another-name.wav"))
    assert (second.text, second.language, second.words, second.seconds) == (
        *(first.text, first.language, first.words, first.seconds),
    )
    assert (first.cached, second.cached) == (False, True)
    assert len(kept.service.asked) == asked
    assert len(kept.files()) == 1
    assert KEY not in kept.files()[0].read_text()
    assert not kept.notices


def test_whatever_an_answer_depends_on_is_asked_anew(tmp_path: Path) -> None:
    with serving(services.deepgram) as service:
        kept = Kept("deepgram", service, tmp_path)
        variants: list[Callable[[], ProviderTranscript]] = [
            kept,
            lambda: kept(model="nova-2"),
            lambda: kept(language="en"),
            lambda: kept(smart_format=True),
            lambda: kept(Audio(noise(0.1, seed=1))),
            lambda: kept(Audio(SOUND.samples[:-1])),
        ]
        assert not any(variant().cached for variant in variants)
        assert all(variant().cached for variant in variants)
        assert len(service.asked) == len(kept.files()) == len(variants)
    with serving(services.deepgram) as another:
        assert not Kept("deepgram", another, tmp_path)().cached


@pytest.mark.parametrize("damage", ["", "{", '{"key": 1}', "text"])
def test_a_damaged_answer_is_asked_for_again_with_a_notice(tmp_path: Path, damage: str) -> None:
    with serving(services.deepgram) as service:
        kept = Kept("deepgram", service, tmp_path)
        first = kept()
        (path,) = kept.files()
        whole = path.read_text()
        path.write_text(damage if damage != "text" else whole.replace("Heard 1600", "Heard 1601"))
        assert path.read_text() != whole
        again = kept()
        assert (again.text, again.cached) == (first.text, False)
        (notice,) = kept.notices
        assert str(path) in notice
        assert "is damaged" in notice
        assert kept().cached


def test_failures_are_not_kept(tmp_path: Path) -> None:
    with serving(services.deepgram) as service:
        kept = Kept("deepgram", service, tmp_path)
        service.script = [Reply(500, None)]
        with pytest.raises(ProviderError):
            kept()
        assert not kept.files()
        assert kept().text == TEXT


def test_a_cache_that_cannot_be_written_costs_a_notice_and_no_answer(tmp_path: Path) -> None:
    (tmp_path / "providers").write_text("a file where the folder should be")
    with serving(services.deepgram) as service:
        kept = Kept("deepgram", service, tmp_path)
        assert kept().text == TEXT
        assert "responses cannot be cached" in kept.notices[0]


# Many at once


def sounds(count: int) -> list[Audio]:
    return [Audio(noise(0.01, seed=seed), f"{seed}.wav") for seed in range(count)]


def test_replies_come_in_order_whoever_is_first(kind: str, service: Service) -> None:
    audios = sounds(9)
    delays = iter([0.15, 0.0, 0.1, 0.0, 0.05, 0.0, 0.0, 0.12, 0.0] * 9)
    proper = service.speak

    def slowly(server: Service, asked: services.Asked) -> Reply:
        reply = proper(server, asked)
        return Reply(reply.status, reply.body, reply.headers, next(delays))

    service.speak = slowly
    with opened(kind, service, concurrency=3) as provider:
        replies = list(transcribe_all(provider, [ProviderRequest(audio) for audio in audios]))
    assert [reply.transcript and reply.transcript.text for reply in replies] == [said(flac(audio)) for audio in audios]
    assert 1 < service.most <= 3
    assert [reply.duration for reply in replies] == [0.01] * 9


def test_requests_are_taken_as_they_are_needed() -> None:
    taken = 0

    def endless() -> Iterator[ProviderRequest]:
        nonlocal taken
        while True:
            taken += 1
            yield ProviderRequest(lambda: SOUND)

    with serving(services.deepgram) as service, opened("deepgram", service, concurrency=2) as provider:
        replies = transcribe_all(provider, endless())
        assert [next(replies).duration for _ in range(5)] == [0.1] * 5
        replies.close()  # type: ignore[attr-defined]  # it is a generator
    assert taken <= 5 + 4


def test_one_bad_recording_leaves_the_others_alone(tmp_path: Path) -> None:
    with serving(services.deepgram) as service, opened("deepgram", service, concurrency=2) as provider:
        missing = str(tmp_path / "missing.wav")
        replies = list(
            transcribe_all(
                provider, [ProviderRequest(SOUND), ProviderRequest(missing), ProviderRequest(SOUND)] * 5, patience=2
            )
        )
    assert [reply.transcript is not None for reply in replies] == [True, False, True] * 5
    assert isinstance(replies[1].error, AudioError)
    assert missing in str(replies[1].error)


@pytest.mark.parametrize("concurrency", [1, 3])
def test_a_wrong_key_ends_the_run(monkeypatch: pytest.MonkeyPatch, concurrency: int) -> None:
    monkeypatch.setenv("DEEPGRAM_API_KEY", "wrong")
    with serving(services.deepgram) as service, opened("deepgram", service, concurrency=concurrency) as provider:
        with pytest.raises(ProviderRefusal, match="status 401"):
            list(transcribe_all(provider, [ProviderRequest(SOUND)] * 50))
        assert len(service.asked) <= 2 * concurrency


def test_failures_in_a_row_end_the_run() -> None:
    with serving(services.deepgram) as service, opened("deepgram", service, attempts=1, concurrency=1) as provider:
        bad = Reply(500, {"err_msg": "down"})
        service.script = [bad, bad]
        replies = [
            reply.transcript is None for reply in transcribe_all(provider, [ProviderRequest(SOUND)] * 3, patience=3)
        ]
        assert replies == [True, True, False]
        service.script, service.speak = [], lambda server, asked: bad
        with pytest.raises(ProviderError, match=r"3 consecutive recordings failed, the last with: .* status 500"):
            list(transcribe_all(provider, [ProviderRequest(SOUND)] * 9, patience=3))


def test_a_run_that_is_broken_off_does_not_sit_out_its_pauses() -> None:
    def speak(server: Service, asked: services.Asked) -> Reply:
        return Reply(body=first) if asked.body == flac(SOUND) else Reply(429, None, {"Retry-After": "60"})

    first = {"results": {"channels": [{"alternatives": [{"transcript": "first"}]}]}}
    with serving(speak) as service:
        provider = opened("deepgram", service, concurrency=2)
        replies = transcribe_all(provider, [ProviderRequest(sound) for sound in (SOUND, *sounds(9))])
        begun = time.monotonic()
        assert next(replies).transcript is not None
        replies.close()  # type: ignore[attr-defined]  # it is a generator
        assert time.monotonic() - begun < 30


def test_an_evaluation_runs_a_provider_as_it_runs_a_model(tmp_path: Path) -> None:
    rows = []
    for number, seconds in enumerate((0.1, 0.2)):
        soundfile.write(tmp_path / f"{number}.wav", noise(seconds), 16000)
        text = f"heard {int(seconds * 16000)} samples {int(noise(seconds)[0] * 32768)}".replace("-", "")
        rows.append(ScoredRow(number, str(number), str(tmp_path / f"{number}.wav"), text, language="en-GB"))
    rows.append(ScoredRow(2, "2", str(tmp_path / "missing.wav"), "nothing", language="de"))
    options = EvaluationOptions(normalizers=Normalizers("basic"))
    with serving(services.deepgram) as service, opened("deepgram", service, fields={"tier": "x"}) as provider:
        recognizer = ProviderRecognizer(provider)
        scored = list(evaluate_rows(recognizer, rows, options))
        assert {asked.query["language"][0] for asked in service.asked} == {"en"}
    assert [row.counts.errors for row in scored[:2]] == [0, 0]
    assert all(row.seconds > 0 for row in scored[:2])
    assert [row.duration for row in scored[:2]] == [0.1, 0.2]
    assert "missing.wav" in (scored[2].error or "")
    header = options.header(recognizer)
    assert header["model"] == "deepgram:nova-3"
    assert header["revision"] == f"request 1, {service.url}, tier=x"
