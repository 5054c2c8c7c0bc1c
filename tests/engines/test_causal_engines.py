"""Block by block, a causal engine gives what the masked encoder and a plain decoder give for the whole segment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from linnet.engines.causal import CausalEngine, Columns
from linnet.models.causal import block_ends, encode_causal
from linnet.models.whisper import WhisperModel, load_whisper
from tests.support.tiny_whispers import POSITIONS, random_features, save_whisper

HEADS = [(0, 1), (1, 3)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> WhisperModel:
    return load_whisper(save_whisper(tmp_path_factory.mktemp("causal"), seed=3), name="tiny")


def _torch(model: WhisperModel) -> CausalEngine:
    from linnet.engines.torch.causal import TorchCausalEngine

    return TorchCausalEngine(model)


def _openvino(model: WhisperModel) -> CausalEngine:
    from linnet.engines.openvino.causal import open_causal
    from linnet.engines.openvino.formats import Precision

    return open_causal(model.module, Precision("f32", "f32"), label="f32", threads=1)


def _bf16(model: WhisperModel) -> CausalEngine:
    from linnet.engines.openvino.causal import open_causal
    from linnet.engines.openvino.formats import Precision
    from linnet.engines.openvino.runtime import has_bf16

    if not has_bf16():
        pytest.skip("this CPU has no bfloat16")
    return open_causal(model.module, Precision("f16", "bf16"), label="bf16", threads=1)


MAKERS: dict[str, tuple[Callable[[WhisperModel], CausalEngine], float]] = {
    "torch": (_torch, 1e-5),
    "openvino": (_openvino, 1e-4),
    "openvino in bf16": (_bf16, 0.1),
}


@pytest.fixture(scope="module", params=MAKERS)
def made(request: pytest.FixtureRequest, model: WhisperModel) -> tuple[CausalEngine, float]:
    maker, tolerance = MAKERS[request.param]
    return maker(model), tolerance


def blocks_of(features: np.ndarray, blocks: Sequence[int]) -> list[np.ndarray]:
    """The mel frames that each block takes; the last one ends the window where they end there."""
    found, frame = [], 0
    for block in blocks:
        start = 2 * frame + 1 if frame else 0
        frame += block
        found.append(features[start : 2 * frame + 1])
    return found


class Oracle:
    """The masked encoder over a whole window, and Transformers' decoder over what it gives, in float64."""

    def __init__(self, model: WhisperModel) -> None:
        import copy

        self.module = copy.deepcopy(model.module).double()
        self.module.config._attn_implementation = "eager"

    @torch.no_grad()
    def hidden(self, features: np.ndarray, blocks: Sequence[int]) -> torch.Tensor:
        ends = torch.as_tensor(block_ends(POSITIONS, [*blocks, POSITIONS]))
        whole = encode_causal(self.module.model.encoder, torch.as_tensor(features)[None].double(), ends)
        return whole[:, : sum(blocks)]

    @torch.no_grad()
    def logits(self, hidden: torch.Tensor, tokens: Sequence[int]) -> np.ndarray:
        made = self.module.model.decoder(torch.tensor([list(tokens)]), encoder_hidden_states=hidden)
        return self.module.proj_out(made.last_hidden_state)[0].numpy()

    @torch.no_grad()
    def looked(self, hidden: torch.Tensor, tokens: Sequence[int]) -> np.ndarray:
        made = self.module.model.decoder(
            torch.tensor([list(tokens)]), encoder_hidden_states=hidden, output_attentions=True
        )
        return torch.stack([made.cross_attentions[layer][0, head] for layer, head in HEADS]).numpy()


@pytest.fixture(scope="module")
def oracle(model: WhisperModel) -> Oracle:
    return Oracle(model)


def close(got: Any, want: np.ndarray, tolerance: float) -> None:
    """Within a tolerance of the largest number."""
    assert np.abs(np.asarray(got) - want).max() <= tolerance * max(1.0, np.abs(want).max())


@st.composite
def schedules(draw: st.DrawFn) -> list[int]:
    """Blocks that fit in the window, a first one of any length, at times up to its very end."""
    blocks: list[int] = []
    for _ in range(draw(st.integers(1, 8))):
        left = POSITIONS - sum(blocks)
        if left:
            blocks.append(draw(st.integers(1, min(left, 40))))
    if draw(st.booleans()) and sum(blocks) < POSITIONS:
        blocks.append(POSITIONS - sum(blocks))
    return blocks


@settings(deadline=None, max_examples=25)
@given(blocks=schedules(), seed=st.integers(0, 99))
def test_blocks_in_turn_give_what_the_masked_encoder_gives(made, oracle, blocks, seed):
    engine, tolerance = made
    (features,) = random_features(1, seed=seed).numpy()
    memory = engine.begin()
    for mel in blocks_of(features, blocks):
        engine.encode(memory, mel)
    assert memory.frames == sum(blocks)
    hidden, tokens = oracle.hidden(features, blocks), [3, 9, 27, 40, 12]
    state = engine.start([memory])
    close(engine.feed(state, [tokens], [range(5)]), oracle.logits(hidden, tokens), tolerance)
    close(engine.look(state, 0, range(5), HEADS), oracle.looked(hidden, tokens), tolerance)


def test_sessions_in_turn_and_rows_of_any_length_do_not_meet(made, oracle):
    engine, tolerance = made
    random = np.random.default_rng(0)
    features = random_features(4, seed=5).numpy()
    plans = [[30, 15, 15, 10], [7, 40], [60], [20, 5, 5, 5, 5, 5]]
    memories = [engine.begin() for _ in plans]
    waiting = [list(zip(blocks_of(own, plan), plan, strict=True)) for own, plan in zip(features, plans, strict=True)]
    turns = random.permutation([row for row, plan in enumerate(plans) for _ in plan])
    done: list[list[int]] = [[] for _ in plans]
    for row in turns:
        mel, block = waiting[row].pop(0)
        engine.encode(memories[row], mel)
        done[row].append(block)
    tokens = [random.integers(0, 60, 14).tolist() for _ in plans]
    hidden = [oracle.hidden(own, plan) for own, plan in zip(features, done, strict=True)]
    want = [oracle.logits(each, row) for each, row in zip(hidden, tokens, strict=True)]

    state = engine.start(memories)
    counts = [3, 1, 6, 4]
    got = engine.feed(state, [row[:n] for row, n in zip(tokens, counts, strict=True)], [[2], [0], [1, 5], []])
    close(got, np.stack([want[0][2], want[1][0], want[2][1], want[2][5]]), tolerance)
    wrong = [row[n:-1] + [59] * 2 for row, n in zip(tokens, [3, 1, 13, 4], strict=True)]  # a draft, rejected below
    engine.feed(state, wrong, [[]] * 3 + [[0]])
    state.columns.cut([5, 1, 6, 9])  # of the draft rows 0 and 3 keep two and five tokens, the others none
    kept = [5, 1, 6, 9]
    assert state.columns.lengths == kept
    got = engine.feed(state, [row[n : n + 2] for row, n in zip(tokens, kept, strict=True)], [[0, 1]] * 4)
    close(got, np.concatenate([row[n : n + 2] for row, n in zip(want, kept, strict=True)]), tolerance)
    got = engine.feed(state, [[], tokens[1][3:4], [], tokens[3][11:12]], [[], [0], [], [0]])
    close(got, np.stack([want[1][3], want[3][11]]), tolerance)
    close(engine.look(state, 3, [2, 8, 11], HEADS), oracle.looked(hidden[3], tokens[3])[:, [2, 8, 11]], tolerance)


def test_rewound_a_memory_goes_on_as_if_the_tail_had_not_been(made, oracle):
    engine, tolerance = made
    features, silence = random_features(2, seed=8).numpy()
    memory = engine.begin()
    first, *rest = blocks_of(features, [30, 15, 20])
    engine.encode(memory, first)
    mark = memory.mark()
    engine.encode(memory, silence[:80])
    memory.rewind(mark)
    for mel in rest:
        engine.encode(memory, mel)
    state = engine.start([memory])
    want = oracle.logits(oracle.hidden(features, [30, 15, 20]), [1, 2, 3])
    close(engine.feed(state, [[1, 2, 3]], [[0, 1, 2]]), want, tolerance)


def test_rewound_a_memory_is_what_it_was_to_the_bit(made, monkeypatch):
    engine, _ = made
    monkeypatch.setattr("linnet.engines.openvino.causal.STEP", 20)  # then the tail asks for more room
    features, silence = random_features(2, seed=8).numpy()
    first, second, third = blocks_of(features, [30, 15, 20])
    logits = []
    for tail in (False, True):
        memory = engine.begin()
        engine.encode(memory, first)
        begin = memory.mark()
        engine.encode(memory, second)
        if tail:
            mark = memory.mark(30)
            memory.rewind(begin)
            engine.encode(memory, silence[:130])
            memory.rewind(mark)
        engine.encode(memory, third)
        logits.append(np.asarray(engine.feed(engine.start([memory]), [[1, 2, 3]], [[0, 1, 2]])))
    np.testing.assert_array_equal(*logits)


def test_threads_do_not_meet(made):
    engine, tolerance = made
    features = random_features(6, seed=9).numpy()

    def run(own: np.ndarray) -> np.ndarray:
        memory = engine.begin()
        for mel in blocks_of(own, [20, 8, 8, 8, 8, 8, 8, 8]):
            engine.encode(memory, mel)
        state = engine.start([memory])
        return np.stack([np.asarray(engine.feed(state, [[token]], [[0]]))[0] for token in range(8)])

    alone = [run(own) for own in features]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(run, features))
    for one, other in zip(alone, together, strict=True):
        close(other, one, tolerance)


def test_what_does_not_fit_is_refused_and_changes_nothing(made):
    engine, _ = made
    memory = engine.begin()
    with pytest.raises(ValueError, match="mel frames"):
        engine.encode(memory, np.zeros((0, 16), np.float32))
    with pytest.raises(ValueError, match="mel frames"):
        engine.encode(memory, np.zeros((9, 17), np.float32))
    with pytest.raises(ValueError, match="a block of 0 frames"):
        engine.encode(memory, np.zeros((1, 16), np.float32))
    engine.encode(memory, np.zeros((41, 16), np.float32))
    with pytest.raises(ValueError, match="a block of 81 frames does not fit after 20 of 100"):
        engine.encode(memory, np.zeros((162, 16), np.float32))
    assert memory.frames == 20


@settings(deadline=None)
@given(st.data())
def test_columns_against_lists(data):
    rows = data.draw(st.integers(1, 4))
    columns = Columns(rows)
    held: list[list[int]] = [[] for _ in range(rows)]
    for _ in range(data.draw(st.integers(1, 6))):
        counts = data.draw(st.lists(st.integers(0, 5), min_size=rows, max_size=rows).filter(any))
        before = columns.count
        positions, hidden = columns.add(counts)
        for row, count in enumerate(counts):
            for place in range(count):
                assert positions[row, place] == len(held[row])
                held[row].append(before + place)
                seen = set(held[row])
                if hidden is not None:
                    assert set(np.flatnonzero(~hidden[row, place])) == seen
                else:
                    assert seen == set(range(before + max(counts)))
        if data.draw(st.booleans()):
            lengths = [data.draw(st.integers(0, len(own))) for own in held]
            columns.cut(lengths)
            held = [own[:length] for own, length in zip(held, lengths, strict=True)]
            assert columns.count == max((own[-1] + 1 for own in held if own), default=0)
        assert [columns.of(row).tolist() for row in range(rows)] == held
        assert columns.lengths == [len(own) for own in held]
