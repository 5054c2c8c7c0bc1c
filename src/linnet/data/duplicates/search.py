"""Duplicate search by audio and text: one corpus is indexed, the other is streamed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from linnet.data.duplicates.prints import Fingerprint, exact_hash, fingerprint
from linnet.data.duplicates.recordings import LEAST_FRAMES, RecordingIndex
from linnet.data.duplicates.texts import TextIndex
from linnet.data.manifest import Utterance
from linnet.data.samples import UtteranceReader
from linnet.errors import LinnetError

Kind = Literal["same-audio", "near-audio", "near-text"]

_NAMED = 10  # unreadable recordings


@dataclass(frozen=True)
class DuplicateOptions:
    """What is compared; `text_threshold` is the share of character n-grams that two texts must share."""

    audio: bool = True
    texts: bool = True
    text_threshold: float = 0.75


@dataclass(frozen=True)
class Likeness:
    """An indexed utterance, by its index, that matches a query.

    `score` is 1 for `same-audio`, the share of equal fingerprint bits for `near-audio`, the share of common n-grams for
    `near-text`. `start` is the second of the query at which the indexed recording begins (negative if earlier),
    `covered` the share of the indexed recording that was compared.
    """

    kind: Kind
    index: int
    score: float
    start: float | None = None
    covered: float | None = None


@dataclass(frozen=True)
class Coverage:
    """What was compared, too short to compare, or unreadable (`failed`)."""

    utterances: int = 0
    recordings: int = 0
    recordings_too_short: int = 0
    texts: int = 0
    texts_too_short: int = 0
    failed: int = 0


class DuplicateIndex:
    """An index of utterances by audio and by text.

    Audio matches by a hash of the samples (16 kHz, 16 bits), or by a fingerprint that is robust to loudness, codec,
    sample rate and offset and also finds excerpts; not found are recordings that were sped up, mixed, or are shorter
    than 0.2 s. Texts: see `TextIndex`; the same sentence by another speaker matches too.

    The index takes about 2 kB per second of audio, twice that while it is built. Unreadable recordings are counted, the
    first ten named in `failures`.

    >>> held = [Utterance("a.wav", text="And so, my fellow Americans, ask not")]
    >>> with UtteranceReader() as reader:
    ...     index = DuplicateIndex(held, reader, DuplicateOptions(audio=False))
    ...     index.find(Utterance("b.wav", text="and so my fellow americans ask not"))
    [Likeness(kind='near-text', index=0, score=1.0, start=None, covered=None)]
    """

    def __init__(
        self, held: Iterable[Utterance], reader: UtteranceReader, options: DuplicateOptions | None = None
    ) -> None:
        self._options = options or DuplicateOptions()
        self._reader = reader
        self._hashes: dict[bytes, list[int]] = {}
        self._passed: Counter[str] = Counter()
        self.failures: list[str] = []  # from both corpora
        self.ids: list[str] = []  # of the indexed utterances
        prints: list[Fingerprint] = []
        texts: list[str | None] = []
        counts: Counter[str] = Counter()
        for index, utterance in enumerate(held):
            self.ids.append(utterance.id)
            texts.append(utterance.text if self._options.texts else None)
            digest, found = self._read(utterance, counts)
            prints.append(found.to_store())
            if digest is not None:
                self._hashes.setdefault(digest, []).append(index)
        self._recordings = RecordingIndex(prints)
        self._texts = TextIndex(texts, self._options.text_threshold)
        written = sum(text is not None for text in texts)
        counts.update(texts=self._texts.compared, texts_too_short=written - self._texts.compared)
        self.held = Coverage(**{**counts, "utterances": len(self.ids)})

    @property
    def passed(self) -> Coverage:
        """The coverage of all queries so far."""
        return Coverage(**self._passed)

    def find(self, utterance: Utterance) -> list[Likeness]:
        """The indexed utterances that match: same audio, near audio, near text; best first within a kind.

        Recordings with the same samples are not listed as near audio too.
        """
        self._passed["utterances"] += 1
        digest, found = self._read(utterance, self._passed)
        same = self._hashes.get(digest, []) if digest is not None else []
        likenesses = [Likeness("same-audio", index, 1.0) for index in same]
        likenesses += [
            Likeness("near-audio", one.index, one.agreement, one.start, one.covered)
            for one in self._recordings.find(found)
            if one.index not in same
        ]
        if self._options.texts and utterance.text is not None:
            alike = self._texts.find(utterance.text)
            self._passed["texts_too_short" if alike is None else "texts"] += 1
            likenesses += [Likeness("near-text", one.index, one.share) for one in alike or []]
        return likenesses

    def _read(self, utterance: Utterance, counts: Counter[str]) -> tuple[bytes | None, Fingerprint]:
        """Hash and fingerprint; None and an empty one where there is no audio to compare."""
        if not self._options.audio:
            return None, Fingerprint.empty()
        try:
            samples = self._reader.read(utterance).samples
        except LinnetError as error:
            counts["failed"] += 1
            if len(self.failures) < _NAMED:
                self.failures.append(str(error))
            return None, Fingerprint.empty()
        found = fingerprint(samples)
        counts["recordings" if found.loud.sum() >= LEAST_FRAMES else "recordings_too_short"] += 1
        return exact_hash(samples) if found.loud.any() else None, found  # all silence is alike
