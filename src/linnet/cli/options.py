"""Options that several verbs share, each also an environment variable: LINNET_<NAME>, the same for all of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from linnet.errors import OptionError
from linnet.notices import Notify

if TYPE_CHECKING:
    from linnet.transcription.recognizer import Recognizer
    from linnet.transcription.subtitles import SubtitleLayout


def option(*names: str, help: str, verb: str = "", **more: Any) -> Any:
    """A typer option whose environment variable is its long name: `--beam-size` is LINNET_BEAM_SIZE.

    `verb` is for a name that says something else elsewhere: the `--format` of `bench` is LINNET_BENCH_FORMAT.
    """
    words = [*verb.split(), *names[0].partition("/")[0].removeprefix("--").split("-")]
    return typer.Option(*names, help=help, envvar="_".join(["LINNET", *words]).upper(), show_envvar=True, **more)


Model = Annotated[
    str | None,
    option(
        "--model",
        "-m",
        metavar="NAME",
        help="An embedded name (digits), a folder, or a Hub id. By default chosen for this machine.",
    ),
]
Language = Annotated[
    str | None,
    option("--language", "-l", metavar="CODE", help="Code or English name (de, german), or auto. By default detected."),
]
Device = Annotated[str, option("--device", metavar="NAME", help="auto, cpu or cuda.")]
Engine = Annotated[
    str, option("--engine", metavar="NAME", help="auto, torch, or openvino (Whisper-family and CTC models on a CPU).")
]
ComputeType = Annotated[
    str,
    option(
        "--compute-type",
        metavar="NAME",
        help="auto, f32 (or float32), bf16 (or bfloat16), float16 (with torch), int8 (weights in 8 bits, with "
        "openvino), or w8a8 (the encoder's products too, after linnet models quantize).",
    ),
]
DType = Annotated[
    str, option("--dtype", metavar="NAME", hidden=True, help="Deprecated: use --engine torch --compute-type NAME.")
]
Threads = Annotated[
    int | None, option("--threads", metavar="N", min=1, help="Threads of the engine. By default all cores.")
]
BeamSize = Annotated[int, option("--beam-size", help="Beams of the search; 1 is greedy.", min=1, metavar="N")]
BatchSize = Annotated[
    int, option("--batch-size", help="Windows, of one recording or of several, to decode at once.", min=1, metavar="N")
]
LongForm = Annotated[
    str | None,
    option(
        "--long-form",
        metavar="NAME",
        help="Over one window: batched (several windows at once, where speech is) or sequential (one after another). "
        "By default batched.",
    ),
]
Vad = Annotated[bool, option("--vad/--no-vad", help="In batched long-form listen only where speech is found.")]
LanguagePerSegment = Annotated[
    bool, option("--language-per-segment", help="Detect the language of each window, for mixed recordings.")
]
MaxNewTokens = Annotated[int | None, option("--max-new-tokens", help="Most tokens of one window.", min=1, metavar="N")]
Temperature = Annotated[
    str,
    option(
        "--temperature",
        metavar="T,T,...",
        help="One temperature, or several with commas, tried in turn while a window's text has low confidence.",
    ),
]
Channel = Annotated[
    str,
    option("--channel", metavar="NAME", help="Of several channels: mix (their mean), left, right, or a number from 0."),
]
Track = Annotated[
    int | None, option("--track", metavar="N", min=1, help="Of several sound tracks of a video: which, from 1.")
]
Prompt = Annotated[
    str | None, option("--prompt", metavar="TEXT", help="Text taken to precede the recording: names, spelling, style.")
]
Hotwords = Annotated[
    str | None, option("--hotwords", metavar="WORD,...", help="Names and terms to expect, as they are spelled.")
]
Timestamps = Annotated[bool, option("--timestamps/--no-timestamps", help="Decode with times; long audio always does.")]
WordTimestamps = Annotated[
    bool, option("--word-timestamps", help="When each word is said: in json and jsonl, lit up one by one in vtt.")
]
Subtitle = Annotated[
    bool,
    option(
        "--subtitle",
        help="Readable srt and vtt: 2 lines of 42 characters, 20 characters a second, each cue 0.8 to 7 s.",
    ),
]
MaxLineWidth = Annotated[
    int | None, option("--max-line-width", help="Most characters in a line of srt and vtt.", min=1, metavar="N")
]
MaxLines = Annotated[
    int | None, option("--max-lines", help="Most lines in a cue of srt and vtt; more become cues.", min=1, metavar="N")
]
ReadingSpeed = Annotated[
    float | None,
    option(
        "--max-chars-per-second",
        metavar="X",
        help="Cues of srt and vtt stay long enough to be read at this speed, where the next one leaves room.",
    ),
]
Seed = Annotated[int, option("--seed", metavar="N", help="For temperatures above 0.")]
Offline = Annotated[bool, option("--offline", help="Use no network for models.")]
ProgressKind = Annotated[
    str,
    option(
        "--progress",
        metavar="KIND",
        help="On stderr: auto (a bar on a terminal), bar, json (a line for each step) or none.",
    ),
]
Quiet = Annotated[bool, option("--quiet", "-q", help="On stderr say failures only: no notices, bar or table.")]
Verbose = Annotated[bool, option("--verbose", help="Show where an error comes from.")]


def numbers(text: str, name: str) -> tuple[float, ...]:
    """Numbers with commas between them. Raises `OptionError`."""
    try:
        return tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise OptionError(f"{name} must be a number, or several with commas between them, got {text!r}") from None


def number_or_none(text: str, name: str) -> float | None:
    """A number, or `None` for `none`. Raises `OptionError`."""
    if text.strip().lower() in ("none", "off"):
        return None
    found = numbers(text, name)
    if len(found) != 1:
        raise OptionError(f"{name} must be a number or none, got {text!r}")
    return found[0]


def subtitle_layout(
    preset: bool, width: int | None, lines: int | None, characters_per_second: float | None
) -> SubtitleLayout | None:
    """The layout that the options ask for: the preset's where they leave it open; None where none is asked for."""
    from linnet.transcription.subtitles import SUBTITLE, SubtitleLayout

    named = {"max_line_width": width, "max_lines": lines, "max_chars_per_second": characters_per_second}
    given: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    if preset:
        return replace(SUBTITLE, **given)
    return SubtitleLayout(**given) if given else None


@dataclass(frozen=True)
class ModelChoice:
    """Which model a person asked for, and where it shall run."""

    name: str | None
    device: str
    dtype: str
    offline: bool
    engine: str = "auto"
    compute_type: str = "auto"
    threads: int | None = None

    def load(self, notify: Notify, *, late: bool = False) -> Recognizer:
        """The model, `late` with its weights read when a recording could be opened; what was chosen is told.

        Raises `ModelError`, `OptionError`.
        """
        from linnet.transcription import recognizer

        return recognizer.load(
            self.name,
            device=self.device,
            engine=self.engine,
            compute_type=self.compute_type,
            dtype=self.dtype,
            threads=self.threads,
            offline=self.offline,
            late=late,
            notify=notify,
        )
