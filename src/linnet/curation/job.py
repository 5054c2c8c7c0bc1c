"""One curation: the passes over a corpus in its work folder, and the selection. Finished work is not repeated."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from linnet.curation.blocks import ShardFiles, Space
from linnet.curation.codebook import Codebook
from linnet.curation.errors import ErrorRates, read_evaluation
from linnet.curation.filling import Progress
from linnet.curation.gating import Gate
from linnet.curation.heard import heard_gates
from linnet.curation.leaks import Leak, listen
from linnet.curation.options import CurateOptions
from linnet.curation.passes import AudioReport, hear_corpus, obtain_codebook
from linnet.curation.pool import Pool, read_pool
from linnet.curation.reading import text_reader
from linnet.curation.rounds import HeepScorer, Round, RoundFolder, run_rounds
from linnet.curation.scores import Scoring, write_scores
from linnet.curation.select import SelectOptions, ask_gates, select, select_by_score
from linnet.curation.selection import Selection
from linnet.curation.shards import Plan, make_plan
from linnet.curation.spoken import finish_shards, shard_paths, speak_shard
from linnet.curation.symbols import read_inventory
from linnet.curation.workers import map_items, shared_workers
from linnet.data.manifest import Utterance
from linnet.data.sources.base import Source
from linnet.errors import OptionError
from linnet.notices import Notify, ignore


@dataclass(frozen=True)
class Watcher:
    """Receives the progress of a curation: sentences, and the number of finished shards."""

    notify: Notify = ignore
    progress: Progress | None = None


@dataclass(frozen=True, eq=False)
class Corpus:
    """A corpus with measured audio and texts, in its work folder; `problems` are rows that its source left out."""

    plan: Plan
    audio: AudioReport
    options: CurateOptions
    problems: tuple[str, ...] = ()

    @cached_property
    def scoring(self) -> Scoring:
        """The scoring of requested rows."""
        workers = self.options.workers
        return Scoring(
            self.plan.work, self.options.estimators, mapper=lambda function, tasks: map_items(function, tasks, workers)
        )

    @cached_property
    def survey(self) -> tuple[list[ShardFiles], Space]:
        """The shards, and the names in them as numbers."""
        return self.scoring.survey()


@dataclass(frozen=True, eq=False)
class Curated:
    """A choice, the rows that it was made among with their scores, and the gates that it had beside the options'."""

    selection: Selection
    pool: Pool
    more_gates: tuple[Gate, ...] = ()


def measure(
    utterances: Iterable[Utterance],
    work: Path,
    options: CurateOptions,
    *,
    codebook: Codebook | None = None,
    watcher: Watcher | None = None,
) -> Corpus:
    """Decode every recording once and read its text, into the work folder; existing shards are kept.

    Without a `codebook` one is learned from a sample. Raises `OptionError` for a corpus without rows, `OutputError` if
    nothing can be written.
    """
    watcher = watcher or Watcher()
    problems: list[str] = []
    try:
        plan = make_plan(utterances, work)
    finally:  # also where no row can be used
        if isinstance(utterances, Source):
            problems = utterances.report.lines()
        for line in problems:
            watcher.notify(line)
    watcher.notify(f"{plan.rows:,} recordings in {len(plan.shards):,} shards")
    with shared_workers(options.workers):
        if codebook is None:
            codebook = obtain_codebook(plan, options.codebook, options.workers)
        audio = hear_corpus(plan, codebook, options.workers, watcher.progress)
        watcher.notify(f"{audio.seconds / 3600:.2f} hours decoded; {audio.kept:,} of {audio.shards:,} shards existed")
        if audio.failed:
            named = "; ".join(audio.failures[:3])
            watcher.notify(f"{audio.failed:,} recordings cannot be read, such as {named}")
        tasks = [(measured, heard, options) for measured, heard in shard_paths(plan.work)]
        for _ in map_items(_speak, tasks, options.workers):
            pass
    finish_shards(plan.work)
    return Corpus(plan, audio, options, tuple(problems))


def _speak(task: tuple[Path, Path, CurateOptions]) -> int:
    measured, heard, options = task
    return speak_shard(measured, heard, options.phonemes)


def curate(
    corpus: Corpus,
    *,
    gates: Sequence[Gate] = (),
    errors: ErrorRates | None = None,
    watcher: Watcher | None = None,
) -> Curated:
    """Score what was measured and choose by the corpus's preset. Scores are written into the work folder.

    `gates` are asked after those of the options, such as `leak_gates`. `errors` are those of a model on held-out data.
    The same corpus and options give the same choice, for any number of workers.
    """
    watcher = watcher or Watcher()
    if corpus.options.preset == "heep":
        return _by_heep(corpus, errors, watcher)
    pool = score(corpus, errors)
    gates = (*gates, *_heard(corpus))
    made = select(pool, corpus.options.select, gates)
    for sentence in made.notices:
        watcher.notify(sentence)
    return Curated(made.noting(corpus.problems), pool, gates)


def _heard(corpus: Corpus) -> list[Gate]:
    path = corpus.options.heard
    return heard_gates(Path(path)) if path else []


def score(corpus: Corpus, errors: ErrorRates | None = None) -> Pool:
    """All rows with their scores, which are written to the work folder; they do not depend on budgets and seeds."""
    shards, space = corpus.survey
    with shared_workers(corpus.options.workers):
        columns = corpus.scoring.run(shards, space, errors=errors).columns()
    write_scores(corpus.plan.work, shards, columns)
    return read_pool(corpus.plan.work)


def usable_rows(pool: Pool, options: SelectOptions) -> NDArray[np.bool_]:
    """Which rows of a scored pool pass the gates of sound, text and duplicates alone [N]."""
    return ask_gates(pool, options).usable


def leak_gates(corpus: Corpus, watcher: Watcher | None = None) -> list[Gate]:
    """The gates against the evaluation sets of the options, which are measured into the work folder.

    They have the corpus's codebook.
    """
    from linnet.data.sources import open_source

    codebook, _ = Codebook.load(corpus.plan.work / f"codebook-{corpus.audio.codebook}.safetensors")
    options = replace(corpus.options, held_out=())
    gates: list[Gate] = []
    for number, name in enumerate(corpus.options.held_out):
        place = corpus.plan.work / f"held-out-{number}"
        held = measure(open_source(name), place, options, codebook=codebook, watcher=watcher)
        hear = listen(corpus.plan.at_home, held.plan.at_home) if options.leaks.listen else None
        gates.append(Leak(read_pool(place), options.leaks, hear))
    return gates


def read_errors(corpus: Corpus, path: Path) -> ErrorRates:
    """A model's errors on held-out data, from the rows of its evaluation, by the corpus's words and phones.

    Raises `OptionError` if they cannot be read.
    """
    reader = text_reader(corpus.plan.work, corpus.options.phonemes)
    return ErrorRates.of(read_evaluation(path).rows, reader)


# --- HEEP


def scorer(corpus: Corpus) -> HeepScorer:
    """The scorer of HEEP's rounds."""
    shards, space = corpus.survey
    options = corpus.options
    scoring = replace(corpus.scoring, options=options.heep.estimators)
    phones = read_inventory(corpus.plan.work)
    return HeepScorer(scoring, shards, space, options.heep, phones, options.known_languages)


def advance(corpus: Corpus, folder: Path, errors: ErrorRates | None) -> tuple[Round, Curated]:
    """Run the next round of HEEP in a folder of rounds, as on the command line."""
    rescore = scorer(corpus)
    rounds = RoundFolder(folder, corpus.plan.digest, corpus.options.heep)
    with shared_workers(corpus.options.workers):
        done = rounds.advance(rescore, read_pool(corpus.plan.work).seconds, errors)
    return done, _finish(corpus, rescore, done)


def _by_heep(corpus: Corpus, errors: ErrorRates | None, watcher: Watcher) -> Curated:
    rescore = scorer(corpus)
    last: Round | None = None
    evaluate = None if errors is None else lambda _: errors
    seconds = read_pool(corpus.plan.work).seconds
    with shared_workers(corpus.options.workers):
        for last in run_rounds(rescore, seconds, corpus.options.heep, eval_callback=evaluate):
            watcher.notify(last.line)
    if last is None:
        raise OptionError("max_rounds must be 1 or more")
    return _finish(corpus, rescore, last)


def _finish(corpus: Corpus, rescore: HeepScorer, done: Round) -> Curated:
    shards, _ = corpus.survey
    write_scores(corpus.plan.work, shards, rescore.columns)
    pool = read_pool(corpus.plan.work)
    return Curated(select_by_score(pool, done.scores, done.kept).noting(corpus.problems), pool)
