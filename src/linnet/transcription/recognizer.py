"""The front door: load a model by name and transcribe."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from functools import cached_property, partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Unpack, cast

from linnet.audio.source import open_audio
from linnet.audio.types import SAMPLE_RATE
from linnet.decoding.options import DecodingOptions
from linnet.errors import LinnetError, OptionError
from linnet.machine import versions
from linnet.notices import Notify, ignore
from linnet.settings import did_you_mean
from linnet.transcription.backend import Backend, Outcome
from linnet.transcription.options import TranscriptionOptions
from linnet.transcription.schedule import BATCH_SIZE, Progress, Recording, Result, run_jobs
from linnet.transcription.schedule import in_order as ordered
from linnet.transcription.transcribe_options import TranscribeOptions
from linnet.transcription.transcript import Transcript

if TYPE_CHECKING:
    from linnet.engines.choice import EngineChoice
    from linnet.models.resolve import ModelRef


def load(  # noqa: PLR0913 (the front door: each is a keyword that the user may give)
    name: str | None = None,
    *,
    device: str = "auto",
    engine: str = "auto",
    compute_type: str = "auto",
    dtype: str = "auto",
    threads: int | None = None,
    offline: bool = False,
    revision: str | None = None,
    late: bool = False,
    notify: Notify | None = None,
) -> Recognizer:
    """Load a speech model: an embedded name (`digits`), a folder, or a Hub id; by default the one for this machine.

    `device` is auto, cpu or cuda; `engine` auto, torch or openvino, which runs Whisper-family models on a CPU, and CTC
    models if chosen explicitly; `compute_type` auto, f32 (or float32), bf16 (or bfloat16), float16, int8 or w8a8;
    `dtype`, deprecated, is `compute_type` with `engine="torch"`; `threads` is the number for the engine, by default all
    cores. `notify` receives each automatic choice with its reason. `late`: load the weights when the first recording
    has been opened, not now. Raises `ModelError` for a model that is missing or damaged, `OptionError` for options that
    exclude each other.

    >>> recognizer = load("digits")
    >>> recognizer.languages
    ('en', 'de', 'fr', 'es', 'it')
    """
    from linnet.engines.choice import EngineConfig, choose, replace_dtype
    from linnet.models.default import resolve_default
    from linnet.models.device import choose_device
    from linnet.models.resolve import resolve

    notify = notify or ignore
    wanted = EngineConfig(engine, compute_type, threads)
    if dtype != "auto":
        wanted = replace_dtype(dtype, wanted, notify)
    place, why = choose_device(device)
    if device == "auto":
        notify(f"device: {place} ({why})")
    if name is None and revision is not None:
        raise OptionError(f"revision {revision} needs a model: name the model, too")
    if name is None:
        ref = resolve_default(place.startswith("cuda"), offline=offline, notify=notify)
    else:
        ref = resolve(name, offline=offline, revision=revision, notify=notify)
    chosen = choose(ref, place, wanted, notify)
    read = partial(load_backend, ref, place, chosen, notify)
    backend = cast("Backend", _LazyBackend(read)) if late else read()
    return Recognizer(backend, ref, device=place, dtype=chosen.precision, threads=threads)


def load_backend(ref: ModelRef, device: str, chosen: EngineChoice, notify: Notify) -> Backend:
    """Load the weights as a backend on this device."""
    from linnet.engines.choice import build_ctc, build_engine, torch_dtype
    from linnet.models.families import WHISPER, family_of

    if family_of(ref.path) is WHISPER:
        from linnet.transcription.whisper import WhisperBackend

        return WhisperBackend(*build_engine(ref, device, chosen, notify))
    from linnet.transcription.generic import GenericBackend, load_generic

    if chosen.engine == "openvino":
        return GenericBackend(build_ctc(ref, chosen, notify))
    return load_generic(ref, device=device, dtype=torch_dtype(chosen))


class _LazyBackend:
    """A `Backend` that is loaded on first use."""

    def __init__(self, load: Callable[[], Backend]) -> None:
        self._load = load
        self.seconds = 0.0  # of loading

    @cached_property
    def _loaded(self) -> Backend:
        begun = time.perf_counter()
        loaded = self._load()
        self.seconds = time.perf_counter() - begun
        return loaded

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loaded, name)


class Recognizer:
    """One model, ready to transcribe any number of recordings. Made by `load`."""

    def __init__(self, backend: Backend, ref: ModelRef, *, device: str, dtype: str, threads: int | None = None) -> None:
        self._backend = backend
        self.name = ref.name
        self.revision = ref.revision
        self.device = device
        self.dtype = dtype
        self.threads = threads

    @property
    def backend(self) -> Backend:
        """What the model's family does with it, for other parts of Linnet."""
        return self._backend

    @property
    def loading_seconds(self) -> float:
        """Seconds for loading the weights while recordings waited; 0 if they were loaded before."""
        return self._backend.seconds if isinstance(self._backend, _LazyBackend) else 0.0

    @property
    def languages(self) -> tuple[str, ...]:
        """Codes for `language`; empty if the model takes none."""
        return self._backend.languages

    @property
    def engine_name(self) -> str:
        """Runtime, device and precision, for reports."""
        return self._backend.engine_name

    @property
    def word_times_notice(self) -> str | None:
        """A notice for users of this model's word times, if any."""
        notice: str | None = getattr(self._backend, "word_times_notice", None)
        return notice

    def transcribe(
        self,
        audio: Any,
        **options: Unpack[TranscribeOptions],
    ) -> Transcript:
        """Transcribe one recording of any length.

        `audio` is a path, a URL, "-" for stdin, bytes, a file object, an `Audio`, an array of samples ([N] or [N,
        channels]) at `sample_rate` Hz (16000 if not given), or {"array", "sampling_rate"} as data sets hold it. `track`
        selects an audio track of a video, from 1. `options` are those of `TranscribeOptions`. Raises `AudioError` for a
        recording that cannot be read and `OptionError` for options that the model does not support.

        >>> load("digits").transcribe("examples/digits-en.flac", language="en").language
        'en'
        """
        template, chosen = _split(options)
        source = open_audio(audio, channel=template.channel, sample_rate=template.sample_rate, track=template.track)
        (result,) = self.transcribe_many([replace(template, sound=source)], options=chosen)
        if result.transcript is None:
            raise result.error or AssertionError("a result holds a transcript or an error")
        return result.transcript

    def transcribe_many(
        self,
        sources: Iterable[Any],
        *,
        batch_size: int = BATCH_SIZE,
        in_order: bool = True,
        on_progress: Callable[[Progress], None] | None = None,
        **options: Unpack[TranscribeOptions],
    ) -> Iterator[Result]:
        """Transcribe recordings, with batches of `batch_size` windows from one or several of them; yields a `Result`
        for each.

        Takes the options of `transcribe`, for all recordings. Results come in the order of the inputs; with
        `in_order=False` as they are done, with `index` for the input. A failed recording yields a `Result` with its
        error, and the others continue. Raises `OptionError` for options that the model does not support. A source may
        be a `schedule.Recording`, with its own channel, track and journal. A generator of sources runs in its own
        thread; waiting for it does not delay results.
        """
        if not isinstance(batch_size, int) or batch_size < 1:
            raise OptionError(f"batch size must be at least 1, got {batch_size}")
        if isinstance(sources, str | bytes | bytearray | os.PathLike | Mapping) or hasattr(sources, "ndim"):
            raise OptionError("transcribe_many takes several recordings: give a list of them, or use transcribe")
        template, chosen = _split(options)
        results = run_jobs(self._backend, sources, chosen, batch_size, template=template, on_progress=on_progress)
        for result in ordered(results) if in_order else results:
            outcome = result.outcome
            done = None if outcome is None else self._transcript(outcome, result, chosen, template)
            yield replace(result, transcript=done)

    def stream(
        self, chunks: Any, *, sample_rate: int = SAMPLE_RATE, live: bool = False, **options: Any
    ) -> AsyncGenerator[Any, None]:
        """Recognize speech while it is spoken: `async for event in recognizer.stream(chunks)`.

        `chunks` are mono samples of any length at `sample_rate` Hz, floats within -1 to 1 or int16, from an
        asynchronous generator, a generator or a list; `live` says that their source cannot wait. `options` are those
        of `linnet.streaming.options.StreamOptions`. The events are those of `linnet.streaming.events`; whatever goes
        wrong in the source or in the model is one of them, too. Raises `OptionError` for options that make no sense.
        """
        # the one place where this room needs a feature: by name, so that it is loaded when somebody streams
        module = import_module("linnet.streaming.live")
        events: AsyncGenerator[Any, None] = module.stream(self, chunks, sample_rate=sample_rate, live=live, **options)
        return events

    def _transcript(
        self, outcome: Outcome, result: Result, options: DecodingOptions, template: Recording
    ) -> Transcript:
        recording = result.source if isinstance(result.source, Recording) else template
        return Transcript(
            segments=outcome.segments,
            language=outcome.language,
            language_probability=outcome.language_probability,
            language_probabilities=outcome.language_probabilities,
            counts=outcome.counts,
            duration=result.duration,
            source=result.name,
            model=self.name,
            revision=self.revision,
            options={
                **asdict(options),
                "device": self.device,
                "dtype": self.dtype,
                "channel": recording.channel,
                "track": recording.track,
            },
            versions=versions("linnet", "torch", "transformers"),
        )


def _split(given: Mapping[str, Any]) -> tuple[Recording, TranscriptionOptions]:
    """Split keywords into those for opening, as a `Recording` without audio, and transcription options."""
    changes = dict(given)
    opening = {name: changes.pop(name) for name in ("channel", "track", "sample_rate") if name in changes}
    options = changes.pop("options", None)
    if "temperature" in changes:  # its name elsewhere and on the command line
        changes = {"temperatures": changes["temperature"], **changes}
        del changes["temperature"]
    if not isinstance(options, DecodingOptions | None):
        raise OptionError(
            f"options must be TranscriptionOptions, got {type(options).__name__}; give single options by name"
        )
    known = list(TranscribeOptions.__annotations__)
    if wrong := next((key for key in changes if key not in known), None):
        hint = did_you_mean(wrong, {name: name for name in known}) or f"; the options are {', '.join(known)}"
        raise OptionError(f"unknown option {wrong!r}{hint}")
    return Recording(None, **opening), replace(TranscriptionOptions.of(options), **changes)


__all__ = ["LinnetError", "Progress", "Recognizer", "Result", "load"]
