"""All options of a curation, from a YAML file, and the two presets."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from linnet.curation.codebook import CodebookOptions
from linnet.curation.components import EstimatorOptions
from linnet.curation.heep import HeepOptions
from linnet.curation.leaks import LeakOptions
from linnet.curation.phonemes.backends import PhonemeOptions
from linnet.curation.select import SelectOptions
from linnet.curation.workers import WorkerOptions
from linnet.errors import OptionError
from linnet.settings import build, read_yaml_file, require_known

PRESETS = ("balanced", "heep")


@dataclass(frozen=True)
class CurateOptions:
    """How recordings are chosen.

    `preset` is `balanced` (gates, then coverage and value within hours: `select`) or `heep` (one score and a growing
    threshold: `heep`). `held_out` are manifests of evaluation sets that nothing of may be kept, `leaks` what counts as
    a part of them. `errors` are the rows of `linnet evaluate` on held-out data, `heard` those on the corpus itself, or
    those of `linnet curate hear`. `known_languages` are those that a model has learned, for HEEP's overlap.
    """

    preset: str = "balanced"
    select: SelectOptions = field(default_factory=SelectOptions)
    heep: HeepOptions = field(default_factory=HeepOptions)
    estimators: EstimatorOptions = field(default_factory=EstimatorOptions)
    phonemes: PhonemeOptions = field(default_factory=PhonemeOptions)
    codebook: CodebookOptions = field(default_factory=CodebookOptions)
    held_out: tuple[str, ...] = ()
    leaks: LeakOptions = field(default_factory=LeakOptions)
    errors: str = ""
    heard: str = ""
    known_languages: tuple[str, ...] = ()
    workers: WorkerOptions = field(default_factory=WorkerOptions)

    def __post_init__(self) -> None:
        require_known(self, "preset", PRESETS)
        if self.preset == "heep" and (self.held_out or self.heard):
            raise OptionError(
                "--held-out and --heard are gates, which preset heep does not have: choose with preset balanced first"
            )

    def keeping(self, share: float | None = None, hours: float | None = None) -> CurateOptions:
        """These options with another budget: a share of the readable hours, or hours."""
        if share is None and hours is None:
            return self
        if share is not None and hours is not None:
            raise OptionError("give one of --keep and --hours: each is the budget")
        if hours is not None and self.preset == "heep":
            raise OptionError("preset heep keeps a share of the hours: give --keep in place of --hours")
        budget = self.select.budget
        budget = replace(budget, keep=share, hours=None) if share is not None else replace(budget, hours=hours)
        heep = self.heep if share is None else replace(self.heep, keep=share, tau_0=None)
        return replace(self, select=replace(self.select, budget=budget), heep=heep)


def read_options(path: Path) -> CurateOptions:
    """Read options from YAML. Raises `OptionError` for an unknown key (names the nearest) or an impossible value."""
    content = read_yaml_file(path, "options")
    heep = content.get("heep") if isinstance(content, dict) else None
    if isinstance(heep, dict) and heep.get("tau_0") == "auto":  # meaning None
        content["heep"] = {**heep, "tau_0": None}
    return build(CurateOptions, content, str(path))
