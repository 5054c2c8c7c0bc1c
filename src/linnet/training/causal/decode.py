"""Batched streaming decoding of recordings, for choosing a checkpoint.

Each recording is encoded once with the mask, which yields the frames that the runtime computes block by block. At the
end of each block the decoder continues from the final words; a word becomes final if it is complete and either
confident or unchanged since the previous block.

Shapes: B recordings, R rows, P encoder frames (20 ms), D width, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache

from linnet.alignment.grouping import split_words
from linnet.models.causal import FRAME_SECONDS, additive_mask, block_ends, encode_causal
from linnet.models.vocabulary import WhisperVocabulary
from linnet.training.causal.batches import Shape
from linnet.training.causal.features import frame_count, padded_frames, stream_features, window_features
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
    device = encoded.device
    found = [Tail((), (), False) for _ in begun]
    longest = max(map(len, begun), default=0)
    ahead = torch.tensor([longest - len(row) for row in begun], device=device)
    tokens = torch.tensor([[0] * (longest - len(row)) + list(row) for row in begun], device=device)
    bounds = torch.tensor(list(limits), device=device)
    cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
    rows = list(range(len(begun)))
    while rows:
        hidden = _read_on(model.model.decoder, tokens, ahead, encoded, bounds, cache)
        scores = model.proj_out(hidden).float()
        scores[:, shape.end + 1 :] = -torch.inf  # no special token and no timestamp
        best = scores.log_softmax(-1).max(-1)
        kept = []
        for place, (row, token, score) in enumerate(
            zip(rows, best.indices.tolist(), best.values.tolist(), strict=True)
        ):
            one = found[row]
            if token == shape.end:
                found[row] = replace(one, ended=True)
                continue
            found[row] = Tail((*one.tokens, token), (*one.probabilities, math.exp(score)), False)
            if len(found[row].tokens) < min(most, shape.places - len(begun[row])):
                kept.append(place)
        left = torch.tensor(kept, dtype=torch.int64, device=device)
        tokens = best.indices[left, None]
        if len(kept) < len(rows):
            rows = [rows[place] for place in kept]
            ahead, bounds, encoded = ahead[left], bounds[left], encoded[left]
            cache.batch_select_indices(left)
    return found


def _read_on(
    decoder: Any, tokens: Tensor, ahead: Tensor, encoded: Tensor, limits: Tensor, cache: EncoderDecoderCache
) -> Tensor:
    """The last hidden states [R, D] after the next tokens [R, L], of which the first `ahead` [R] of a row are padding.

    The cache has the keys and values of earlier tokens, and from the first call on those of the frames.
    """
    done, count = cache.get_seq_length(), tokens.shape[1]
    places = torch.arange(done, done + count, device=tokens.device)
    keys = torch.arange(done + count, device=tokens.device)
    unseen = (keys < ahead[:, None, None]) | (keys > places[:, None])
    beyond = torch.arange(encoded.shape[1], device=tokens.device) >= limits[:, None, None]
    positions = (places - ahead[:, None]).clamp(min=0)
    x = decoder.embed_tokens(tokens) + decoder.embed_positions.weight[positions]
    own, cross = (
        additive_mask(unseen, x.dtype)[:, None],
        additive_mask(beyond, x.dtype)[:, None].expand(-1, -1, count, -1),
    )
    for layer in decoder.layers:
        out = layer(x, own, encoded, cross, past_key_values=cache, use_cache=True)
        x = out[0] if isinstance(out, tuple) else out
    last: Tensor = decoder.layer_norm(x[:, -1])
    return last


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
