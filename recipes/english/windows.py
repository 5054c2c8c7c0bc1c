"""Calibration windows from recordings without texts: the model writes down itself what it hears, greedily."""

# B windows, T tokens

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from linnet import audio
from linnet.data.manifest import read_manifest
from linnet.models.whisper import SAMPLES_PER_POSITION, WhisperModel

from .statistics import Window

_BATCH = 8
_MOST_TOKENS = 200


def windows(model: WhisperModel, manifest: Path, limit: int) -> Iterator[Window]:
    """The first window of each of the first recordings of a manifest, every second one with times."""
    paths = [manifest.parent / utterance.audio for utterance in islice(read_manifest(manifest), limit)]
    for number, begin in enumerate(range(0, len(paths), _BATCH)):
        samples = [audio.load(path).samples[: model.window_samples] for path in paths[begin : begin + _BATCH]]
        features = torch.from_numpy(np.stack([_features(one, model) for one in samples]))
        tokens = write_down(model, features, times=bool(number % 2))
        for one, row, heard in zip(samples, features, tokens, strict=True):
            yield Window(row[None], heard, math.ceil(len(one) / SAMPLES_PER_POSITION))


@torch.no_grad()
def write_down(model: WhisperModel, features: Tensor, *, times: bool) -> list[Tensor]:
    """The likeliest tokens of each window, greedily, from the first of the prompt to the end: [T] each."""
    vocabulary, module = model.vocabulary, model.module
    start = [vocabulary.start] if times else [vocabulary.start, vocabulary.no_timestamps]
    encoded = torch.cat([module.model.encoder(one[None]).last_hidden_state for one in features])
    tokens = torch.tensor([start] * len(features))
    done, past, given = torch.zeros(len(features), dtype=torch.bool), None, tokens
    while tokens.shape[1] < min(_MOST_TOKENS, model.max_length) and not done.all():
        said = module.model.decoder(
            input_ids=given, encoder_hidden_states=encoded, past_key_values=past, use_cache=True
        )
        past, logits = said.past_key_values, module.proj_out(said.last_hidden_state[:, -1])
        logits[:, vocabulary.no_timestamps] = -torch.inf
        if times and tokens.shape[1] == 1:
            logits[:, : vocabulary.no_timestamps] = -torch.inf  # a transcript with times begins with one
        given = logits.argmax(-1, keepdim=True).masked_fill(done[:, None], vocabulary.end)
        tokens, done = torch.cat([tokens, given], 1), done | (given[:, 0] == vocabulary.end)
    return [_to_end(row.tolist(), vocabulary.end) for row in tokens]


def _to_end(tokens: Sequence[int], end: int) -> Tensor:
    kept = tokens[: tokens.index(end)] if end in tokens else tokens
    return torch.tensor([*kept, end])


def _features(samples: Any, model: WhisperModel) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    padded = np.pad(samples, (0, model.window_samples - len(samples)))
    features: np.ndarray[tuple[int, ...], np.dtype[np.float32]] = audio.log_mel(padded, model.n_mels).T
    return features
