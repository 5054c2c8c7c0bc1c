"""The utterances that a recipe names: read, held against the model, measured, and given sound by sound."""

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

NAMED = 10  # of the utterances that cannot be used; all are counted
_AT_ONCE = 1000  # texts that are given to the tokenizer together


@dataclass(frozen=True, eq=False)
class Corpus:
    """Utterances in order, the tokens that each is trained to give (end to end), and the table of their lengths."""

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
        """What `save` wrote, for the same kind of inputs; texts and tokens stay on the disk until they are used."""
        tokens = np.load(folder / "tokens.npy", mmap_mode="r", allow_pickle=False)
        return cls(PackedUtterances.load(folder), load_lengths(folder / "lengths.npz"), inputs, tokens)

    def labels(self, row: int) -> list[int]:
        """The tokens of one utterance."""
        end = int(self._ends[row])
        found: list[int] = self.tokens[end - int(self.lengths.tokens[row]) : end].tolist()
        return found


def read_corpus(specs: Iterable[SourceSpec], inputs: Inputs, context: RunContext = ALONE, *, limit: int = 0) -> Corpus:
    """Read sources to their end (or the first `limit` utterances of each).

    An utterance that cannot be used has no text, or its sound is not there, or its text or length is too much for the
    model; rows that are no utterances count too. With `context.skip_bad` they are left out and told.

    Raises:
        OptionError: there are such utterances (names the first ten, and how many of each kind), or there are no others.
    """
    bad, packer = _Unusable(), Packer()
    seconds, tokens, counts = array("f"), array("i"), array("i")
    parts: list[tuple[str, int]] = []
    with UtteranceReader() as listener:
        for spec in specs:
            source, before = open_source(spec), len(packer)
            found: Iterator[Utterance] = iter(source)
            if isinstance(spec, TrainingSource) and spec.transcribe_with:
                context.notify(
                    f"{source.name}: {spec.transcribe_with} writes its texts first; here they count as empty"
                )
                found = (replace(utterance, text=utterance.text or "") for utterance in source)
            while some := list(islice(found, min(_AT_ONCE, limit - len(packer) + before) if limit else _AT_ONCE)):
                for utterance, length, labels in _measured(some, inputs, listener, bad):
                    packer.add(utterance)
                    seconds.append(length)
                    tokens.extend(labels)
                    counts.append(len(labels))
            parts.append((source.name, len(packer) - before))
            bad.add("no utterance", list(map(str, source.report.problems)), source.report.bad)
    bad.settle(len(packer), context)
    if not len(packer):
        raise OptionError(f"there is nothing to read in {', '.join(name for name, _ in parts) or 'no source at all'}.")
    lengths = Lengths(np.asarray(seconds, np.float32), np.asarray(counts, np.int32), tuple(parts), inputs.about)
    return Corpus(packer.made(), lengths, inputs, np.asarray(tokens, np.int32))


class AudioBatches(Dataset[Batch]):
    """Whole batches by the rows in them; every sound is heard anew in each epoch where there is an `augment`.

    What an utterance becomes depends on seed, epoch and row alone. `used` tells the share of its budget that a batch
    of these rows takes. With an `alphabet` there are the tensors that a CTC head asks for: the `characters` [B, S] of
    each text, and how many `samples` [B] it has. `packed` says that no label is padded where the model reads it.
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
        self._listener: tuple[int, UtteranceReader] | None = None

    def __getitem__(self, rows: Sequence[int]) -> Batch:
        """The batch of these rows. Raises `LinnetError` that names an utterance whose sound cannot be read."""
        corpus = self.corpus
        heard: list[tuple[int, Samples]] = []
        lost: list[str] = []
        for row in rows:
            utterance = corpus.utterances[row]
            try:
                heard.append((row, self._hear(utterance, row)))
            except AudioError as error:
                if not self._skip_bad:
                    raise LinnetError(f"{utterance.id}: {error} Leave such out with --skip-bad.") from error
                lost.append(utterance.id)
        ids = [corpus.utterances[row].id for row, _ in heard]
        seconds = [len(samples) / SAMPLE_RATE for _, samples in heard]
        if heard:
            return self._made(self._tensors(heard), [row for row, _ in heard], seconds, lost, rows)
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
        """The batch of the rows that could be read, of all that were planned for it."""
        corpus = self.corpus
        slots = sum(len(corpus.labels(row)) for row in kept) if self._packed else None
        ids = [corpus.utterances[row].id for row in kept]
        return Batch(tensors, ids, seconds, self._heard(tensors, seconds), lost, self._used and self._used(rows), slots)

    def _heard(self, tensors: dict[str, Tensor], seconds: Sequence[float]) -> float:
        """The seconds of all rows of a batch with their padding, of utterances of so many."""
        del tensors
        return self.corpus.inputs.heard(seconds)

    def _tensors(self, heard: Sequence[tuple[int, Samples]]) -> dict[str, Tensor]:
        """What a model takes of these rows and their sounds, and what a head beside it does."""
        corpus = self.corpus
        tensors = corpus.inputs.batch([samples for _, samples in heard], [corpus.labels(row) for row, _ in heard])
        return self._spelled(tensors, [[row] for row, _ in heard], [len(samples) for _, samples in heard])

    def _spelled(
        self, tensors: dict[str, Tensor], rows: Iterable[Sequence[int]], samples: Sequence[int]
    ) -> dict[str, Tensor]:
        """With the characters of the utterances in each sound and how many samples it has, for a CTC head."""
        if self._alphabet is None:
            return tensors
        texts = [" ".join(self.corpus.utterances[row].text or "" for row in some) for some in rows]
        spelled = [self._alphabet.ids(text) for text in texts]
        return {**tensors, "characters": padded(spelled), "samples": torch.tensor(samples)}

    def _hear(self, utterance: Utterance, row: int) -> Samples:
        if self._listener is None or self._listener[0] != os.getpid():  # a file's place is not shared with a fork
            self._listener = os.getpid(), UtteranceReader()
        samples = self._listener[1].read(utterance).samples
        if self._augment is None:
            return samples
        return augmented(samples, self._augment, (self._seed, self.epoch, row), longest=self.corpus.inputs.longest)


def _seconds(utterance: Utterance, listener: UtteranceReader) -> float:
    """The length of an utterance: stated, or measured. Raises `AudioError` where its sound is not there."""
    if listener.exists(utterance) is False:
        raise AudioError("missing audio")
    if utterance.end is not None:
        return utterance.end - (utterance.start or 0.0)
    if utterance.duration is not None:
        return utterance.duration
    try:
        return listener.read(utterance).duration
    except AudioError as error:
        raise AudioError("audio that cannot be read") from error


def _measured(
    utterances: Sequence[Utterance], inputs: Inputs, listener: UtteranceReader, bad: _Unusable
) -> Iterator[tuple[Utterance, float, list[int]]]:
    """Those that can be used, with their seconds and their label tokens."""
    told = inputs.labels([u.text or "" for u in utterances], [u.language for u in utterances])
    for utterance, labels in zip(utterances, told, strict=True):
        try:
            length = _seconds(utterance, listener)
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
    """Utterances that cannot be used, by the reason: all are counted, the first are named."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._names: dict[str, list[str]] = defaultdict(list)

    def add(self, reason: str, names: Sequence[str], count: int = 1) -> None:
        """Some more."""
        self._counts[reason] += count
        self._names[reason] += names[: NAMED - len(self._names[reason])]

    def settle(self, good: int, context: RunContext) -> None:
        """Tell of them, or raise an `OptionError`."""
        count = self._counts.total()
        if not count:
            return
        lines = [f"{count} of {count + good} utterances cannot be used"]
        for reason, number in self._counts.items():
            named = ", ".join(self._names[reason])
            if number:
                lines.append(f"  {number} {reason}: {named}" + (f", and {number - NAMED} more" * (number > NAMED)))
        if not context.skip_bad:
            raise OptionError("\n".join([*lines, "Mend them, or leave them out with --skip-bad."]))
        for line in lines:
            context.notify(line)
