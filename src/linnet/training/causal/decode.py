"""Batched streaming decoding of recordings, for choosing a checkpoint.

Each recording is encoded once with the mask, which yields the frames that the runtime computes block by block. At the
end of each block the decoder continues from the final words; a word becomes final if it is complete and either
confident or unchanged since the previous block.

Shapes: B recordings, R rows, P encoder frames (20 ms), D width, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from linnet.alignment.grouping import split_words
from linnet.models.causal import FRAME_SECONDS, block_ends, encode_causal
from linnet.models.vocabulary import WhisperVocabulary
from linnet.training.causal.batches import Shape
from linnet.training.causal.features import frame_count, padded_frames, stream_features, window_features
from linnet.training.causal.loss import decode_limited
from linnet.training.causal.options import CausalOptions
from linnet.training.causal.targets import CausalExample

_AT_ONCE, _RATE = 15, 12.0  # maximum new tokens per block; tokens per second of audio


@dataclass
class StreamResult:
    """The final tokens of one recording, and when each became final, in seconds of audio."""

    prefix: tuple[int, ...]
    ends: list[int]  # block ends
    tokens: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    before: tuple[int, ...] = ()  # all tokens of the hypothesis at the previous block


@dataclass(frozen=True)
class Tail:
    """Tokens after the final ones, their probabilities, and whether the end token followed."""

    tokens: tuple[int, ...]
    probabilities: tuple[float, ...]
    ended: bool


@torch.no_grad()
def decode_stream(
    model: Any,
    vocabulary: WhisperVocabulary,
    shape: Shape,
    examples: Sequence[CausalExample],
    options: CausalOptions,
    *,
    block: int,
) -> list[StreamResult]:
    """Decode each recording as a stream in blocks of `block` frames after a first block of `first_block`.

    A word is final at once if each of its tokens has at least the probability `options.sure`.
    """
    counts = [min(frame_count(len(one.samples), options.tail_pad), shape.frames) for one in examples]
    longest = padded_frames(counts, shape.frames)
    ends = torch.full((len(examples), longest), longest)
    results: list[StreamResult] = []
    for row, (one, count) in enumerate(zip(examples, counts, strict=True)):
        own = block_ends(count, [options.first_block, block])
        ends[row, :count] = torch.as_tensor(own)
        results.append(StreamResult(one.prefix, sorted({int(end) for end in own})))
    features = stream_features([one.samples for one in examples], longest, mels=shape.mels, peak=options.speech_peak)
    device = next(model.parameters()).device
    encoded = encode_causal(model.model.encoder, features.to(device), ends)
    for number in range(max(len(one.ends) for one in results)):
        open_rows = [row for row, one in enumerate(results) if number < len(one.ends)]
        limits = [results[row].ends[number] for row in open_rows]
        begun = [[*results[row].prefix, *results[row].tokens] for row in open_rows]
        tails = extend(model, shape, encoded[open_rows], begun, limits)
        for row, limit, tail in zip(open_rows, limits, tails, strict=True):
            last = limit == results[row].ends[-1]
            _settle(results[row], tail, vocabulary, limit * FRAME_SECONDS, sure=options.sure, last=last)
    return results


@torch.no_grad()
def decode_windows(model: Any, shape: Shape, examples: Sequence[CausalExample]) -> list[list[int]]:
    """Decode each recording greedily from its whole window, as a non-causal model does."""
    device = next(model.parameters()).device
    features = window_features([one.samples for one in examples], shape.window, mels=shape.mels).to(device)
    encoded = encode_causal(model.model.encoder, features, torch.full((shape.frames,), shape.frames))
    begun = [list(one.prefix) for one in examples]
    tails = extend(model, shape, encoded, begun, [shape.frames] * len(begun), most=shape.places)
    return [list(tail.tokens) for tail in tails]


def extend(
    model: Any,
    shape: Shape,
    encoded: Tensor,
    begun: Sequence[Sequence[int]],
    limits: Sequence[int],
    *,
    most: int = _AT_ONCE,
) -> list[Tail]:
    """Continue `begun` greedily, on the first `limits` frames of encoded rows [R, P, D], by up to `most` tokens."""
    tails: list[tuple[list[int], list[float]]] = [([], []) for _ in begun]
    ended = [False] * len(begun)
    room = [min(most, shape.places - len(row)) for row in begun]
    unfinished = list(range(len(begun)))
    suppressed = shape.end + 1  # no special token and no timestamp
    while unfinished:
        rows = [[*begun[row], *tails[row][0]] for row in unfinished]
        length = max(map(len, rows))
        tokens = torch.tensor([row + [0] * (length - len(row)) for row in rows], device=encoded.device)
        bounds = torch.tensor([limits[row] for row in unfinished], device=encoded.device)
        hidden = decode_limited(model.model.decoder, tokens, encoded[unfinished], bounds)
        last = hidden[torch.arange(len(rows)), torch.tensor([len(row) - 1 for row in rows])]
        scores = model.proj_out(last).float()
        scores[:, suppressed:] = -torch.inf
        best = scores.log_softmax(-1).max(-1)
        for row, token, score in zip(unfinished, best.indices.tolist(), best.values.tolist(), strict=True):
            if token == shape.end:
                ended[row] = True
            else:
                tails[row][0].append(token)
                tails[row][1].append(math.exp(score))
        unfinished = [row for row in unfinished if not ended[row] and len(tails[row][0]) < room[row]]
    return [Tail(tuple(tokens), tuple(sure), done) for (tokens, sure), done in zip(tails, ended, strict=True)]


def _settle(
    result: StreamResult, tail: Tail, vocabulary: WhisperVocabulary, time: float, *, sure: float, last: bool
) -> None:
    """Commit the words of a tail that may be final; all of them at the end of the recording."""
    done = len(result.tokens)
    words = split_words(vocabulary, tail.tokens)
    taken = 0
    for number, word in enumerate(words):
        complete = tail.ended or number + 1 < len(words)
        certain = all(tail.probabilities[place] >= sure for place in word.indices)
        end = word.indices[-1] + 1
        agreed = result.before[done : done + end] == tail.tokens[:end]
        if not (last or (complete and (certain or agreed))):
            break
        taken = end
    result.before = (*result.tokens, *tail.tokens)
    result.tokens += tail.tokens[:taken]
    result.times += [time] * taken
