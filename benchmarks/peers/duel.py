"""Two runtimes in turn, A B A B, each warm in its own process; before that, the best setting of each is found."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peers.client import Launch, PeerError, Run, Worker, convert
from peers.environments import interpreter
from peers.plan import Candidate, Comparison


@dataclass(frozen=True)
class Place:
    """Where things lie and how many threads each runtime gets."""

    folder: Path
    threads: int
    environments: Path

    def python(self, peer: str) -> Path:
        """The interpreter of a peer. Raises `PeerError`."""
        return Path(sys.executable) if peer == "linnet" else interpreter(self.environments, peer)

    def launch(self, candidate: Candidate, settings: dict[str, Any]) -> Launch:
        """How to start it. Raises `PeerError`."""
        threads = str(self.threads)
        environment = {
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "OPENBLAS_NUM_THREADS": threads,
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_OFFLINE": "1",
            "CUDA_VISIBLE_DEVICES": "",
            "LINNET_CACHE": str(self.folder / "cache"),
        }
        (self.folder / "logs").mkdir(parents=True, exist_ok=True)
        log = self.folder / "logs" / f"{candidate.peer}.log"
        return Launch(self.python(candidate.peer), candidate.system, settings, environment, log)


class Converter:
    """Converts a checkpoint for a candidate once; remembers seconds and failures."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self.seconds: dict[str, float] = {}
        self._failed: dict[Path, PeerError] = {}

    def model(self, candidate: Candidate, checkpoint: Path) -> Path:
        """The converted model, or the checkpoint. Raises `PeerError`."""
        if candidate.convert is None:
            return checkpoint
        kind = "-".join([candidate.peer, *map(str, candidate.convert.values())])
        output = self._place.folder / "converted" / f"{checkpoint.name}-{kind}{candidate.suffix}"
        done = output.with_name(output.name + ".done")
        if output in self._failed:
            raise self._failed[output]
        ours = candidate.peer == "linnet"  # has its own cache, and knows when it is stale
        if output.name not in self.seconds and (ours or not done.is_file()):
            output.parent.mkdir(parents=True, exist_ok=True)
            settings = {"checkpoint": str(checkpoint), "output": str(output), **candidate.convert}
            try:
                reply = convert(self._place.launch(candidate, settings))
            except PeerError as error:
                self._failed[output] = PeerError(f"cannot be converted: {error}")
                raise self._failed[output] from error
            self.seconds[output.name] = reply["process_seconds"]
            done.touch()
        return checkpoint if ours else output


@dataclass
class Duel:
    """What came of one comparison on one recording."""

    name: str
    shape: str
    recording: str
    seconds: float  # of audio
    asked: float
    ours: Candidate | None = None
    theirs: Candidate | None = None
    our_runs: list[Run] = field(default_factory=list)
    their_runs: list[Run] = field(default_factory=list)
    screened: dict[str, float | str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    reason: str | None = None  # why there are no runs

    @property
    def ratios(self) -> list[float]:
        """Their time over ours, of each pair."""
        return [theirs.seconds / ours.seconds for ours, theirs in zip(self.our_runs, self.their_runs, strict=True)]

    @property
    def ratio(self) -> float:
        """The median."""
        return statistics.median(self.ratios)


class Arena:
    """Runs the comparisons of one shape."""

    def __init__(self, place: Place, converter: Converter, checkpoint: Path, recordings: dict[str, Path]) -> None:
        self._place, self._converter = place, converter
        self._checkpoint, self._recordings = checkpoint, recordings
        self._known: dict[str, tuple[float | str, float]] = {}  # a candidate's screening, over so many seconds

    @property
    def name(self) -> str:
        """The shape."""
        return self._checkpoint.name

    def prepare(self, comparisons: Sequence[Comparison]) -> None:
        """Convert the checkpoint for every peer, so that nothing is left to do but to run."""
        for candidate in (one for comparison in comparisons for one in (*comparison.ours, *comparison.theirs)):
            try:
                self._converter.model(candidate, self._checkpoint)
            except PeerError as error:
                print(f"{self.name}: {candidate.peer} {candidate.label}: {error}", file=sys.stderr)

    def worker(self, candidate: Candidate) -> Worker:
        """Start it, its model loaded. Raises `PeerError`."""
        model = self._converter.model(candidate, self._checkpoint)
        settings = {"model": str(model), "threads": self._place.threads, **candidate.settings}
        return Worker(self._place.launch(candidate, settings))

    def best(self, candidates: Sequence[Candidate], seconds: float) -> tuple[Candidate, dict[str, float | str]]:
        """The fastest on so much of the real recording, and the RTFx or the reason of each. Raises `PeerError`."""
        found: dict[str, float | str] = {}
        for one in candidates:
            key = f"{one.peer} {one.label} {one.settings}"
            if key not in self._known or self._known[key][1] != seconds:
                self._known[key] = (self._screen(one, seconds), seconds)
            found[one.label] = self._known[key][0]
        fast = {one.label: speed for one in candidates if isinstance(speed := found[one.label], float)}
        if not fast:
            raise PeerError(str(next(iter(found.values()))))
        label = max(fast, key=fast.__getitem__)
        return next(one for one in candidates if one.label == label), found

    def _screen(self, candidate: Candidate, seconds: float) -> float | str:
        try:
            with self.worker(candidate) as worker:
                worker.transcribe(self._recordings["real"], 30.0)
                run = worker.transcribe(self._recordings["real"], seconds)
        except PeerError as error:
            return str(error)
        print(f"  {candidate.peer} {candidate.label}: RTFx {seconds / run.seconds:.1f}", file=sys.stderr)
        return seconds / run.seconds

    def duel(self, comparison: Comparison, recording: str, seconds: float, screen: float, pairs: int) -> Duel:
        """A B A B; a peer that cannot take part is told with its reason."""
        duel = Duel(comparison.name, self._checkpoint.name, recording, seconds, comparison.asked[self._checkpoint.name])
        try:
            duel.ours, duel.theirs = (
                self._choose(duel, candidates, min(screen, seconds))
                for candidates in (comparison.ours, comparison.theirs)
            )
            with ExitStack() as stack:
                ours, theirs = (stack.enter_context(self.worker(one)) for one in (duel.ours, duel.theirs))
                duel.versions = ours.versions | theirs.versions
                for worker in (ours, theirs):
                    worker.transcribe(self._recordings[recording], 30.0)
                for _ in range(pairs):
                    duel.our_runs.append(ours.transcribe(self._recordings[recording], seconds))
                    duel.their_runs.append(theirs.transcribe(self._recordings[recording], seconds))
        except PeerError as error:
            duel.reason = str(error)
            del duel.our_runs[len(duel.their_runs) :]
        return duel

    def _choose(self, duel: Duel, candidates: Sequence[Candidate], screen: float) -> Candidate:
        if len(candidates) == 1:
            return candidates[0]
        chosen, found = self.best(candidates, screen)
        duel.screened |= {f"{chosen.peer} {label}": speed for label, speed in found.items()}
        return chosen
