"""Search for evaluation utterances in training data: the evaluation set is indexed, the training data read once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import groupby, islice

from linnet.data import Utterance
from linnet.data.duplicates import DuplicateIndex, DuplicateOptions, Kind
from linnet.data.samples import UtteranceReader
from linnet.evaluation.contamination.report import MOST_LISTED, Contamination, Match


def find_contamination(
    training: Iterable[Utterance],
    evaluation: Iterable[Utterance],
    options: DuplicateOptions | None = None,
    *,
    on_progress: Callable[[int], None] | None = None,
) -> Contamination:
    """Find evaluation utterances in the training data by audio and by text; see `DuplicateIndex`.

    Only the evaluation set and the matches are held in memory. Unreadable recordings are counted and named.
    `on_progress` receives the number of training utterances done.

    >>> rows = [Utterance("a.wav", text="And so, my fellow Americans, ask not")]
    >>> copy = [Utterance("b.wav", text="and so my fellow americans ask not")]
    >>> find_contamination(copy, rows, DuplicateOptions(audio=False)).matches[0].score
    1.0
    """
    matches: list[Match] = []
    met: dict[Kind, set[int]] = {"same-audio": set(), "near-audio": set(), "near-text": set()}
    with UtteranceReader() as reader:
        index = DuplicateIndex(evaluation, reader, options)
        for done, utterance in enumerate(training, start=1):
            for kind, found in groupby(index.find(utterance), key=lambda one: one.kind):
                alike = list(found)
                met[kind].update(one.index for one in alike)
                matches += [
                    Match(kind, utterance.id, index.ids[one.index], one.score, one.start, one.covered)
                    for one in islice(alike, MOST_LISTED)
                ]
            if on_progress is not None:
                on_progress(done)
    return Contamination(
        matches=tuple(matches),
        utterances={kind: len(found) for kind, found in met.items()},
        contaminated=len(set().union(*met.values())),
        training=index.passed,
        evaluation=index.held,
        failures=tuple(index.failures),
    )
