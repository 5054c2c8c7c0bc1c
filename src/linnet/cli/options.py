"""Options that several verbs share, each also an environment variable: LINNET_<NAME>, the same for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from linnet.errors import OptionError
from linnet.notices import Notify

if TYPE_CHECKING:
    from linnet.models.resolve import ModelRef
    from linnet.transcription.options import TranscriptionOptions
    from linnet.transcription.recognizer import Recognizer
    from linnet.transcription.subtitles import SubtitleLayout


def option(*names: str, help: str, verb: str = "", **more: Any) -> Any:
    """A typer option whose environment variable is its long name: `--beam-size` is LINNET_BEAM_SIZE.

    `verb` is for a name with another meaning elsewhere: the `--format` of `bench` is LINNET_BENCH_FORMAT.
    """
    words = [*verb.split(), *names[0].partition("/")[0].removeprefix("--").split("-")]
    return typer.Option(*names, help=help, envvar="_".join(["LINNET", *words]).upper(), show_envvar=True, **more)


def renamed(former: str, now: str) -> Any:
    """A hidden option that was renamed: giving it is an `OptionError` that names the current one."""

    def refuse(value: bool | None) -> None:
        if value is not None:
            raise OptionError(f"{former.replace('/', ' and ')} were renamed: use {now}")

    return typer.Option(former, hidden=True, callback=refuse)


Model = Annotated[
    str | None,
    option(
        "--model",
        "-m",
        metavar="NAME",
        help="Embedded name (digits), folder, or Hub id. Default: chosen for this machine.",
    ),
]
Language = Annotated[
    str | None,
    option("--language", "-l", metavar="CODE", help="Language code or name (de, german). Default: detect."),
]
Device = Annotated[str, option("--device", metavar="NAME", help="Device: auto, cpu or cuda.")]
Engine = Annotated[
    str,
    option("--engine", metavar="NAME", help="Engine: auto, torch, or openvino (Whisper and CTC models on a CPU)."),
]
ComputeType = Annotated[
    str,
    option(
        "--compute-type",
        metavar="NAME",
        help="Precision: auto, f32 (or float32), bf16 (or bfloat16), float16 (with torch), int8 (weights in 8 bits, "
        "with openvino), or w8a8 (the encoder's products too, after linnet models quantize).",
    ),
]
DType = Annotated[
    str, option("--dtype", metavar="NAME", hidden=True, help="Deprecated: use --engine torch --compute-type NAME.")
]
Threads = Annotated[int | None, option("--threads", metavar="N", min=1, help="Engine threads. Default: all cores.")]
BeamSize = Annotated[int, option("--beam-size", help="Beam size; 1 is greedy search.", min=1, metavar="N")]
BatchSize = Annotated[
    int, option("--batch-size", help="Windows to decode at once, from one or more recordings.", min=1, metavar="N")
]
LongForm = Annotated[
    str | None,
    option(
        "--long-form",
        metavar="NAME",
        help="How to transcribe audio longer than one window: batched (speech windows in parallel) or sequential "
        "(one after another). Default: batched.",
    ),
]
Vad = Annotated[bool, option("--vad/--no-vad", help="Transcribe only detected speech in batched long-form.")]
LanguagePerSegment = Annotated[
    bool, option("--language-per-segment", help="Detect the language per window, for multilingual recordings.")
]
MaxNewTokens = Annotated[int | None, option("--max-new-tokens", help="Maximum tokens per window.", min=1, metavar="N")]
Temperature = Annotated[
    str,
    option(
        "--temperature",
        metavar="T,T,...",
        help="Sampling temperatures, tried in order while a window's text has low confidence.",
    ),
]
Channel = Annotated[
    str,
    option("--channel", metavar="NAME", help="Channel to transcribe: mix (the mean), left, right, or a number from 0."),
]
Track = Annotated[
    int | None, option("--track", metavar="N", min=1, help="Audio track of a video to transcribe, from 1.")
]
Prompt = Annotated[
    str | None,
    option("--prompt", metavar="TEXT", help="Text assumed to precede the recording, to set names, spelling and style."),
]
Hotwords = Annotated[
    str | None,
    option("--hotwords", metavar="WORD,...", help="Names and terms to expect, spelled as they should appear."),
]
Timestamps = Annotated[
    bool, option("--timestamps/--no-timestamps", help="Decode timestamps; always on for long audio.")
]
WordTimestamps = Annotated[
    bool, option("--word-timestamps", help="Add word times: to json and jsonl, and as word highlighting to vtt.")
]
Subtitle = Annotated[
    bool,
    option(
        "--subtitle",
        help="Lay out srt and vtt for reading: 2 lines of 42 characters, 20 characters per second, cues of 0.8 to 7 s.",
    ),
]
MaxLineWidth = Annotated[
    int | None, option("--max-line-width", help="Maximum characters per line in srt and vtt.", min=1, metavar="N")
]
MaxLines = Annotated[
    int | None, option("--max-lines", help="Maximum lines per cue in srt and vtt.", min=1, metavar="N")
]
ReadingSpeed = Annotated[
    float | None,
    option(
        "--max-chars-per-second",
        metavar="X",
        help="Keep srt and vtt cues on screen long enough for this reading speed, where the next cue leaves room.",
    ),
]
Seed = Annotated[int, option("--seed", metavar="N", help="Random seed for sampling.")]
Offline = Annotated[bool, option("--offline", help="Load models without network access.")]
ProgressKind = Annotated[
    str,
    option(
        "--progress",
        metavar="KIND",
        help="Progress on stderr: auto (a bar on a terminal), bar, json (one line per step) or none.",
    ),
]
Quiet = Annotated[bool, option("--quiet", "-q", help="Print failures only on stderr: no notices, bar or table.")]
Verbose = Annotated[bool, option("--verbose", help="Show the traceback of an error.")]


_THRESHOLDS = {
    "compression_ratio_threshold": "compression ratio threshold",
    "log_probability_threshold": "log probability threshold",
    "no_speech_threshold": "no-speech threshold",
}


def numbers(text: str, name: str) -> tuple[float, ...]:
    """Parse numbers separated by commas. Raises `OptionError`."""
    try:
        return tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise OptionError(f"{name} must be a number, or several separated by commas, got {text!r}") from None


def number_or_none(text: str, name: str) -> float | None:
    """Parse a number, or `None` for `none`. Raises `OptionError`."""
    if text.strip().lower() in ("none", "off"):
        return None
    found = numbers(text, name)
    if len(found) != 1:
        raise OptionError(f"{name} must be a number or none, got {text!r}")
    return found[0]


def subtitle_layout(
    preset: bool, width: int | None, lines: int | None, characters_per_second: float | None
) -> SubtitleLayout | None:
    """The layout of the options, with the preset's values for unset ones; None without layout options."""
    from linnet.transcription.subtitles import SUBTITLE, SubtitleLayout

    named = {"max_line_width": width, "max_lines": lines, "max_chars_per_second": characters_per_second}
    given: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    if preset:
        return replace(SUBTITLE, **given)
    return SubtitleLayout(**given) if given else None


def transcription_options(given: Mapping[str, Any]) -> TranscriptionOptions:
    """The transcription options among a command's parameters. Raises `OptionError`."""
    from linnet.transcription.options import TranscriptionOptions

    chosen = {field.name: given[field.name] for field in fields(TranscriptionOptions) if field.name in given}
    for name in _THRESHOLDS.keys() & given.keys():
        chosen[name] = number_or_none(given[name], _THRESHOLDS[name])
    return TranscriptionOptions(**chosen, temperatures=numbers(given["temperature"], "temperature"))


def place_and_model(name: str | None, device: str, threads: int | None, notify: Notify) -> tuple[str, ModelRef]:
    """The device, and the files of the model with this name, or of this machine's default; PyTorch takes the threads.

    Raises `ModelError`, `OptionError`.
    """
    import torch

    from linnet.models.default import resolve_default
    from linnet.models.device import choose_device
    from linnet.models.resolve import resolve

    if threads:
        torch.set_num_threads(threads)
    place, _ = choose_device(device)
    return place, resolve_default(place != "cpu", notify=notify) if name is None else resolve(name, notify=notify)


@dataclass(frozen=True)
class ModelChoice:
    """Which model the user chose, and where it runs."""

    name: str | None
    device: str
    dtype: str
    offline: bool
    engine: str = "auto"
    compute_type: str = "auto"
    threads: int | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> ModelChoice:
        """The model options among a command's parameters."""
        return cls(given["model"], *(given[field.name] for field in fields(cls)[1:]))

    def load(self, notify: Notify, *, late: bool = False) -> Recognizer:
        """Load the model (`late`: its weights when a recording has been opened) and report choices.

        Raises `ModelError`, `OptionError`.
        """
        from linnet.transcription import recognizer

        return recognizer.load(self.name, late=late, notify=notify, **self.keywords)

    @property
    def keywords(self) -> dict[str, Any]:
        """Those of `linnet.load` that say where and how the model runs."""
        return {
            "device": self.device,
            "engine": self.engine,
            "compute_type": self.compute_type,
            "dtype": self.dtype,
            "threads": self.threads,
            "offline": self.offline,
        }
