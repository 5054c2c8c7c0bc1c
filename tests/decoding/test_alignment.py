"""Word times: the warping against a slow twin, words against Transformers' rules, and known answers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer
from transformers.models.whisper.tokenization_whisper import _combine_tokens_into_words

from linnet.audio.presence import speech_activity
from linnet.audio.types import SAMPLE_RATE
from linnet.decoding.alignment import (
    ATTENTION_WEIGHT,
    SHORTEST,
    TOUCH_COST,
    TRAIL,
    align_words,
    interpolate,
    smear,
    word_attention,
)
from linnet.decoding.decoder import Decoder
from linnet.decoding.options import DecodingOptions
from linnet.decoding.word_times import DecodedWindow, word_times
from linnet.decoding.words import split_words
from linnet.engines.torch import TorchEngine
from linnet.models.vocabulary import WhisperVocabulary, build_vocabulary
from linnet.models.whisper import WhisperModel, load_whisper
from linnet.text.words import bears_sound
from tiny_whispers import POSITIONS, random_features, save_whisper, small_tokenizer

Spans = list[tuple[int, int]]


def value(spans: Sequence[tuple[int, int]], mass: np.ndarray, score: np.ndarray, level: np.ndarray) -> float:
    """What a choice of spans gains, frame by frame, in float64."""
    total, owner = 0.0, [-1] * len(score)
    for word, (begin, end) in enumerate(spans):
        for frame in range(begin, end):
            owner[frame] = word
            total += ATTENTION_WEIGHT * mass[word, frame]
    total += sum(score[frame] if own >= 0 else -score[frame] for frame, own in enumerate(owner))
    for (_, end), (begin, _) in itertools.pairwise(spans):
        if end == begin:
            total -= TOUCH_COST + min(level[end - 1], level[end])
    return float(total)


def test_a_word_does_not_stretch_over_sound_that_is_not_its_own() -> None:
    """Two seconds of music after a word: a word is no longer than its attention can reach."""
    score, level = np.full(300, -1.0), np.zeros(300)
    score[20:50] = score[60:280] = 1.0
    looked = np.zeros((1, 150))
    looked[0, 11] = 1.0
    ((begin, end),) = align_words(smear(looked, 300), score, level) or []
    assert begin == 20
    assert end < 22 + 80 + 30


def every_choice(count: int, frames: int, at: int = 0) -> list[Spans]:
    """All spans of `count` words from frame `at` on."""
    if not count:
        return [[]]
    found: list[Spans] = []
    for begin in range(at, frames):
        for end in range(begin + SHORTEST, frames + 1):
            found += [[(begin, end), *rest] for rest in every_choice(count - 1, frames, end)]
    return found


@pytest.mark.parametrize("seed", range(25))
def test_warping_finds_the_best_of_all_choices(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count, frames = int(rng.integers(1, 4)), int(rng.integers(9, 16))
    mass = rng.dirichlet(np.full(frames, 0.3), count) * 0.05
    score, level = rng.uniform(-1, 1, frames), rng.uniform(0, 2, frames)
    got = align_words(mass, score, level)
    choices = every_choice(count, frames)
    assert got is not None
    assert got in choices
    assert value(got, mass, score, level) == pytest.approx(max(value(c, mass, score, level) for c in choices))


def test_words_that_do_not_fit_have_no_spans() -> None:
    level = np.zeros(8)
    assert align_words(np.zeros((3, 8)), level, level) is None
    assert align_words(np.zeros((1, 2)), np.zeros(2), np.zeros(2)) is None
    assert align_words(np.zeros((0, 8)), level, level) == []
    assert align_words(np.zeros((3, 9)), np.zeros(9), np.zeros(9)) == [(0, 3), (3, 6), (6, 9)]


def test_a_peak_within_each_sound_gives_the_sounds_edges() -> None:
    """Attention of one position somewhere in each word; silence before, between and after."""
    score = np.full(100, -1.0)
    score[10:30], score[40:60], score[60:90] = 1.0, 1.0, 1.0
    level = np.maximum(score, 0.0) * 5
    score[59:61] = level[59:61] = 0.2  # the dip where the second and third word touch
    looked = np.zeros((3, 50))
    looked[0, 9], looked[1, 21], looked[2, 36] = 1.0, 1.0, 1.0
    got = align_words(smear(looked, 100), score, level)
    assert got is not None
    assert got[0] == (10, 30)
    assert got[1][0] == 40
    assert abs(got[1][1] - 60) <= 1
    assert got[2][0] - got[1][1] <= 1
    assert got[2][1] == 90


def test_look_cuts_padding_and_takes_off_what_all_rows_look_at() -> None:
    rows = np.zeros((1, 6, 20))
    rows[..., 15:] = 0.1  # padding
    rows[..., 0] = 0.3  # a sink
    for word in range(6):
        rows[0, word, 2 * word + 1] = 0.2
    got = word_attention(rows, [[word] for word in range(6)], 15)
    assert got.shape == (6, 15)
    assert got.argmax(1).tolist() == [1, 3, 5, 7, 9, 11]
    assert np.allclose(got[:, 0], 0.0)
    assert np.allclose(got.sum(1), 0.4)
    two = word_attention(rows, [[0, 1], [2]], 15)  # too few rows to tell a sink from a word
    assert np.allclose(two.sum(1), 1.0)
    assert np.allclose(two[0, [1, 3]], 0.2)


@pytest.mark.parametrize(("frames", "lag"), [(30, 0), (30, 5), (31, 12), (9, 12), (30, -3), (5, -8)])
def test_spread_is_a_sum_over_places_each_earlier_by_the_lag(frames: int, lag: int) -> None:
    looked = np.random.default_rng(frames).dirichlet(np.ones((frames + max(lag, 0) + 1) // 2), 2)
    fading = [math.exp(-step / TRAIL) for step in range(round(8 * TRAIL))]
    expected = np.zeros((2, frames))
    for word, position, half in itertools.product(range(2), range(looked.shape[1]), (0, 1)):
        seen = 2 * position + half
        for step, share in enumerate(fading):
            at = max(seen - lag, 0) + step
            if seen - lag < frames and at < frames:
                expected[word, at] += looked[word, position] / 2 * share / sum(fading)
    assert np.allclose(smear(looked, frames, lag), expected)


def test_time_is_divided_by_characters() -> None:
    assert interpolate([2, 2, 4], 0.0, 4.0) == [(0.0, 1.0), (1.0, 2.0), (2.0, 4.0)]
    assert interpolate([0, 0], 1.0, 2.0) == [(1.0, 1.0), (1.0, 1.0)]
    assert interpolate([1, 4], 0.0, 3.4499999999999997)[-1][1] == 3.4499999999999997  # not one bit later


@pytest.mark.parametrize("noise", [0.0, 1e-4, 1e-2])
def test_presence_finds_the_edges_of_sound_in_any_background(noise: float) -> None:
    rng = np.random.default_rng(0)
    samples = (noise * rng.standard_normal(2 * SAMPLE_RATE)).astype(np.float32)
    time = np.arange(SAMPLE_RATE // 2) / SAMPLE_RATE
    samples[SAMPLE_RATE // 2 : SAMPLE_RATE] += (0.2 * np.sin(2 * np.pi * 300 * time)).astype(np.float32)
    found = speech_activity(samples)
    runs = [list(run) for loud, run in itertools.groupby(range(200), lambda frame: found.score[frame] > 0) if loud]
    heard = max(runs, key=len)  # a frame of noise may stand out too
    assert found.score.shape == found.level.shape == (200,)
    assert abs(heard[0] - 50) <= 2
    assert abs(heard[-1] - 99) <= 2
    assert (found.score[53:97] == 1.0).all()
    outside = np.concatenate([found.score[:45], found.score[105:]])
    assert (outside < 0).mean() > 0.8


def test_presence_of_nothing_and_of_digital_silence() -> None:
    assert speech_activity(np.zeros(0, np.float32)).score.shape == (0,)
    assert speech_activity(np.zeros(161, np.float32)).score.tolist() == pytest.approx([-2 / 3, -2 / 3])


def whisper_vocabulary(folder: Path) -> WhisperVocabulary:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return build_vocabulary(tokenizer, {"vocab_size": 51865}, {}, seconds_per_timestamp=0.02)


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("english", " And so, my fellow Americans: ask not (ever) what's next."),
        ("german", ' Größe, Äpfel und 42 Öfen, "schön" war\'s!'),
        ("japanese", "今日はとても寒いですね。"),
        ("chinese", "我们明天见，好吗？"),
        ("thai", "สวัสดีครับ"),
        ("english", " A smile \U0001f600 and 日本 too."),
    ],
)
def test_words_are_those_of_whisper(whisper_tokenizer: Path, language: str, text: str) -> None:
    vocabulary = whisper_vocabulary(whisper_tokenizer)
    tokens = vocabulary.tokenizer(text, add_special_tokens=False)["input_ids"]
    theirs, _, indices = _combine_tokens_into_words(vocabulary.tokenizer, tokens, language)
    ours = split_words(vocabulary, tokens)
    assert "".join(word.text for word in ours) == text
    if "日本" not in text and "Thai" not in language and language != "thai":
        assert [word.text for word in ours] == theirs
        assert [list(word.indices) for word in ours] == indices
    assert [place for word in ours for place in word.indices] == list(range(len(tokens)))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (" about 1,234.50 well-known e-mails", ["about", "1,234.50", "well-known", "e-mails"]),
        (' "Yes," (he said) - no...', ['"Yes,"', "(he", "said)", "- no..."]),
        (" 5 + 5 € ♪", ["5", "+", "5", "€", "♪"]),
        ("「はい」と", ["「はい」", "と"]),
        (" ...", ["..."]),
    ],
)
def test_words_are_what_a_reader_calls_so(whisper_tokenizer: Path, text: str, words: list[str]) -> None:
    vocabulary = whisper_vocabulary(whisper_tokenizer)
    tokens = vocabulary.tokenizer(text, add_special_tokens=False)["input_ids"]
    found = split_words(vocabulary, tokens)
    assert [word.text.strip() for word in found] == words
    assert "".join(word.text for word in found) == text


def test_timestamps_end_words_and_are_none() -> None:
    tokenizer = small_tokenizer()
    vocabulary = build_vocabulary(
        tokenizer, {"vocab_size": len(tokenizer)}, {"is_multilingual": True}, seconds_per_timestamp=0.02
    )
    one, two = (tokenizer.convert_tokens_to_ids(f"Ġ{word}") for word in ("one", "two"))
    half = tokenizer.convert_tokens_to_ids("t")
    begin = vocabulary.timestamp_begin
    found = split_words(vocabulary, [begin, one, begin + 20, begin + 30, half, two, begin + 60])
    assert [(word.text, word.indices) for word in found] == [(" one", (1,)), ("t", (4,)), (" two", (5,))]
    broken = tokenizer.convert_tokens_to_ids("Ã")  # the first byte of two
    assert [word.text for word in split_words(vocabulary, [one, broken])] == [" one\ufffd"]


def test_what_bears_sound() -> None:
    assert [bears_sound(text) for text in (" a", "7", "語", ",", " -", "♪", "")] == [True] * 3 + [False] * 4


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> WhisperModel:
    folder = save_whisper(tmp_path_factory.mktemp("alignment"), seed=3)
    return load_whisper(folder, name="t", device="cpu", dtype=torch.float32)


@pytest.mark.parametrize("timestamps", [False, True])
def test_words_of_a_random_model_are_in_order_and_within_the_sound(model: WhisperModel, timestamps: bool) -> None:
    """Whatever the decoder looks at; alone as in a batch; the sound shorter than the padded window."""
    engine = TorchEngine(model)
    decoder = Decoder(engine, model.vocabulary, max_length=model.max_length)
    options = DecodingOptions(
        language="en", timestamps=timestamps, temperatures=(0.0,), max_new_tokens=20, word_timestamps=True
    )
    encoded = engine.encode(random_features(3))
    decoded = decoder.decode(encoded, options)
    rng = np.random.default_rng(0)
    samples = [rng.standard_normal(round(seconds * SAMPLE_RATE)).astype(np.float32) for seconds in (2.0, 1.3, 0.02)]
    heads = [(0, 1), (1, 2)]
    found = decoder.word_times(encoded, decoded, options, samples=samples, heads=heads)
    for one, words, sound in zip(decoded, found, samples, strict=True):
        assert "".join(word.text for word in words).replace(" ", "") == one.text.replace(" ", "")
        times = [time for word in words for time in (word.start, word.end)]
        assert times == sorted(times)
        assert all(0.0 <= time <= len(sound) / SAMPLE_RATE + 1e-9 for time in times)
        for word in words:
            own = [one.token_logprobs[place] for place in word.indices]
            assert word.probability == pytest.approx(np.mean(np.exp(own)))
    assert all(word.interpolated for word in found[2])  # 20 ms hold no word
    alone = decoder.word_times(encoded.select([1]), decoded[1:2], options, samples=samples[1:2], heads=heads)
    assert alone[0] == found[1]


class Painted:
    """An engine whose attention is given."""

    name = "painted"

    def __init__(self, attention: np.ndarray) -> None:
        self._attention = torch.from_numpy(attention)

    def align(self, encoded: object, tokens: torch.Tensor, heads: Sequence[tuple[int, int]]) -> torch.Tensor:
        return self._attention[None, None, : tokens.shape[1]]


class Windows:
    batch = 1

    def select(self, rows: Sequence[int]) -> Windows:
        assert list(rows) == [0]
        return self


@pytest.mark.parametrize("lag", [0.0, 0.12])
def test_painted_attention_gives_known_times_and_a_word_that_looks_nowhere_is_marked(lag: float) -> None:
    tokenizer = small_tokenizer()
    vocabulary = build_vocabulary(
        tokenizer, {"vocab_size": len(tokenizer)}, {"is_multilingual": True}, seconds_per_timestamp=0.02
    )
    tokens = [tokenizer.convert_tokens_to_ids(f"Ġ{word}") for word in ("one", "two", "three")]
    samples = np.zeros(2 * SAMPLE_RATE, np.float32)
    rng = np.random.default_rng(0)
    for begin, end in ((0.2, 0.5), (0.7, 1.0), (1.2, 1.6)):
        part = slice(round(begin * SAMPLE_RATE), round(end * SAMPLE_RATE))
        samples[part] = 0.1 * rng.standard_normal(part.stop - part.start)
    late = round(lag * SAMPLE_RATE / 320)
    attention = np.full((4, POSITIONS), 1e-9, np.float32)
    attention[1, 15 + late], attention[2, :], attention[3, 70 + late] = 1.0, 1.0 / POSITIONS, 1.0
    spoken = DecodedWindow([vocabulary.start, vocabulary.no_timestamps], tokens, (), samples)
    (words,) = word_times(Painted(attention), Windows(), [spoken], vocabulary, [(0, 0)], lag)  # type: ignore[arg-type]
    assert [word.text for word in words] == [" one", " two", " three"]
    assert [word.interpolated for word in words] == [False, True, False]
    assert [word.probability for word in words] == [None] * 3
    got = [(word.start, word.end) for word in words]
    assert np.allclose(got, [(0.2, 0.5), (0.7, 1.0), (1.2, 1.6)], atol=0.02)
