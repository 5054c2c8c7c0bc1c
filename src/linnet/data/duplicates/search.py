"""Looking for utterances among others by sound and by text: one corpus is held, the other passes by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from linnet.data.duplicates.prints import Fingerprint, exact_hash, fingerprint
from linnet.data.duplicates.sounds import LEAST_FRAMES, SoundIndex
from linnet.data.duplicates.texts import TextIndex
from linnet.data.manifest import Utterance
from linnet.data.samples import UtteranceReader
from linnet.errors import LinnetError

Kind = Literal["same-sound", "near-sound", "near-text"]

_NAMED = 10  # of the sounds that cannot be read


@dataclass(frozen=True)
class DuplicateOptions:
    """What is compared; `text_threshold` is the share of pieces that two texts must have in common."""

    sounds: bool = True
    texts: bool = True
    text_threshold: float = 0.75


@dataclass(frozen=True)
class Likeness:
    """A held utterance, by its place among them, that another one is like.

    `score` is 1 for a `same-sound`, the share of equal fingerprint bits of a `near-sound`, the share of pieces of a
    `near-text`. `start` is the second of the other one at which the held one's sound begins (negative where it begins
    before), `covered` the share of the held one's sound that was compared.
    """

    kind: Kind
    index: int
    score: float
    start: float | None = None
    covered: float | None = None


@dataclass(frozen=True)
class Coverage:
    """What was compared and what could not be: `failed` sounds cannot be read, others are too short to tell."""

    utterances: int = 0
    sounds: int = 0
    sounds_too_short: int = 0
    texts: int = 0
    texts_too_short: int = 0
    failed: int = 0


class DuplicateIndex:
    """Utterances that others are looked up in, by sound and by text.

    Sounds: the same samples (16 kHz, 16 bits) by hash; and the same recording by fingerprint, whatever its loudness,
    codec, sample rate and beginning, also within a longer one. Not found: sounds played faster or slower, mixed with
    others, or shorter than 0.2 s. Texts: see `TextIndex`; the same sentence by another speaker is a match too.

    What is held takes about 2 kB of memory a second of sound, twice that while it is indexed; nothing is kept of what
    is looked up. Sounds come from `listener`; one that cannot be read is counted, and the first ten are told in
    `failures`.

    >>> held = [Utterance("a.wav", text="And so, my fellow Americans, ask not")]
    >>> with UtteranceReader() as listener:
    ...     index = DuplicateIndex(held, listener, DuplicateOptions(sounds=False))
    ...     index.find(Utterance("b.wav", text="and so my fellow americans ask not"))
    [Likeness(kind='near-text', index=0, score=1.0, start=None, covered=None)]
    """

    def __init__(
        self, held: Iterable[Utterance], listener: UtteranceReader, options: DuplicateOptions | None = None
    ) -> None:
        self._options = options or DuplicateOptions()
        self._listener = listener
        self._hashes: dict[bytes, list[int]] = {}
        self._passed: Counter[str] = Counter()
        self.failures: list[str] = []  # of either corpus
        self.ids: list[str] = []  # of the held ones
        prints: list[Fingerprint] = []
        texts: list[str | None] = []
        counts: Counter[str] = Counter()
        for index, utterance in enumerate(held):
            self.ids.append(utterance.id)
            texts.append(utterance.text if self._options.texts else None)
            digest, found = self._hear(utterance, counts)
            prints.append(found.to_store())
            if digest is not None:
                self._hashes.setdefault(digest, []).append(index)
        self._sounds = SoundIndex(prints)
        self._texts = TextIndex(texts, self._options.text_threshold)
        written = sum(text is not None for text in texts)
        counts.update(texts=self._texts.compared, texts_too_short=written - self._texts.compared)
        self.held = Coverage(**{**counts, "utterances": len(self.ids)})

    @property
    def passed(self) -> Coverage:
        """What was looked up until now."""
        return Coverage(**self._passed)

    def find(self, utterance: Utterance) -> list[Likeness]:
        """The held utterances that one is like: by the same sound, a near sound, a near text; of a kind the best first.

        A recording that is the same is not named as a near one too; that its text is near is told besides.
        """
        self._passed["utterances"] += 1
        digest, found = self._hear(utterance, self._passed)
        same = self._hashes.get(digest, []) if digest is not None else []
        likenesses = [Likeness("same-sound", index, 1.0) for index in same]
        likenesses += [
            Likeness("near-sound", one.index, one.agreement, one.start, one.covered)
            for one in self._sounds.find(found)
            if one.index not in same
        ]
        if self._options.texts and utterance.text is not None:
            alike = self._texts.find(utterance.text)
            self._passed["texts_too_short" if alike is None else "texts"] += 1
            likenesses += [Likeness("near-text", one.index, one.share) for one in alike or []]
        return likenesses

    def _hear(self, utterance: Utterance, counts: Counter[str]) -> tuple[bytes | None, Fingerprint]:
        """Hash and fingerprint; an empty one where there is nothing to compare."""
        if not self._options.sounds:
            return None, Fingerprint.empty()
        try:
            samples = self._listener.hear(utterance).samples
        except LinnetError as error:
            counts["failed"] += 1
            if len(self.failures) < _NAMED:
                self.failures.append(str(error))
            return None, Fingerprint.empty()
        found = fingerprint(samples)
        counts["sounds" if found.loud.sum() >= LEAST_FRAMES else "sounds_too_short"] += 1
        return exact_hash(samples) if found.loud.any() else None, found  # silence is like silence
