"""Looking for the evaluation set in the training data: the evaluation is held, the training read once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from linnet.data import Utterance
from linnet.data.samples import UtteranceReader
from linnet.errors import LinnetError
from linnet.evaluation.contamination.prints import Fingerprint, exact_hash, fingerprint
from linnet.evaluation.contamination.report import MOST_LISTED, Contamination, Coverage, Kind, Match
from linnet.evaluation.contamination.sounds import LEAST_FRAMES, SoundIndex
from linnet.evaluation.contamination.texts import TextIndex

_NAMED = 10  # of the sounds that cannot be read


@dataclass(frozen=True)
class ContaminationOptions:
    """What is compared; `text_threshold` is the share of pieces that two texts must have in common."""

    sounds: bool = True
    texts: bool = True
    text_threshold: float = 0.75


def find_contamination(
    training: Iterable[Utterance],
    evaluation: Iterable[Utterance],
    options: ContaminationOptions | None = None,
    *,
    on_progress: Callable[[int], None] | None = None,
) -> Contamination:
    """Say which evaluation utterances the training data has, by sound and by text.

    Sounds: the same samples (16 kHz, 16 bits) by hash; and the same recording by fingerprint, whatever its loudness,
    codec, sample rate and beginning, also within a longer one. Not found: sounds played faster or slower, mixed with
    others, or shorter than 0.2 s. Texts: see `TextIndex`; the same sentence by another speaker is a match too.

    The evaluation takes about 2 kB of memory a second of sound, twice that while it is indexed; of the training only
    the matches are kept, so that it may be of any length. A sound that cannot be read is counted and named.
    `on_progress` is told how many training utterances are done.

    >>> rows = [Utterance("a.wav", text="And so, my fellow Americans, ask not")]
    >>> copy = [Utterance("b.wav", text="and so my fellow americans ask not")]
    >>> find_contamination(copy, rows, ContaminationOptions(sounds=False)).matches[0].score
    1.0
    """
    options = options or ContaminationOptions()
    with UtteranceReader() as listener:
        search = _Search(evaluation, options, listener)
        for done, utterance in enumerate(training, start=1):
            search.look(utterance)
            if on_progress is not None:
                on_progress(done)
        return search.result()


class _Search:
    """One search: the evaluation's indices, and what was met so far."""

    def __init__(
        self, evaluation: Iterable[Utterance], options: ContaminationOptions, listener: UtteranceReader
    ) -> None:
        self._options = options
        self._listener = listener
        self._matches: list[Match] = []
        self._failures: list[str] = []
        self._ids: list[str] = []
        self._hashes: dict[bytes, list[int]] = {}
        prints: list[Fingerprint] = []
        texts: list[str | None] = []
        counts: Counter[str] = Counter()
        for index, utterance in enumerate(evaluation):
            self._ids.append(utterance.id)
            texts.append(utterance.text if options.texts else None)
            digest, found = self._hear(utterance, counts)
            prints.append(found.to_store())
            if digest is not None:
                self._hashes.setdefault(digest, []).append(index)
        self._sounds = SoundIndex(prints)
        self._texts = TextIndex(texts, options.text_threshold)
        written = sum(text is not None for text in texts)
        counts.update(texts=self._texts.compared, texts_too_short=written - self._texts.compared)
        self._evaluation = Coverage(**{**counts, "utterances": len(self._ids)})
        self._training: Counter[str] = Counter()
        self._met: dict[Kind, set[int]] = {"same-sound": set(), "near-sound": set(), "near-text": set()}

    def _hear(self, utterance: Utterance, counts: Counter[str]) -> tuple[bytes | None, Fingerprint]:
        """Hash and fingerprint; an empty one where there is nothing to compare."""
        if not self._options.sounds:
            return None, Fingerprint.empty()
        try:
            samples = self._listener.hear(utterance).samples
        except LinnetError as error:
            counts["failed"] += 1
            if len(self._failures) < _NAMED:
                self._failures.append(str(error))
            return None, Fingerprint.empty()
        found = fingerprint(samples)
        counts["sounds" if found.loud.sum() >= LEAST_FRAMES else "sounds_too_short"] += 1
        return exact_hash(samples) if found.loud.any() else None, found  # silence is like silence

    def look(self, utterance: Utterance) -> None:
        """Compare one training utterance with all of the evaluation."""
        self._training["utterances"] += 1
        digest, found = self._hear(utterance, self._training)
        same = self._hashes.get(digest, []) if digest is not None else []
        self._note("same-sound", (Match("same-sound", utterance.id, self._ids[at], 1.0) for at in same), same)
        sightings = [one for one in self._sounds.find(found) if one.index not in same]
        near = (
            Match("near-sound", utterance.id, self._ids[one.index], one.agreement, one.start, one.covered)
            for one in sightings
        )
        self._note("near-sound", near, [one.index for one in sightings])
        if self._options.texts and utterance.text is not None:
            alike = self._texts.find(utterance.text)
            self._training["texts_too_short" if alike is None else "texts"] += 1
            alike = alike or []
            texts = (Match("near-text", utterance.id, self._ids[one.index], one.share) for one in alike)
            self._note("near-text", texts, [one.index for one in alike])

    def _note(self, kind: Kind, matches: Iterator[Match], indices: list[int]) -> None:
        self._met[kind].update(indices)
        self._matches += [match for match, _ in zip(matches, range(MOST_LISTED), strict=False)]

    def result(self) -> Contamination:
        """What was found."""
        return Contamination(
            matches=tuple(self._matches),
            utterances={kind: len(met) for kind, met in self._met.items()},
            contaminated=len(set().union(*self._met.values())),
            training=Coverage(**self._training),
            evaluation=self._evaluation,
            failures=tuple(self._failures),
        )
