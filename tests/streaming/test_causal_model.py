"""A causal model's answers are those of plain greedy decoding over the masked encoder, whatever came before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from linnet.audio.mel import LogMel, scale_causal
from linnet.decoding.drafted import TextRules
from linnet.engines.torch.causal import TorchCausalEngine
from linnet.errors import OptionError
from linnet.models.causal import FRAME_SAMPLES, LOOKAHEAD_SAMPLES, CausalSpec, block_ends, encode_causal
from linnet.models.whisper import WhisperModel, load_whisper
from linnet.streaming.causal import CausalModel
from linnet.streaming.protocol import Hypothesis, Query
from tests.support.tiny_whispers import POSITIONS, save_whisper

SPEC = CausalSpec(base="tiny", first_block=20, default_block=8, tail_pad=10)
SAMPLES = (POSITIONS - SPEC.tail_pad) * FRAME_SAMPLES


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> WhisperModel:
    return load_whisper(save_whisper(tmp_path_factory.mktemp("causal"), seed=5), name="tiny")


@pytest.fixture(scope="module", params=[0, 10, POSITIONS])
def model(whisper: WhisperModel, request: pytest.FixtureRequest) -> CausalModel:
    """With blocks encoded once, with the last two encoded again, and with all of them."""
    return CausalModel(whisper, TorchCausalEngine(whisper), replace(SPEC, right_context=request.param))


def sound(seed: int, count: int = SAMPLES) -> np.ndarray:
    """Tones that come and go."""
    random = np.random.default_rng(seed)
    time = np.arange(count) / 16000
    parts = [
        np.sin(2 * np.pi * random.uniform(80, 3000) * time)
        * (np.sin(2 * np.pi * random.uniform(0.5, 4) * time + random.uniform(0, 6)) > 0)
        for _ in range(4)
    ]
    return (sum(parts) * 0.1 + random.normal(size=count) * 1e-3).astype(np.float32)


def frames_of(samples: int) -> int:
    """Encoder frames that so many samples complete."""
    end, reached = SPEC.first_block, 0
    while end <= POSITIONS and samples >= end * FRAME_SAMPLES + LOOKAHEAD_SAMPLES:
        reached, end = end, end + SPEC.default_block
    return reached


def ends_of(frames: int) -> list[int]:
    """Where so many frames' blocks end."""
    return sorted(set(block_ends(frames, [SPEC.first_block, SPEC.default_block]).tolist()))


def reencoded(encoder: Any, mel: torch.Tensor, ends: Sequence[int], right: int) -> torch.Tensor:
    """Frames [1, P, D] after the block that ends last: each step encodes what lacks `right` frames behind it again.

    A slow twin of the cache: the inputs of each layer are kept in place of keys and values.
    """
    functional = torch.nn.functional
    stem = functional.gelu(encoder.conv2(functional.gelu(encoder.conv1(mel.transpose(1, 2))))).transpose(1, 2)
    stem = stem + encoder.embed_positions.weight[: stem.shape[1]]
    kept, held = 0, [stem[:, :0] for _ in range(len(encoder.layers) + 1)]  # what each layer was given, and the result
    for end in ends:
        inputs = [stem[:, kept:end]]
        for before, layer in zip(held, encoder.layers, strict=False):
            inputs.append(layer(torch.cat([before, inputs[-1]], 1), None)[:, kept:])
        frames = torch.cat([held[-1], inputs[-1]], 1)
        before, kept = kept, max((one for one in ends if one <= end - right), default=0)
        held = [torch.cat([one, new[:, : kept - before]], 1) for one, new in zip(held, inputs, strict=True)]
    return encoder.layer_norm(frames)


def test_the_slow_twin_without_right_context_is_the_masked_encoder(whisper):
    mel = torch.as_tensor(LogMel(16).finish(sound(1))[None, :121])
    encoder, ends = whisper.module.model.encoder, [20, 28, 36, 44, 52, 60]
    with torch.no_grad():
        found = reencoded(encoder, mel, ends, 0)
        wanted = encode_causal(encoder, mel, torch.as_tensor(block_ends(61, [20, 8])))[:, :60]
        assert not torch.allclose(reencoded(encoder, mel, ends, 10), wanted, atol=1e-3)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


def best(
    model: CausalModel, samples: np.ndarray, ends: Sequence[int], committed: Sequence[int], tokens: Sequence[int]
) -> list[int]:
    """The oracle: the whole segment, in blocks with these ends, through a slow encoder, and Transformers' decoder.

    The most probable token at the place of each of `tokens` and behind the last, given those before it: where it is
    that token everywhere, they are what greedy decoding gives.
    """
    vocabulary, module, frames = model.whisper.vocabulary, model.whisper.module, ends[-1]
    padded = np.zeros((frames + 8) * FRAME_SAMPLES, np.float32)
    padded[: min(len(samples), len(padded))] = samples[: len(padded)]
    mel, _ = scale_causal(LogMel(16).finish(padded), SPEC.speech_peak)
    prefix = [vocabulary.start, vocabulary.languages["de"], vocabulary.tasks["transcribe"], vocabulary.no_timestamps]
    with torch.no_grad():
        mel = torch.as_tensor(mel)[None, : 2 * frames + 1]
        hidden = reencoded(module.model.encoder, mel, ends, model.spec.right_context)
        ids = torch.tensor([[*prefix, *committed, *tokens]])
        states = module.model.decoder(ids, encoder_hidden_states=hidden).last_hidden_state[0, -len(tokens) - 1 :]
        logits = module.proj_out(states)
    logits[:, vocabulary.end + 1 :] = -torch.inf
    logits[:, [token for token in vocabulary.suppress if token < vocabulary.end]] = -torch.inf
    if not committed:
        logits[0, [token for token in vocabulary.begin_suppress if token != vocabulary.end]] = -torch.inf
    found: list[int] = logits.argmax(-1).tolist()
    return found


def assert_greedy(
    model: CausalModel, samples: np.ndarray, ends: Sequence[int], committed: Sequence[int], answer: Hypothesis
) -> None:
    """The answer's tokens, and the end token where it says so, are the oracle's."""
    written = [*answer.tokens, *[model.whisper.vocabulary.end] * answer.ended]
    assert written == best(model, samples, ends, committed, answer.tokens)[: len(written)]


@settings(deadline=None, max_examples=6)
@given(seed=st.integers(0, 999))
def test_each_decode_gives_what_greedy_decoding_of_the_whole_gives(model, seed):
    random = np.random.default_rng(seed)
    samples, memory, taken = sound(seed), model.begin(language="de"), 0
    committed: tuple[int, ...] = ()
    while taken < len(samples):
        size = int(random.choice([1, 500, 2560, 5000, 9000]))
        model.add_audio(memory, samples[taken : taken + size])
        taken = min(taken + size, len(samples))
        if size == 1 or random.random() < 0.5:
            continue
        (answer,) = model.answer([Query(memory, committed)])
        assert memory.encoder.frames == frames_of(taken)
        if not memory.encoder.frames:
            assert answer == Hypothesis((), (), (), ended=True, language="de", until=0.0)
            continue
        assert_greedy(model, samples[:taken], ends_of(memory.encoder.frames), committed, answer)
        assert answer.until == pytest.approx(min(memory.encoder.frames / 50, taken / 16000))
        covered = [place for word in answer.words for place in word.indices]
        assert covered == list(range(len(answer.tokens)))
        times = [time for word in answer.words for time in (word.start, word.end)]
        assert times == sorted(times)
        assert all(0 <= time <= taken / 16000 for time in times)
        committed = (*committed, *answer.tokens[: random.integers(0, len(answer.tokens) + 1)])


def test_where_the_text_is_full_nothing_is_decoded(model):
    memory = model.begin(language="de")
    model.add_audio(memory, sound(4, 20000))
    (heard,) = model.answer([Query(memory, ())])
    (full,) = model.answer([Query(memory, tuple(heard.tokens[:1]) * model.whisper.max_length)])
    assert (full.tokens, full.words, full.ended) == ((), (), False)
    assert full.until == heard.until == pytest.approx(memory.encoder.frames / 50)


def test_the_tail_is_decoded_with_silence_behind_it_and_taken_back(model):
    samples = sound(4, 20000)
    memory, other = model.begin(language="de"), model.begin(language="de")
    model.add_audio(memory, samples)
    (answer,) = model.answer([Query(memory, (), final=True)])
    assert_greedy(model, samples, [*ends_of(60), 75], (), answer)  # 62.5 frames of sound, 10 of silence, in fives
    assert all(word.end <= 1.25 for word in answer.words)
    assert answer.until == 1.25
    more = sound(5, 6000)
    model.add_audio(memory, more)
    model.add_audio(other, np.concatenate([samples, more]))
    after, never = (model.answer([Query(each, ())])[0] for each in (memory, other))
    shared = min(len(after.tokens), len(never.tokens))  # without an earlier decode, the limit of new tokens is another
    assert shared > 0
    assert after.tokens[:shared] == never.tokens[:shared]


def test_a_long_tail_is_encoded_in_blocks_no_longer_than_the_longest(whisper):
    spec = replace(SPEC, tail_pad=20, longest_block=16, right_context=10)
    model, samples = CausalModel(whisper, TorchCausalEngine(whisper), spec), sound(4, 19900)
    memory = model.begin(language="de")
    model.add_audio(memory, samples)
    (answer,) = model.answer([Query(memory, (), final=True)])
    assert answer.tokens
    assert_greedy(model, samples, [*ends_of(60), 68, 85], (), answer)


def test_a_tail_leaves_no_trace_in_blocks_that_are_encoded_again(model):
    answers = []
    for asked in (False, True):
        memory = model.begin(language="de")
        model.add_audio(memory, sound(4, 20000))
        if asked:
            model.answer([Query(memory, (), final=True)])
        memory.answer, memory.tokens, memory.ends = None, (), []
        answers += model.answer([Query(memory, (12,))])
    assert answers[0].tokens
    assert answers[0].tokens == answers[1].tokens
    np.testing.assert_allclose(answers[0].token_logprobs, answers[1].token_logprobs, rtol=0, atol=1e-5)


def test_segments_are_decoded_together_as_alone(model):
    memories: list[Any] = []
    for seed, (count, language) in enumerate([(9000, "de"), (28000, "en"), (3000, "fr"), (16000, "es"), (12000, None)]):
        memory = model.begin(language=language)
        model.add_audio(memory, sound(seed, count))
        memories.append(memory)
    queries = [Query(memory, (12, 30)[: row % 3], final=row % 2 == 1) for row, memory in enumerate(memories)]
    together = model.answer(queries)
    for memory in memories:
        memory.answer, memory.tokens, memory.decoded_frames, memory.ends = None, (), 0, []
    alone = [model.answer([query])[0] for query in queries]
    for one, other in zip(together, alone, strict=True):
        assert (one.tokens, one.ended, one.language) == (other.tokens, other.ended, other.language)
        assert [replace(word, probability=None) for word in one.words] == [
            replace(word, probability=None) for word in other.words
        ]
        np.testing.assert_allclose(one.token_logprobs, other.token_logprobs, atol=1e-4)
        np.testing.assert_allclose(one.no_speech_prob, other.no_speech_prob, atol=1e-5)
    assert [bool(one.tokens) for one in together] == [True, True, False, True, True]
    assert together[4].language in ("en", "de", "fr", "es", "it")


def test_so_many_tokens_are_decoded_where_that_is_asked(model, monkeypatch):
    plain = TextRules.__call__

    def ends(rules, logits, first, early):
        logits[:, rules.end] = 50.0  # of a model that hears nothing
        plain(rules, logits, first, early)

    monkeypatch.setattr(TextRules, "__call__", ends)
    memory = model.begin(language="de")
    model.add_audio(memory, sound(1, 12000))
    (none,) = model.answer([Query(memory, ())])
    assert (none.tokens, none.ended) == ((), True)
    for length in (3, 20, 30, 5):  # more than a usual decode gives, too
        memory.answer = None
        (forced,) = model.answer([Query(memory, (), length=length)])
        assert len(forced.tokens) == length


def test_nothing_new_is_not_decoded_again(model, monkeypatch):
    memory = model.begin(language="de")
    model.add_audio(memory, sound(1, 12000))
    first = model.answer([Query(memory, ())])
    monkeypatch.setattr(TorchCausalEngine, "feed", lambda *_: pytest.fail("decoded again"))
    model.add_audio(memory, sound(2, 100))
    assert model.answer([Query(memory, ())]) == first


def test_room_is_kept_for_the_silence_behind_the_last_word(model):
    memory = model.begin(language="de")
    assert model.room(memory) == pytest.approx(1.8)
    model.add_audio(memory, sound(1, 20000))
    assert model.room(memory) == pytest.approx(1.8 - 1.25)
    with pytest.raises(ValueError, match=r"room for 0\.55 s"):
        model.add_audio(memory, sound(1, 20000))
    assert model.forget(memory, 0.5, ()) is None


def test_what_it_was_not_trained_for_is_refused(whisper):
    engine = TorchCausalEngine(whisper)
    assert CausalModel(whisper, engine, SPEC, block=0.3).block == pytest.approx(0.3)
    for block in (2.0, 0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(OptionError, match=rf"blocks of 0\.1 to 1 s, not of {block:g} s"):
            CausalModel(whisper, engine, SPEC, block=block)
    model = CausalModel(whisper, engine, SPEC)
    assert model.prompt("one two") == ()
    assert model.begin(language="de", prompt=(1, 2)).prompt == ()
    with pytest.raises(OptionError, match="klingon"):
        model.begin(language="klingon")
    prompted = CausalModel(whisper, engine, CausalSpec(base="tiny", prompts=True))
    assert prompted.prompt("one two")
    assert prompted.begin(language="de", prompt=(1, 2)).prompt == (1, 2)
