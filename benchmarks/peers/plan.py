"""Which settings of which peers are compared with which of Linnet, and what was asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Length = Literal["whole", "beam", "slow", "window"]


@dataclass(frozen=True)
class Candidate:
    """One setting of one runtime. `convert`: what its conversion must be told; None: it reads the checkpoint itself."""

    peer: str  # the name of its environment; "linnet" is this one
    system: str  # its module under systems/
    label: str
    settings: dict[str, Any] = field(default_factory=dict)
    convert: dict[str, Any] | None = None
    suffix: str = ""  # of the converted model's name


@dataclass(frozen=True)
class Comparison:
    """A row of the table: the best of `theirs` against the best of `ours`."""

    name: str
    ours: tuple[Candidate, ...]
    theirs: tuple[Candidate, ...]
    asked: dict[str, float]  # ratio by shape
    recordings: tuple[str, ...] = ("real",)
    length: Length = "whole"


def linnet(engine: str, compute_type: str, batch: int, beams: int, *, whole: bool = False) -> Candidate:
    """A setting of ours."""
    label = f"{engine} {compute_type}, batch {batch}" + (", its own windows" if whole else "")
    settings = {"engine": engine, "compute_type": compute_type, "batch": batch, "beams": beams, "whole": whole}
    convert = {"engine": engine, "compute_type": compute_type}
    return Candidate("linnet", "linnet_engine", label, settings, convert)


def faster_whisper(compute_type: str, batch: int, beams: int) -> Candidate:
    """Its conversion is stored in the type that it computes in."""
    way = "sequential" if batch == 1 else f"batch {batch}"
    settings = {"compute_type": compute_type, "batch": batch, "beams": beams}
    convert = {"compute_type": compute_type}
    return Candidate("faster-whisper", "faster_whisper", f"{compute_type}, {way}", settings, convert)


def transformers_pipeline(dtype: str, batch: int) -> Candidate:
    """It loads the checkpoint."""
    settings = {"dtype": dtype, "batch": batch, "beams": 1}
    return Candidate("transformers", "transformers_pipeline", f"{dtype}, batch {batch}", settings)


GENAI = Candidate("openvino-genai", "openvino_genai", "int8", {"beams": 1}, {"compute_type": "int8"})
OPENAI = Candidate("openai-whisper", "openai_whisper", "float32", {"beams": 1}, {}, ".pt")


def comparisons(engine: str, compute_type: str) -> list[Comparison]:
    """All of them, the most asked for first."""
    greedy = linnet(engine, compute_type, 8, 1)
    single = linnet(engine, compute_type, 1, 1)
    both = ("float32", "int8")
    same = {"tiny": 1.0, "small": 1.0}
    three = {"tiny": 3.0, "small": 3.0}
    fastest = tuple(faster_whisper(kind, batch, 1) for kind in both for batch in (1, 8))
    beams = tuple(faster_whisper("int8", batch, 5) for batch in (1, 8))
    own = linnet(engine, compute_type, 8, 1, whole=True)
    return [
        Comparison("faster-whisper", (greedy,), fastest, {"tiny": 1.6, "small": 2.0}, ("real", "synthetic")),
        Comparison("OpenVINO GenAI, one window", (single,), (GENAI,), same, length="window"),
        Comparison("OpenVINO GenAI", (greedy,), (GENAI,), {"tiny": 1.3, "small": 1.3}),
        Comparison(
            "faster-whisper, beam 5",
            tuple(linnet(engine, compute_type, batch, 5) for batch in (1, 8)),
            beams,
            same,
            length="beam",
        ),
        Comparison("faster-whisper, Linnet's windows", (own,), fastest, {"tiny": 1.6, "small": 2.0}, length="beam"),
        *(
            Comparison(
                f"transformers pipeline, {dtype}",
                (greedy,),
                tuple(transformers_pipeline(dtype, batch) for batch in (1, 4)),
                three,
                length="slow",
            )
            for dtype in ("bfloat16", "float32")
        ),
        Comparison("openai-whisper", (greedy,), (OPENAI,), three, length="slow"),
    ]
