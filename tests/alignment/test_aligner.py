"""Word times of a random model, and of painted attention with known answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from linnet.alignment.aligner import Aligner, DecodedWindow, word_times
from linnet.audio.types import SAMPLE_RATE
from linnet.decoding.decoder import Decoder
from linnet.decoding.options import DecodingOptions
from linnet.engines.torch import TorchEngine
from linnet.models.alignment_heads import AlignmentHeads
from linnet.models.vocabulary import build_vocabulary
from linnet.models.whisper import WhisperModel, load_whisper
from tests.support.tiny_whispers import POSITIONS, random_features, save_whisper, small_tokenizer


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> WhisperModel:
    folder = save_whisper(tmp_path_factory.mktemp("alignment"), seed=3)
    return load_whisper(folder, name="t", device="cpu", dtype=torch.float32)


@pytest.mark.parametrize("timestamps", [False, True])
def test_words_of_a_random_model_are_in_order_and_within_the_sound(model: WhisperModel, timestamps: bool) -> None:
    """Whatever the decoder looks at; alone as in a batch; the sound shorter than the padded window."""
    engine = TorchEngine(model)
    decoder = Decoder(engine, model.vocabulary, max_length=model.max_length)
    options = DecodingOptions(language="en", timestamps=timestamps, temperatures=(0.0,), max_new_tokens=20)
    encoded = engine.encode(random_features(3))
    decoded = decoder.decode(encoded, options)
    rng = np.random.default_rng(0)
    samples = [rng.standard_normal(round(seconds * SAMPLE_RATE)).astype(np.float32) for seconds in (2.0, 1.3, 0.02)]
    heads = AlignmentHeads(((0, 1), (1, 2)), "model")
    aligner = Aligner(engine, model.vocabulary, heads, max_length=model.max_length)
    found = aligner.word_times(encoded, decoded, options, samples=samples)
    for one, words, sound in zip(decoded, found, samples, strict=True):
        assert "".join(word.text for word in words).replace(" ", "") == one.text.replace(" ", "")
        times = [time for word in words for time in (word.start, word.end)]
        assert times == sorted(times)
        assert all(0.0 <= time <= len(sound) / SAMPLE_RATE + 1e-9 for time in times)
        for word in words:
            own = [one.token_logprobs[place] for place in word.indices]
            assert word.probability == pytest.approx(np.mean(np.exp(own)))
    assert all(word.interpolated for word in found[2])  # 20 ms hold no word
    alone = aligner.word_times(encoded.select([1]), decoded[1:2], options, samples=samples[1:2])
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
