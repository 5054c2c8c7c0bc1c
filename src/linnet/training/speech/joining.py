"""Concatenating utterances in a Whisper window, which would otherwise be mostly padding.

A tick is 20 ms, the resolution of Whisper's timestamps; recordings start on ticks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from linnet.audio import SAMPLE_RATE, Samples
from linnet.audio.effects import colored
from linnet.data.batching import JoinedWindow, JoinPlan, join_utterances
from linnet.data.batching.arrays import Ints
from linnet.data.batching.cost import Cost, Peak
from linnet.data.batching.joining import in_turn
from linnet.errors import OptionError
from linnet.training.speech.augment import SLOWEST
from linnet.training.speech.corpus import AudioBatches, Corpus
from linnet.training.speech.inputs import TICK, Inputs, WhisperInputs
from linnet.training.speech.recipe import JoinOptions, SpeechData

_TICK = round(TICK * SAMPLE_RATE)
_PURPOSE = 100  # random stream, distinct from those of augmentation
_PINK = 1.0  # the color of the noise in pauses


def plan_joined(corpus: Corpus, data: SpeechData, cost: Cost | Peak, budget: float, rows: Ints) -> JoinPlan:
    """Plan windows of a corpus of a Whisper model as the recipe says, and batches of them."""
    inputs = require_joinable(corpus.inputs)
    options, slower = data.join or JoinOptions(), data.augment is not None and data.augment.speed > 0
    # half of the maximum pause before each, a tick for rounding up, and a position for one more timestamp than labels
    window = JoinedWindow(
        inputs.span, (inputs.places or 2**30) - 1, options.silence / 2 + TICK, 1 / SLOWEST if slower else 1.0
    )
    kinds = np.unique(_languages(corpus, inputs), return_inverse=True)[1].astype(np.int16)
    joining = join_utterances(corpus.lengths, window, cost, budget, kinds=kinds, rows=rows)
    lone = _alone(np.arange(len(corpus.lengths)), options.alone)
    return replace(joining, loads=np.where(lone, 1.0, joining.loads))


def _alone(rows: Ints, share: float) -> npt.NDArray[np.bool_]:
    """Which rows get their own window: about that share of them, the same in each epoch (Knuth's hash)."""
    return rows * 2_654_435_761 % 2**32 < share * 2**32


def _languages(corpus: Corpus, inputs: WhisperInputs) -> Ints:
    """What utterances must have in common to share a window: their first label, if it is a language."""
    counts = corpus.lengths.tokens.astype(np.int64)
    if not inputs.front:
        return np.zeros(len(counts), np.int64)
    return np.asarray(corpus.tokens[np.cumsum(counts) - counts], np.int64)


def require_joinable(inputs: Inputs) -> WhisperInputs:
    """The inputs of a Whisper model. Raises `OptionError` for others."""
    if not isinstance(inputs, WhisperInputs):
        raise OptionError("data: join is for Whisper models, which pad all audio to one window: leave it out.")
    return inputs


class JoinedBatches(AudioBatches):
    """Batches of windows as planned by `JoinPlan`.

    Gaps, order, and whether timestamps are written depend on seed, epoch and the first row of each window.
    """

    def __init__(
        self, corpus: Corpus, join: JoinOptions, window: JoinedWindow, *, seed: int = 0, **options: Any
    ) -> None:
        super().__init__(corpus, seed=seed, **options)
        self._join, self._whisper = join, require_joinable(corpus.inputs)
        self._window = replace(window, slower=1.0)  # after augmentation the length is known

    def _tensors(self, read: Sequence[tuple[int, Samples]]) -> dict[str, Tensor]:
        """Fill windows by the actual lengths of the audio after augmentation."""
        corpus, inputs = self.corpus, self._whisper
        labels = [corpus.labels(row) for row, _ in read]
        seconds, rows = [len(samples) / SAMPLE_RATE for _, samples in read], np.array([row for row, _ in read])
        loads = self._window.shares(seconds, [len(row) for row in labels])
        loads[_alone(rows, self._join.alone)] = 1.0
        kinds = [row[0] if inputs.front else 0 for row in labels]
        recordings: list[Samples] = []
        window_labels: list[list[int]] = []
        window_rows: list[list[int]] = []
        for together in in_turn(loads.tolist(), kinds):
            random = np.random.default_rng([self._seed, self.epoch, read[together[0]][0], _PURPOSE])
            members = random.permutation(together).tolist()
            audio, times = laid([read[at][1] for at in members], inputs.span, self._join.silence, random)
            timed = random.random() < self._join.times
            recordings.append(audio)
            window_labels.append(inputs.joined([labels[at] for at in members], times if timed else None))
            window_rows.append([read[at][0] for at in members])
        return self._spelled(inputs.batch(recordings, window_labels), window_rows, list(map(len, recordings)))

    def _padded_seconds(self, tensors: dict[str, Tensor], seconds: Sequence[float]) -> float:
        """The windows."""
        del seconds
        return len(tensors["labels"]) * self._whisper.span


def laid(
    recordings: Sequence[Samples], span: float, silence: float, random: np.random.Generator
) -> tuple[Samples, list[tuple[int, int]]]:
    """Concatenated recordings [N], and the start and end tick of each.

    Before each there are up to `silence` seconds of noise at the level of its quietest 20 ms, less if the window of
    `span` seconds would overflow.
    """
    window = round(span / TICK)
    counts = np.array([-(-len(audio) // _TICK) for audio in recordings])
    gaps = random.integers(0, round(silence / TICK), len(recordings), endpoint=True)
    room = max(0, window - int(counts.sum()))
    if gaps.sum() > room:
        gaps = gaps * room // gaps.sum()
    ends = np.cumsum(gaps + counts)
    starts = ends - counts
    made = np.zeros(int(ends[-1]) * _TICK, np.float32)
    done = 0
    for audio, start in zip(recordings, (starts * _TICK).tolist(), strict=True):
        if start > done:
            made[done:start] = _softest(audio) * colored(random, start - done, _PINK)
        done = start + len(audio)
        made[start:done] = audio
    return made, list(
        zip(starts.tolist(), ends.clip(max=window).tolist(), strict=True)
    )  # a single recording may be too long


def _softest(audio: Samples) -> np.float32:
    """The root mean square of the quietest tick."""
    ticks = audio[: max(1, len(audio) // _TICK) * _TICK]
    squares = np.square(ticks, dtype=np.float64).reshape(max(1, len(audio) // _TICK), -1)
    return np.float32(np.sqrt(squares.mean(1).min()))
