"""Cached encoder frames, for a frozen encoder and audio without augmentation.

Training steps then skip the encoder. Each clip is encoded alone, at the run's precision, and its frames are stored in
one memory-mapped file that resumed runs and all workers and processes of a machine share.

Shapes: B clips, T frames of the longest, d encoder width.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from linnet.audio import SAMPLE_RATE
from linnet.data.samples import UtteranceReader
from linnet.data.sources.embedded import split_address
from linnet.errors import AudioError, LinnetError, OptionError
from linnet.models.families import family_of_model
from linnet.training.batch import IGNORED, Batch, tensors_to
from linnet.training.context import ALONE, RunContext
from linnet.training.speech.corpus import AudioBatches, Corpus
from linnet.training.speech.corpus_cache import keep_folder, stamp
from linnet.training.speech.inputs import FusionInputs, Tensors, WhisperInputs
from linnet.training.speech.model import SpeechTask
from linnet.training.speech.recipe import SpeechRecipe

Autocast = Callable[[], AbstractContextManager[Any]]
_FORMAT = 2
_NOTICE = 60.0  # seconds between progress notices


@dataclass(frozen=True, eq=False)
class FeatureCache:
    """The frames of each row of a corpus: row r has `starts[r]` to `starts[r + 1]` of all `frames` [total, d].

    Rows without frames are not trained on, or their audio is unreadable.
    """

    frames: Tensor
    starts: npt.NDArray[np.int64]

    def has(self, row: int) -> bool:
        """Whether the row has frames."""
        return bool(self.starts[row + 1] > self.starts[row])

    def tensors(self, rows: Sequence[int]) -> Tensors:
        """`frames` [B, T, d], padded with zeros, and the `frame_counts` [B] of each row."""
        clips = [self.frames[self.starts[row] : self.starts[row + 1]] for row in rows]
        return {"frames": pad_sequence(clips, True), "frame_counts": torch.tensor([len(clip) for clip in clips])}

    def nothing(self) -> Tensors:
        """A clip of silence."""
        return {"frames": self.frames.new_zeros(1, 1, self.frames.shape[1]), "frame_counts": torch.tensor([1])}

    @classmethod
    def load(cls, folder: Path) -> FeatureCache:
        """Load what `make_cache` wrote; frames are memory-mapped."""
        meta = json.loads((folder / "shape.json").read_text(encoding="utf-8"))
        starts, width = np.load(folder / "starts.npy", allow_pickle=False), meta["width"]
        size, dtype = int(starts[-1]) * width, getattr(torch, meta["dtype"])
        mapped = torch.from_file(str(folder / "frames.bin"), shared=False, size=size, dtype=dtype)
        return cls(mapped.view(-1, width), starts)


@dataclass(frozen=True, eq=False)
class ClipEncoder:
    """Encodes one clip on a device at the run's precision; progress is reported through `context`."""

    task: SpeechTask
    device: Any = "cpu"
    autocast: Autocast = torch.no_grad
    context: RunContext = ALONE

    @torch.no_grad()
    def __call__(self, samples: npt.NDArray[np.float32]) -> Tensor:
        """The frames [T, d] of samples [N]."""
        model, inputs = self.task.model.eval(), self.task.inputs
        given = tensors_to(inputs.audio([samples]), self.device)
        with self.autocast():
            if isinstance(inputs, FusionInputs):
                made: Tensor = model.encode_audio(**given)[0]
            else:
                made = encoder_of(self.task)(**given).last_hidden_state[0]
        return made.cpu().contiguous()


class CachedBatches(AudioBatches):
    """Batches of cached encoder frames, without reading audio."""

    def __init__(self, corpus: Corpus, features: FeatureCache, **options: Any) -> None:
        super().__init__(corpus, **options)
        self._features = features

    def __getitem__(self, rows: Sequence[int]) -> Batch:
        """The batch of these rows; those without frames count as lost."""
        corpus, features = self.corpus, self._features
        kept = [row for row in rows if features.has(row)]
        lost = [corpus.utterances[row].id for row in rows if not features.has(row)]
        if kept:
            seconds = [float(corpus.lengths.durations[row]) for row in kept]
            counts = [round(length * SAMPLE_RATE) for length in seconds]
            tensors = {**features.tensors(kept), **corpus.inputs.answers([corpus.labels(row) for row in kept])}
            return self._made(self._spelled(tensors, [[row] for row in kept], counts), kept, seconds, lost, rows)
        given = {**features.nothing(), **corpus.inputs.answers([corpus.labels(rows[0])])}
        tensors = self._spelled(given, [rows[:1]], [SAMPLE_RATE])
        return Batch({**tensors, "labels": torch.full_like(given["labels"], IGNORED)}, [], [], 0.0, lost)

    def _padded_seconds(self, tensors: Tensors, seconds: Sequence[float]) -> float:
        """All rows are padded to the longest, or to the window."""
        del tensors
        return len(seconds) * (self.corpus.inputs.span or max(seconds))


def require_cacheable(task: SpeechTask) -> None:
    """Raise an `OptionError` where frames would differ between steps."""
    reason = None
    if not isinstance(task.inputs, FusionInputs | WhisperInputs):
        reason = "is for Whisper models, and for those of an encoder, a projector and a language model"
    elif any(value.requires_grad for value in encoder_of(task).parameters()):
        said = " and ".join(f"{part}: {policy}" for part, policy in task.policy.items() if policy != "frozen")
        reason = f"needs a frozen encoder, and `freeze` says {said}"
    elif task.teacher is not None:
        reason = "and a `teacher` exclude each other: the teacher needs the audio"
    if reason is not None:
        raise OptionError(f"data: cache_features {reason}. Leave one of the two out.")


def encoder_of(task: SpeechTask) -> Any:
    """The encoder of a fusion or Whisper model."""
    return family_of_model(task.model).encoder(task.model)


def cached_features(
    folder: Path, recipe: SpeechRecipe, encode: ClipEncoder, corpus: Corpus, rows: Sequence[int]
) -> FeatureCache:
    """The frames of these rows of a corpus, cached in `folder` or computed now.

    Raises:
        OptionError: they would take more than `gigabytes`.
        LinnetError: unreadable audio, without `skip_bad`.
        OutputError: they cannot be written.
    """

    def make() -> Callable[[Path], None]:
        _require_disk(recipe, encode.task, corpus, rows)
        return lambda place: make_cache(place, corpus, rows, encode)

    keep_folder(folder, _key(recipe, encode, corpus, rows), make)
    return FeatureCache.load(folder)


def make_cache(folder: Path, corpus: Corpus, rows: Sequence[int], encode: ClipEncoder) -> None:
    """Encode rows of a corpus one by one and write their frames into an empty folder."""
    counts = np.zeros(len(corpus.utterances), np.int64)
    shape: dict[str, Any] = {"width": 1, "dtype": "float32"}
    reported = time.monotonic()
    with (folder / "frames.bin").open("wb") as file, UtteranceReader() as reader:
        for number, row in enumerate(sorted(rows), 1):
            frames = _encoded(corpus, row, encode, reader)
            if frames is not None:
                counts[row], shape = len(frames), {"width": frames.shape[1], "dtype": str(frames.dtype)[6:]}
                _append(file, frames)
            if time.monotonic() - reported > _NOTICE:
                reported = time.monotonic()
                encode.context.notify(f"encoder frames: {number} of {len(rows)} utterances")
        file.flush()
        os.fsync(file.fileno())
    np.save(folder / "starts.npy", np.concatenate([[0], counts.cumsum()]), allow_pickle=False)
    (folder / "shape.json").write_text(json.dumps(shape), encoding="utf-8")


def _encoded(corpus: Corpus, row: int, encode: ClipEncoder, reader: UtteranceReader) -> Tensor | None:
    """The frames of a row; None for unreadable audio that may be skipped."""
    utterance = corpus.utterances[row]
    try:
        return encode(reader.read(utterance).samples)
    except AudioError as error:
        if encode.context.skip_bad:
            return None
        raise LinnetError(f"{utterance.id}: {error} Skip such utterances with --skip-bad.") from error


def _append(file: IO[bytes], frames: Tensor) -> None:
    file.write(frames.view(torch.uint8).numpy().tobytes())


def _require_disk(recipe: SpeechRecipe, task: SpeechTask, corpus: Corpus, rows: Sequence[int]) -> None:
    """Raise an `OptionError` where the frames would take more than the recipe allows."""
    assert recipe.data.cache_features is not None
    allowed, config = recipe.data.cache_features.gigabytes, encoder_of(task).config
    lengths = corpus.lengths.durations[list(rows)]
    if isinstance(task.inputs, FusionInputs):
        count = task.model.windowing.frames
        frames = sum(count(round(float(seconds) * SAMPLE_RATE)) for seconds in lengths)
    else:
        frames = len(rows) * config.max_source_positions
    needed = frames * config.hidden_size * 4 / 1e9
    if needed > allowed:
        raise OptionError(
            f"data: cache_features: the encoder frames of {lengths.sum() / 3600:.1f} h take up to {needed:.2f} GB, and "
            f"{allowed:g} are allowed: allow more by  cache_features: {{gigabytes: {needed + 1:.0f}}}, or leave it out."
        )


def _key(recipe: SpeechRecipe, encode: ClipEncoder, corpus: Corpus, rows: Sequence[int]) -> list[Any]:
    """Everything that the frames depend on, as JSON values."""
    config = encode.task.model.config
    given = hashlib.sha256(np.asarray(sorted(rows), np.int64).tobytes())
    for row in sorted(rows):
        utterance = corpus.utterances[row]
        file = (split_address(utterance.audio) or [utterance.audio])[0]
        part = (utterance.audio, stamp(Path(file)), utterance.start, utterance.end, utterance.channel)
        given.update(json.dumps(part).encode())
    weights = hashlib.sha256()
    for name, value in sorted(encoder_of(encode.task).state_dict().items()):
        weights.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        weights.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    windows = [
        getattr(config, name, None) for name in ("window_seconds", "overlap_seconds", "pad_seconds", "normalize")
    ]
    skipping = encode.context.skip_bad
    return [_FORMAT, weights.hexdigest(), windows, recipe.run.precision, given.hexdigest(), skipping]
