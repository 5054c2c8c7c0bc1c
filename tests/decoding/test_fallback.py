"""When a window is decoded again: on an engine of a few lines that returns prescribed logits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from torch import Tensor

from linnet.decoding.decoder import Decoder
from linnet.decoding.fallback import compression_ratio, needs_fallback, shortfall
from linnet.decoding.greedy import Sampler
from linnet.decoding.options import DecodingOptions
from linnet.decoding.result import DecodingResult
from linnet.errors import ModelError
from linnet.models.vocabulary import WhisperVocabulary

LETTERS = "abcdefgh"
END, START, NO_SPEECH, NO_TIMESTAMPS, SIZE = 8, 9, 10, 11, 15
Script = Callable[[list[int]], dict[int, float]]  # tokens so far -> probabilities of the next ones


class Letters:
    """A tokenizer of eight letters."""

    all_special_ids = (END, START, NO_SPEECH, NO_TIMESTAMPS)

    def decode(self, tokens: Sequence[int], **_: Any) -> str:
        return "".join(LETTERS[token] for token in tokens if token < END)


class Windows:
    def __init__(self, scripts: Sequence[Script]) -> None:
        self.scripts = list(scripts)

    @property
    def batch(self) -> int:
        return len(self.scripts)

    def select(self, rows: Sequence[int]) -> Windows:
        return Windows([self.scripts[row] for row in rows])


class ScriptedState:
    def __init__(self, windows: Windows) -> None:
        self.windows = windows
        self.rows: list[list[int]] = [[] for _ in windows.scripts]

    @property
    def length(self) -> int:
        return len(self.rows[0])

    def reorder(self, rows: Sequence[int]) -> None:
        self.rows = [list(self.rows[row]) for row in rows]

    def keep(self, rows: Sequence[int]) -> bool:
        self.windows = self.windows.select(rows)
        self.rows = [self.rows[row] for row in rows]
        return True


class ScriptedEngine:
    """Says what each window's script says; counts the windows of each start."""

    name = "scripted"

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.rows_computed: list[int] = []

    def encode(self, features: Tensor) -> Windows:
        raise AssertionError("windows are prescribed")

    def start(self, encoded: Any, *, max_length: int) -> ScriptedState:
        self.starts.append(encoded.batch)
        return ScriptedState(encoded)

    def step(self, state: Any, tokens: Tensor) -> Tensor:
        self.rows_computed.append(len(state.rows))
        beams = len(state.rows) // state.windows.batch
        logits = torch.full((len(state.rows), SIZE), float("-inf"))
        for index, (row, new) in enumerate(zip(state.rows, tokens.tolist(), strict=True)):
            row.extend(new)
            for token, probability in state.windows.scripts[index // beams](list(row)).items():
                logits[index, token] = torch.tensor(probability).log()
        return logits


VOCABULARY = WhisperVocabulary(
    tokenizer=Letters(),
    size=SIZE,
    start=START,
    end=END,
    no_timestamps=NO_TIMESTAMPS,
    no_speech=NO_SPEECH,
    start_of_previous=None,
    languages={},
    tasks={},
    suppress=(),
    begin_suppress=(),
    max_initial_timestamp_index=None,
    seconds_per_timestamp=0.02,
)
PREFIX = 2  # <|startoftranscript|><|notimestamps|>


def says(text: str, *, sure: float = 0.9, silence: float = 0.0) -> Script:
    """A window that says `text`, each token with this probability (the letter h has the rest), then ends."""

    def script(tokens: list[int]) -> dict[int, float]:
        if len(tokens) < PREFIX:
            return {NO_SPEECH: silence, NO_TIMESTAMPS: 1.0 - silence}
        place = len(tokens) - PREFIX
        token = LETTERS.index(text[place]) if place < len(text) else END
        return {token: sure, 7: 1.0 - sure} if token != 7 else {7: 1.0}

    return script


def decode(*scripts: Script, **options: Any) -> tuple[list[DecodingResult], list[int]]:
    engine = ScriptedEngine()
    decoder = Decoder(engine, VOCABULARY, max_length=400)
    return decoder.decode(Windows(scripts), DecodingOptions(timestamps=False, **options)), engine.starts  # type: ignore[arg-type]


def test_a_sure_window_is_decoded_once() -> None:
    (result,), starts = decode(says("abcab"))
    assert (result.text, result.temperature, starts) == ("abcab", 0.0, [1])
    assert result.avg_logprob == pytest.approx(torch.tensor(0.9).log().item())
    assert (result.tokens, result.language) == ((0, 1, 2, 0, 1), "en")


def test_only_windows_that_fail_are_decoded_again() -> None:
    results, starts = decode(says("abc"), says("ab" * 60, sure=0.95), says("cab"), temperatures=(0.0, 0.4, 0.8))
    assert starts[:2] == [3, 1]
    assert [r.temperature for r in results][::2] == [0.0, 0.0]
    assert results[1].temperature > 0.0


def test_a_loop_of_words_falls_back_and_of_equal_results_the_first_stands() -> None:
    (result,), starts = decode(says("ab" * 60, sure=1.0), temperatures=(0.0, 0.5))
    assert starts == [1, 1]
    assert (result.temperature, result.text) == (0.0, "ab" * 60)
    assert result.compression_ratio > 2.4


def test_where_all_temperatures_fail_the_result_nearest_to_the_thresholds_stands() -> None:
    """A sentence said four times is better than what sampling makes of it; a loop without end is not."""
    values = {0.0: (-0.17, 2.48), 0.5: (-1.4, 2.5), 1.0: (-2.23, 1.2)}
    tried = [DecodingResult((), "", None, lp, 0.0, ratio, t) for t, (lp, ratio) in values.items()]
    assert all(needs_fallback(one, DecodingOptions()) for one in tried)
    assert [shortfall(one, DecodingOptions()) for one in tried] == pytest.approx([0.08, 0.5, 1.23])
    loop = replace(tried[0], compression_ratio=9.0)
    assert min([loop, *tried[1:]], key=lambda one: shortfall(one, DecodingOptions())).temperature == 0.5
    assert shortfall(tried[0], DecodingOptions(compression_ratio_threshold=None)) == 0.0


def test_windows_that_have_ended_leave_the_batch() -> None:
    texts = ["abcdefabcdef", "a", "ab", "abcdef", "abc"]
    engine = ScriptedEngine()
    found = Decoder(engine, VOCABULARY, max_length=400).decode(  # type: ignore[arg-type]
        Windows([says(text) for text in texts]),  # type: ignore[arg-type]
        DecodingOptions(timestamps=False),
    )
    assert [one.text for one in found] == texts
    expected = torch.tensor(0.9).log().item()
    assert [one.avg_logprob for one in found] == pytest.approx([expected] * 5)
    assert (engine.rows_computed[0], engine.rows_computed[-1]) == (5, 1)


def test_no_threshold_means_no_fallback() -> None:
    loop = says("ab" * 60)
    assert decode(loop, compression_ratio_threshold=None)[1] == [1]
    low_confidence = says("abc", sure=0.51)
    assert decode(low_confidence, log_probability_threshold=-0.5)[1] == [1] * 6
    assert decode(low_confidence, log_probability_threshold=None)[1] == [1]


def test_silence_is_not_decoded_again() -> None:
    low_confidence = {"sure": 0.51, "silence": 0.7}
    (result,), starts = decode(says("abc", **low_confidence), log_probability_threshold=-0.5)
    assert starts == [1]
    assert result.no_speech_prob == pytest.approx(0.7)
    assert decode(says("abc", **low_confidence), log_probability_threshold=-0.5, no_speech_threshold=None)[1] == [1] * 6
    assert decode(says("abc", **low_confidence), log_probability_threshold=-0.5, no_speech_threshold=0.8)[1] == [1] * 6
    # Speech that the model is sure of is no silence, so its loops still fall back.
    assert decode(says("ab" * 60, silence=0.7))[1] != [1]


def test_sampling_depends_on_the_seed_and_not_on_the_batch() -> None:
    scripts = [says("abcde" * 6, sure=0.5), says("badce" * 6, sure=0.6), says("edcba" * 6, sure=0.4)]
    hot = {"temperatures": (0.9,), "compression_ratio_threshold": None, "log_probability_threshold": None}
    together, _ = decode(*scripts, **hot)
    assert together == decode(*scripts, **hot)[0]
    assert together == [decode(script, **hot)[0][0] for script in scripts]
    assert together[::-1] == decode(*scripts[::-1], **hot)[0]
    assert together != decode(*scripts, seed=1, **hot)[0]


@pytest.mark.parametrize("like", [np.asarray, torch.as_tensor])
@pytest.mark.parametrize("temperature", [1.0, 0.4])
def test_samples_follow_the_probabilities(like: Callable[[Any], Any], temperature: float) -> None:
    probabilities = np.array([0.5, 0.2, 0.0, 0.3])
    expected = probabilities ** (1 / temperature)
    with np.errstate(divide="ignore"):
        logits = like(np.log(probabilities, dtype=np.float32)[None])
    sampler = Sampler(temperature, seed=3)
    counts = np.bincount([int(sampler(logits)[0]) for _ in range(4000)], minlength=4) / 4000
    np.testing.assert_allclose(counts, expected / expected.sum(), atol=0.03)
    assert counts[2] == 0


@given(seed=st.integers(0, 1000), row=arrays(np.float32, 7, elements=st.floats(-20, 20, width=32)))
def test_numpy_and_torch_draw_alike(seed: int, row: NDArray[np.float32]) -> None:
    drawn = [Sampler(0.7, seed)(logits).tolist() for logits in (row[None], torch.from_numpy(row)[None])]
    assert drawn[0] == drawn[1]


def test_samples_never_take_what_is_forbidden() -> None:
    logits = torch.full((2, 6), float("-inf"))
    logits[0, 5], logits[1, 0] = 0.0, 0.0
    sampler = Sampler(1.0, seed=0)
    assert all(sampler(logits).tolist() == [5, 0] for _ in range(200))


def test_beams_find_what_greedy_misses() -> None:
    def script(tokens: list[int]) -> dict[int, float]:
        if len(tokens) < PREFIX:
            return {NO_TIMESTAMPS: 1.0}
        said = tuple(tokens[PREFIX:])
        table: dict[tuple[int, ...], dict[int, float]] = {
            (): {0: 0.6, 1: 0.4},
            (0,): {2: 0.4, 3: 0.35, 4: 0.25},
            (1,): {5: 0.95, 2: 0.05},
        }
        return table.get(said, {END: 1.0})

    assert decode(script)[0][0].text == "ac"
    (result,), starts = decode(script, beam_size=3)
    assert (result.text, starts) == ("bf", [1])
    assert result.avg_logprob == pytest.approx(torch.tensor(0.4 * 0.95).log().item() / 3)


def test_numbers_without_meaning_are_an_error() -> None:
    with pytest.raises(ModelError, match="NaN or infinity on scripted: try compute type float32"):
        decode(lambda tokens: {0: float("nan")})


@pytest.mark.parametrize(
    ("text", "ratio"), [("", 0.0), ("  ", 0.0), ("a", 1 / 9), (" a ", 1 / 9), ("ab" * 100, 200 / 14), ("é", 2 / 10)]
)
def test_compression_ratio(text: str, ratio: float) -> None:
    assert compression_ratio(text) == pytest.approx(ratio, rel=0.1)


@pytest.mark.parametrize("ratio", [2.4, 2.41])
@pytest.mark.parametrize("average", [-1.0, -1.01])
@pytest.mark.parametrize("silence", [0.6, 0.61])
def test_thresholds_are_not_reached_by_equality(ratio: float, average: float, silence: float) -> None:
    decoded = DecodingResult((), "", None, average, silence, ratio, 0.0)
    improbable = average < -1.0
    expected = (ratio > 2.4 or improbable) and not (silence > 0.6 and improbable)
    assert needs_fallback(decoded, DecodingOptions()) is expected
