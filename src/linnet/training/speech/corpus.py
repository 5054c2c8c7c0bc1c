"""The utterances of a recipe: read, checked against the model, measured, and batched."""

from __future__ import annotations

import os
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from linnet.audio import SAMPLE_RATE, Samples
from linnet.data import SourceSpec, Utterance, open_source
from linnet.data.batching import Lengths, load_lengths
from linnet.data.packed import PackedUtterances, Packer
from linnet.data.samples import UtteranceReader
from linnet.errors import AudioError, LinnetError, OptionError
from linnet.training.batch import IGNORED, Batch
from linnet.training.context import ALONE, RunContext
from linnet.training.speech.augment import augmented
from linnet.training.speech.ctc import Alphabet
from linnet.training.speech.inputs import Inputs, padded
from linnet.training.speech.recipe import AugmentOptions, TrainingSource

NAMED = 10  # unusable utterances; all are counted
_AT_ONCE = 1000  # texts per call of the tokenizer


@dataclass(frozen=True, eq=False)
class Corpus:
    """Utterances in order, their concatenated label tokens, and the table of their lengths."""

    utterances: PackedUtterances
    lengths: Lengths
    inputs: Inputs
    tokens: npt.NDArray[np.int32]

    @cached_property
    def _ends(self) -> npt.NDArray[np.int64]:
        return np.cumsum(self.lengths.tokens, dtype=np.int64)

    def save(self, folder: Path) -> None:
        """Write it into an empty folder."""
        self.utterances.save(folder)
        self.lengths.save(folder / "lengths.npz")
        np.save(folder / "tokens.npy", self.tokens, allow_pickle=False)

    @classmethod
    def load(cls, folder: Path, inputs: Inputs) -> Corpus:
        """Load what `save` wrote, for the same kind of inputs; texts and tokens are memory-mapped."""
        tokens = np.load(folder / "tokens.npy", mmap_mode="r", allow_pickle=False)
        return cls(PackedUtterances.load(folder), load_lengths(folder / "lengths.npz"), inputs, tokens)

    def labels(self, row: int) -> list[int]:
        """The label tokens of one utterance."""
        end = int(self._ends[row])
        found: list[int] = self.tokens[end - int(self.lengths.tokens[row]) : end].tolist()
        return found


def read_corpus(specs: Iterable[SourceSpec], inputs: Inputs, context: RunContext = ALONE, *, limit: int = 0) -> Corpus:
    """Read sources to their end (or the first `limit` utterances of each).

    Unusable utterances have no text or audio, or are too long for the model; invalid rows count too. With
    `context.skip_bad` they are skipped and reported.

    Raises:
        OptionError: there are unusable utterances (names the first ten and counts each kind), or no others.
    """
    bad, packer = _Unusable(), Packer()
    seconds, tokens, counts = array("f"), array("i"), array("i")
    parts: list[tuple[str, int]] = []
    with UtteranceReader() as reader:
        for spec in specs:
            source, before = open_source(spec), len(packer)
            found: Iterator[Utterance] = iter(source)
            if isinstance(spec, TrainingSource) and spec.transcribe_with:
                context.notify(
                    f"{source.name}: {spec.transcribe_with} transcribes it first; here its texts count as empty"
                )
                found = (replace(utterance, text=utterance.text or "") for utterance in source)
            while some := list(islice(found, min(_AT_ONCE, limit - len(packer) + before) if limit else _AT_ONCE)):
                for utterance, length, labels in _measured(some, inputs, reader, bad):
                    packer.add(utterance)
                    seconds.append(length)
                    tokens.extend(labels)
                    counts.append(len(labels))
            parts.append((source.name, len(packer) - before))
            bad.add("no utterance", list(map(str, source.report.problems)), source.report.bad)
    bad.settle(len(packer), context)
    if not len(packer):
        raise OptionError(f"no utterance found in {', '.join(name for name, _ in parts) or 'no source at all'}.")
    lengths = Lengths(np.asarray(seconds, np.float32), np.asarray(counts, np.int32), tuple(parts), inputs.about)
    return Corpus(packer.made(), lengths, inputs, np.asarray(tokens, np.int32))


class AudioBatches(Dataset[Batch]):
    """Batches by their rows, with audio augmented differently in each epoch if `augment` is given.

    Augmentation depends on seed, epoch and row alone. `used` returns the share of the budget that a batch takes. With
    an `alphabet` batches have tensors for a CTC head: the `characters` [B, S] of each text and the number of `samples`
    [B]. `packed` means that labels are not padded in the model.
    """

    def __init__(
        self,
        corpus: Corpus,
        *,
        seed: int = 0,
        augment: AugmentOptions | None = None,
        skip_bad: bool = False,
        used: Callable[[Sequence[int]], float] | None = None,
        alphabet: Alphabet | None = None,
        packed: bool = False,
    ) -> None:
        self.corpus, self._seed, self._augment, self._skip_bad = corpus, seed, augment, skip_bad
        self._used, self._alphabet, self._packed = used, alphabet, packed
        self.epoch = 0
        self._reader: tuple[int, UtteranceReader] | None = None

    def __getitem__(self, rows: Sequence[int]) -> Batch:
        """The batch of these rows. Raises `LinnetError` that names an utterance with unreadable audio."""
        corpus = self.corpus
        read: list[tuple[int, Samples]] = []
        lost: list[str] = []
        for row in rows:
            utterance = corpus.utterances[row]
            try:
                read.append((row, self._read(utterance, row)))
            except AudioError as error:
                if not self._skip_bad:
                    raise LinnetError(f"{utterance.id}: {error} Skip such utterances with --skip-bad.") from error
                lost.append(utterance.id)
        ids = [corpus.utterances[row].id for row, _ in read]
        seconds = [len(samples) / SAMPLE_RATE for _, samples in read]
        if read:
            return self._made(self._tensors(read), [row for row, _ in read], seconds, lost, rows)
        tensors = self._tensors([(rows[0], np.zeros(SAMPLE_RATE, np.float32))])
        return Batch({**tensors, "labels": torch.full_like(tensors["labels"], IGNORED)}, ids, seconds, 0.0, lost)

    def _made(
        self,
        tensors: dict[str, Tensor],
        kept: Sequence[int],
        seconds: list[float],
        lost: list[str],
        rows: Sequence[int],
    ) -> Batch:
        """The batch of the readable rows among all planned ones."""
        corpus = self.corpus
        slots = sum(len(corpus.labels(row)) for row in kept) if self._packed else None
        ids = [corpus.utterances[row].id for row in kept]
        return Batch(
            tensors, ids, seconds, self._padded_seconds(tensors, seconds), lost, self._used and self._used(rows), slots
        )

    def _padded_seconds(self, tensors: dict[str, Tensor], seconds: Sequence[float]) -> float:
        """The seconds of a batch with padding, for utterances of these lengths."""
        del tensors
        return self.corpus.inputs.padded_seconds(seconds)

    def _tensors(self, read: Sequence[tuple[int, Samples]]) -> dict[str, Tensor]:
        """The tensors of these rows and their audio, for the model and a CTC head."""
        corpus = self.corpus
        tensors = corpus.inputs.batch([samples for _, samples in read], [corpus.labels(row) for row, _ in read])
        return self._spelled(tensors, [[row] for row, _ in read], [len(samples) for _, samples in read])

    def _spelled(
        self, tensors: dict[str, Tensor], rows: Iterable[Sequence[int]], samples: Sequence[int]
    ) -> dict[str, Tensor]:
        """Add the characters and the number of samples of each recording, for a CTC head."""
        if self._alphabet is None:
            return tensors
        texts = [" ".join(self.corpus.utterances[row].text or "" for row in some) for some in rows]
        spelled = [self._alphabet.ids(text) for text in texts]
        return {**tensors, "characters": padded(spelled), "samples": torch.tensor(samples)}

    def _read(self, utterance: Utterance, row: int) -> Samples:
        if self._reader is None or self._reader[0] != os.getpid():  # file positions must not be shared with a fork
            self._reader = os.getpid(), UtteranceReader()
        samples = self._reader[1].read(utterance).samples
        if self._augment is None:
            return samples
        return augmented(samples, self._augment, (self._seed, self.epoch, row), longest=self.corpus.inputs.longest)


def _seconds(utterance: Utterance, reader: UtteranceReader) -> float:
    """The length of an utterance, stated or measured. Raises `AudioError` where its audio is missing."""
    if reader.exists(utterance) is False:
        raise AudioError("missing audio")
    stated = utterance.stated_duration
    try:
        return reader.read(utterance).duration if stated is None else stated
    except AudioError as error:
        raise AudioError("unreadable audio") from error


def _measured(
    utterances: Sequence[Utterance], inputs: Inputs, reader: UtteranceReader, bad: _Unusable
) -> Iterator[tuple[Utterance, float, list[int]]]:
    """The usable utterances, with their seconds and label tokens."""
    token_rows = inputs.labels([u.text or "" for u in utterances], [u.language for u in utterances])
    for utterance, labels in zip(utterances, token_rows, strict=True):
        try:
            length = _seconds(utterance, reader)
        except AudioError as error:
            bad.add(str(error), [utterance.id])
            continue
        if utterance.text is None:
            bad.add("without a text", [utterance.id])
        elif isinstance(labels, str):
            bad.add(labels, [utterance.id])
        elif (reason := inputs.misfit(length, len(labels))) is not None:
            bad.add(reason, [utterance.id])
        else:
            yield utterance, length, labels


class _Unusable:
    """Unusable utterances by reason: all are counted, the first are named."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._names: dict[str, list[str]] = defaultdict(list)

    def add(self, reason: str, names: Sequence[str], count: int = 1) -> None:
        """Count unusable utterances."""
        self._counts[reason] += count
        self._names[reason] += names[: NAMED - len(self._names[reason])]

    def settle(self, good: int, context: RunContext) -> None:
        """Report them, or raise an `OptionError`."""
        count = self._counts.total()
        if not count:
            return
        lines = [f"{count} of {count + good} utterances cannot be used"]
        for reason, number in self._counts.items():
            named = ", ".join(self._names[reason])
            if number:
                lines.append(f"  {number} {reason}: {named}" + (f", and {number - NAMED} more" * (number > NAMED)))
        if not context.skip_bad:
            raise OptionError("\n".join([*lines, "Fix them, or skip them with --skip-bad."]))
        for line in lines:
            context.notify(line)
