"""Options of an experiment: `linnet curate prove RECIPE`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from linnet.errors import OptionError
from linnet.settings import ONE_OR_MORE, ValueRule, build, read_yaml_file, require

METHODS = (
    "balanced",
    "heep",
    "random",
    "stratified",
    "duration-matched",
    "longest",
    "shortest",
    "gate-only",
    "highest-error",
    "lowest-error",
    "oracle",
    "full-steps",
    "full-epochs",
)
PRESETS = ("balanced", "heep")  # our selections; all others are baselines
DRAWN = (
    "random",
    "stratified",
    "duration-matched",
    "gate-only",
    "oracle",
)  # random: one draw tells little
WHOLE = ("full-steps", "full-epochs")
_BUDGET = ValueRule("more than 0 and below 1", lambda value: 0 < value < 1)


@dataclass(frozen=True)
class PoolFiles:
    """One pool: its manifest, and known properties of its rows.

    `errors` are rows of `linnet evaluate` on the pool by a proxy model, `clean` a manifest of its rows without defects.
    """

    manifest: str
    errors: str = ""
    clean: str = ""


@dataclass(frozen=True)
class ProveOptions:
    """An experiment: pools, tests, budgets, methods, seeds, and the common training recipe.

    Each seed uses the next pool in turn. `budgets` are shares of a pool's hours. `steps` are equal for all methods but
    `full-epochs`, which trains as many epochs as the selections. Random methods are sampled `draws` times. `against` is
    the reference for every method in the table; choose it before any result. Without `methods` all possible ones are
    run. `curation` is a file for `linnet curate --options`.
    """

    pools: tuple[PoolFiles, ...]
    tests: dict[str, str]
    recipe: str
    output: str
    budgets: tuple[float, ...] = (0.2,)
    methods: tuple[str, ...] = ()
    against: str = "balanced"
    seeds: int = 5
    draws: int = 3
    steps: int = 500
    normalizer: str = "basic"
    curation: str = ""

    def __post_init__(self) -> None:
        require(self, ONE_OR_MORE, "seeds", "draws", "steps")
        for budget in self.budgets:
            _BUDGET.check("budgets", budget)
        if not self.pools or not self.tests or not self.budgets:
            raise OptionError("an experiment needs at least one pool, one test and one budget")
        for name in (*self.methods, self.against):
            if name not in METHODS:
                raise OptionError(f"method {name!r} is unknown: use {', '.join(METHODS)}")

    def chosen(self) -> tuple[str, ...]:
        """The methods to run, in the order of the table."""
        if self.methods:
            return tuple(dict.fromkeys((self.against, *self.methods)))
        left_out = set()
        if not all(pool.errors for pool in self.pools):
            left_out |= {"highest-error", "lowest-error"}
        if not all(pool.clean for pool in self.pools):
            left_out.add("oracle")
        return tuple(name for name in METHODS if name not in left_out)


def read_experiment(path: Path) -> ProveOptions:
    """Read an experiment from YAML; its input files are relative to its folder, `output` to the current folder.

    Raises:
        OptionError: no such file, not YAML, an unknown key (names the nearest) or an impossible value.
    """
    found = build(ProveOptions, read_yaml_file(path, "experiment"), str(path))
    place = path.parent
    return replace(
        found,
        pools=tuple(
            PoolFiles(*(name and str(place / name) for name in (one.manifest, one.errors, one.clean)))
            for one in found.pools
        ),
        tests={name: str(place / test) for name, test in found.tests.items()},
        recipe=str(place / found.recipe),
        curation=found.curation and str(place / found.curation),
    )
