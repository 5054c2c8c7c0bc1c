"""Token for token what Transformers' `generate` gives, on random Whisper models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, WhisperForConditionalGeneration

from linnet.decoding.decoder import Decoder
from linnet.decoding.options import DecodingOptions
from linnet.decoding.prefix import build_prefix
from linnet.engines.torch import TorchEngine
from linnet.models.whisper import WhisperModel, load_whisper
from tests.support.tiny_whispers import generate, random_features, save_whisper, small_tokenizer

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # of `generate`, about its own settings
PLAIN: dict[str, Any] = {
    "temperatures": (0.0,),
    "compression_ratio_threshold": None,
    "log_probability_threshold": None,
    "no_speech_threshold": None,
}
SEEDS = range(4)


class Pair:
    """The same folder loaded by Linnet and by Transformers."""

    def __init__(self, folder: Path) -> None:
        self.model: WhisperModel = load_whisper(folder, name=folder.name, device="cpu", dtype=torch.float32)
        self.theirs = WhisperForConditionalGeneration.from_pretrained(folder).eval()
        self.engine = TorchEngine(self.model)
        self.decoder = Decoder(self.engine, self.model.vocabulary, self.model.max_length)

    def check(
        self,
        features: torch.Tensor,
        *,
        language: str | None = "de",
        prompt: tuple[int, ...] = (),
        theirs: dict[str, Any] | None = None,
        **changes: Any,
    ) -> list[tuple[int, ...]]:
        """Decode on both sides, compare and return the tokens."""
        options = DecodingOptions(language=language, **{**PLAIN, **changes})
        batch = len(features)
        got = self.decoder.decode(self.engine.encode(features), options, prompts=[prompt] * batch)
        vocabulary = self.model.vocabulary
        prefix = [
            build_prefix(vocabulary, options, language=d.language, prompt=prompt, max_length=self.model.max_length)[0]
            for d in got
        ]
        settings = dict(theirs or {})
        if vocabulary.languages:
            settings |= {"language": language, "task": options.task}
        if prompt:
            settings["prompt_ids"] = torch.tensor(prefix[0][: len(prompt) + 1])
        if options.max_new_tokens:
            settings["max_new_tokens"] = options.max_new_tokens
        want = generate(
            self.theirs,
            features,
            prefix=prefix,
            return_timestamps=options.timestamps,
            num_beams=options.beam_size,
            **settings,
        )
        assert [d.tokens for d in got] == want
        return want


@pytest.fixture(scope="module", params=SEEDS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return Pair(save_whisper(tmp_path_factory.mktemp("small"), seed=request.param))


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return Pair(save_whisper(tmp_path_factory.mktemp("first"), seed=2))


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("beams", [1, 5])
@pytest.mark.parametrize("timestamps", [False, True])
def test_the_tokens_of_generate(pair: Pair, batch: int, beams: int, timestamps: bool) -> None:
    rows = pair.check(random_features(batch, seed=batch), beam_size=beams, timestamps=timestamps)
    assert len({token for row in rows for token in row}) > 2 or all(len(row) < 4 for row in rows)


def test_the_models_are_worth_comparing(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Random models must end some sequences and not others, and say different things of different windows."""
    lengths: list[int] = []
    texts: set[tuple[int, ...]] = set()
    for seed in SEEDS:
        pair = Pair(save_whisper(tmp_path_factory.mktemp("worth"), seed=seed))
        decoded = pair.decoder.decode(
            pair.engine.encode(random_features(4, seed=4)), DecodingOptions(language="de", **PLAIN)
        )
        lengths += [len(d.tokens) for d in decoded]
        texts |= {d.tokens for d in decoded}
    assert min(lengths) < 30
    assert max(lengths) == 61
    assert len(texts) > 10


@pytest.mark.parametrize("beams", [1, 5])
def test_with_a_prompt(first: Pair, beams: int) -> None:
    prompt = first.model.vocabulary.prompt("one two three")
    assert prompt
    first.check(random_features(4), prompt=prompt, beam_size=beams)


def test_a_long_prompt_keeps_its_end(first: Pair) -> None:
    prompt = first.model.vocabulary.prompt("seven eight nine zero " * 20)
    features = random_features(1)
    options = DecodingOptions(language="en", **PLAIN)
    encoded = first.engine.encode(features)
    long = first.decoder.decode(encoded, options, prompts=[prompt])
    assert long == first.decoder.decode(encoded, options, prompts=[prompt[-31:]])
    assert long == first.decoder.decode(
        encoded, DecodingOptions(language="en", prompt="seven eight nine zero " * 20, **PLAIN)
    )
    first.check(features, language="en", prompt=prompt[-31:])


@pytest.mark.parametrize("beams", [1, 5])
@pytest.mark.parametrize(
    ("language", "task"), [("german", "transcribe"), ("it", "translate"), ("<|es|>", "transcribe")]
)
def test_language_and_task(first: Pair, language: str, task: str, beams: int) -> None:
    first.check(random_features(2), language=language, task=task, beam_size=beams)


def test_language_detection(pair: Pair) -> None:
    features = random_features(4, seed=9)
    heard = pair.decoder.detect_language(pair.engine.encode(features))
    best = [max(row, key=row.__getitem__) for row in heard]
    ids = pair.theirs.detect_language(features.transpose(1, 2)).tolist()
    assert [pair.model.vocabulary.languages[code] for code in best] == ids
    assert all(abs(sum(row.values()) - 1.0) < 1e-9 and set(row) == {"en", "de", "fr", "es", "it"} for row in heard)
    pair.check(features, language=None)


@pytest.mark.parametrize("beams", [1, 5])
def test_suppression(first: Pair, beams: int) -> None:
    features = random_features(3)
    usual = first.check(features, beam_size=beams, timestamps=False)
    common = tuple(sorted({row[1] for row in usual if len(row) > 1}))
    opening = tuple(sorted({row[0] for row in usual}))
    lists = {"suppress_tokens": common, "begin_suppress_tokens": opening}
    changed = first.check(
        features,
        beam_size=beams,
        timestamps=False,
        theirs={name: list(tokens) for name, tokens in lists.items()},
        **lists,
    )
    assert not any(row[0] in opening or set(row) & set(common) for row in changed)


@pytest.mark.parametrize("length_penalty", [0.0, 0.5, 1.0, 2.0, -1.0])
def test_length_penalty(pair: Pair, length_penalty: float) -> None:
    pair.check(
        random_features(3, seed=5),
        beam_size=4,
        length_penalty=length_penalty,
        theirs={"length_penalty": length_penalty},
    )


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("count", [1, 2, 9])
def test_the_number_of_new_tokens(first: Pair, beams: int, count: int) -> None:
    rows = first.check(random_features(2), beam_size=beams, max_new_tokens=count)
    assert max(map(len, rows)) <= count


def test_avg_logprob_and_silence_are_those_of_the_logits(first: Pair) -> None:
    features, vocabulary = random_features(3), first.model.vocabulary
    options = DecodingOptions(language="fr", timestamps=False, suppress_tokens=(), begin_suppress_tokens=(), **PLAIN)
    for beams in (1, 5):
        decoded = first.decoder.decode(
            first.engine.encode(features), DecodingOptions(**{**vars(options), "beam_size": beams})
        )
        for row, result in enumerate(decoded):
            prefix, _ = build_prefix(vocabulary, options, language="fr", max_length=64)
            ids = [*prefix, *result.tokens, *([vocabulary.end] if len(result.tokens) < 60 else [])]
            with torch.no_grad():
                logits = first.theirs(
                    input_features=features[row : row + 1].transpose(1, 2), decoder_input_ids=torch.tensor([ids])
                ).logits[0]
            log = logits.log_softmax(-1)[torch.arange(len(ids) - 1), torch.tensor(ids[1:])][len(prefix) - 1 :]
            assert result.avg_logprob == pytest.approx(log.mean().item(), abs=1e-4)
            silence = logits[0].softmax(-1)[vocabulary.no_speech].item()
            assert result.no_speech_prob == pytest.approx(silence, rel=1e-3)


@pytest.mark.parametrize("beams", [1, 5])
@pytest.mark.parametrize("timestamps", [False, True])
def test_english_only(tmp_path: Path, beams: int, timestamps: bool) -> None:
    tokenizer = small_tokenizer()
    pair = Pair(save_whisper(tmp_path, seed=3, tokenizer=tokenizer, languages=()))
    assert not pair.model.vocabulary.languages
    pair.check(random_features(2), language=None, beam_size=beams, timestamps=timestamps)


@pytest.fixture(scope="module", params=range(2))
def public(request: pytest.FixtureRequest, whisper_tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    tokenizer = AutoTokenizer.from_pretrained(whisper_tokenizer)
    languages = ("en", "de", "yue" if "<|yue|>" in tokenizer.get_vocab() else "haw")
    folder = tmp_path_factory.mktemp("public")
    return Pair(save_whisper(folder, seed=request.param, tokenizer=tokenizer, languages=languages))


@pytest.mark.parametrize("beams", [1, 5])
@pytest.mark.parametrize("timestamps", [False, True])
def test_the_public_tokenizer(public: Pair, beams: int, timestamps: bool) -> None:
    assert public.model.vocabulary.size == 51865
    for batch in (1, 4):
        public.check(
            random_features(batch), language="english", beam_size=beams, timestamps=timestamps, max_new_tokens=12
        )
