"""Further languages for a Whisper-family model: what stays, what is new, and that Transformers decodes with it too."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, WhisperForConditionalGeneration

from linnet.decoding.decoder import Decoder
from linnet.decoding.language import detect_language
from linnet.decoding.options import DecodingOptions
from linnet.engines.torch import TorchEngine
from linnet.errors import ModelError, OptionError, OutputError
from linnet.models.languages import NewLanguage, add_languages, added_languages, train_new_rows
from linnet.models.whisper import load_whisper
from tests.support.tiny_whispers import (
    edit_json,
    generate,
    random_features,
    random_whisper,
    save_whisper,
    small_tokenizer,
)


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_whisper(tmp_path_factory.mktemp("old") / "m", seed=4)


@pytest.fixture(scope="module")
def new(old: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("new") / "m"
    added, there = add_languages(str(old), {"ckb": "de", "ast": "es", "zh-hant": None}, folder)
    size = read_config(old)["vocab_size"]
    assert added == [
        NewLanguage("ckb", size, "de"),
        NewLanguage("ast", size + 1, "es"),
        NewLanguage("zh-hant", size + 2, None),
    ]
    assert there == []
    return folder


def read_config(folder: Path, name: str = "config.json") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / name).read_text())
    return found


def load(folder: Path) -> Any:
    return WhisperForConditionalGeneration.from_pretrained(folder).eval()


def decoder(folder: Path) -> tuple[Decoder, TorchEngine]:
    model = load_whisper(folder, name="m", device="cpu", dtype=torch.float32)
    engine = TorchEngine(model)
    return Decoder(engine, model.vocabulary, model.max_length), engine


def test_what_was_there_stays(old: Path, new: Path) -> None:
    before, after = AutoTokenizer.from_pretrained(old).get_vocab(), AutoTokenizer.from_pretrained(new).get_vocab()
    assert before.items() <= after.items()
    assert sorted(after.items() - before.items(), key=lambda item: item[1]) == [
        (f"<|{code}|>", len(before) + index) for index, code in enumerate(("ckb", "ast", "zh-hant"))
    ]
    teacher, pupil = load(old), load(new)
    weights = teacher.state_dict()
    for name, weight in pupil.state_dict().items():
        assert torch.equal(weight[: len(weights[name])], weights[name]), name
    tokens = torch.randint(0, len(before), (2, 9), generator=torch.Generator().manual_seed(0))
    features = random_features(2).transpose(1, 2)
    with torch.no_grad():
        logits = [model(features, decoder_input_ids=tokens).logits for model in (teacher, pupil)]
    torch.testing.assert_close(logits[1][..., : len(before)], logits[0], rtol=1e-5, atol=1e-5)
    assert read_config(new, "preprocessor_config.json") == read_config(old, "preprocessor_config.json")
    said = {**read_config(old, "generation_config.json"), "lang_to_id": ..., "suppress_tokens": ...}
    assert {**read_config(new, "generation_config.json"), "lang_to_id": ..., "suppress_tokens": ...} == said


def test_new_rows_are_copies_or_the_mean(old: Path, new: Path) -> None:
    ids = read_config(new, "generation_config.json")["lang_to_id"]
    model = load(new)
    table = model.get_input_embeddings().weight
    assert model.get_output_embeddings().weight is table
    assert torch.equal(table[ids["<|ckb|>"]], table[ids["<|de|>"]])
    assert torch.equal(table[ids["<|ast|>"]], table[ids["<|es|>"]])
    mean = sum(table[ids[f"<|{code}|>"]].double() for code in ("en", "de", "fr", "es", "it")) / 5
    torch.testing.assert_close(table[ids["<|zh-hant|>"]].double(), mean, rtol=0, atol=1e-7)


@pytest.mark.parametrize("timestamps", [False, True])
@pytest.mark.parametrize("language", ["ckb", "zh-hant", "fr"])
def test_linnet_and_generate_write_the_same_tokens(new: Path, language: str, timestamps: bool) -> None:
    features = random_features(3, seed=7)
    ours, engine = decoder(new)
    options = DecodingOptions(language=language, timestamps=timestamps, max_new_tokens=40, temperatures=(0.0,))
    found = ours.decode(engine.encode(features), options)
    ids = AutoTokenizer.from_pretrained(new).get_vocab()
    prefix = [ids["<|startoftranscript|>"], ids[f"<|{language}|>"], ids["<|transcribe|>"]]
    prefix += [] if timestamps else [ids["<|notimestamps|>"]]
    settings = {"language": f"<|{language}|>", "task": "transcribe", "return_timestamps": timestamps}
    theirs = generate(load(new), features, prefix=[tuple(prefix)] * 3, max_new_tokens=40, **settings)
    assert [one.tokens for one in found] == theirs
    assert max(max(row) for row in theirs if row) < ids["<|ckb|>"]


def test_a_copy_hears_what_its_original_hears(old: Path, new: Path) -> None:
    features = random_features(4, seed=3)
    texts = []
    for folder, language in ((old, "de"), (new, "de"), (new, "ckb")):
        ours, engine = decoder(folder)
        options = DecodingOptions(language=language, max_new_tokens=40, temperatures=(0.0,))
        texts.append([one.tokens for one in ours.decode(engine.encode(features), options)])
    assert texts[0] == texts[1] == texts[2]


def test_new_languages_are_detected(new: Path, tmp_path: Path) -> None:
    features, codes = random_features(1), ["en", "de", "fr", "es", "it", "ckb", "ast", "zh-hant"]
    row, stock, _ = detected(new, features)
    assert sorted(row) == sorted(codes)
    assert row["ckb"] == pytest.approx(row["de"])
    assert stock == max(row, key=row.__getitem__)
    assert stock not in codes[5:]  # what a new one began from comes first
    module = load(new)
    with torch.no_grad():  # as if trained: nearer to what the decoder says here than any other language
        start = torch.tensor([[module.generation_config.decoder_start_token_id]])
        state = module.model(features.transpose(1, 2), decoder_input_ids=start).last_hidden_state[0, -1]
        ids = added_languages(module.config)
        module.get_input_embeddings().weight[ids["ast"]] = state / state.norm() * 100.0
    shutil.copytree(new, tmp_path / "trained")
    module.save_pretrained(tmp_path / "trained")
    row, stock, transcribed = detected(tmp_path / "trained", features)
    assert (stock, max(row, key=row.__getitem__), transcribed) == ("ast", "ast", "ast")


def detected(folder: Path, features: torch.Tensor) -> tuple[dict[str, float], str, str | None]:
    """What Linnet makes of each language, what Transformers detects, and what Linnet then decodes in."""
    ours, engine = decoder(folder)
    model = load_whisper(folder, name="m", device="cpu", dtype=torch.float32)
    (row,) = detect_language(engine, engine.encode(features), model.vocabulary)
    names = {token: code for code, token in model.vocabulary.languages.items()}
    (token,) = load(folder).detect_language(features.transpose(1, 2)).tolist()
    (heard,) = ours.decode(engine.encode(features), DecodingOptions(max_new_tokens=3, temperatures=(0.0,)))
    return row, names[token], heard.language


def test_stock_tokenizer_takes_new_tokens_for_special_and_times_for_times(new: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(new)
    ids = tokenizer.get_vocab()
    row = [ids["<|ckb|>"], ids["Ġone"], ids["<|zh-hant|>"], ids["<|0.50|>"]]
    assert tokenizer.decode(row, skip_special_tokens=True) == " one<|0.50|>"
    assert tokenizer.all_special_ids[-1] + 1 == ids["<|0.00|>"]  # where Transformers' Whisper tokenizer seeks times


def test_it_can_be_done_again(new: Path, tmp_path: Path) -> None:
    add_languages(str(new), {"ace-arab": "ckb"}, tmp_path / "more")
    config = load(tmp_path / "more").config
    size = read_config(new)["vocab_size"]
    assert added_languages(config) == {"ckb": size - 3, "ast": size - 2, "zh-hant": size - 1, "ace-arab": size}
    assert config.linnet["made_from"]["model"] == str(new)
    assert added_languages(load(new).config).keys() == {"ckb", "ast", "zh-hant"}


def test_a_tokenizer_without_timestamps_is_filled_up(old: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(old, source)
    path = source / "tokenizer.json"
    data = json.loads(path.read_text())
    data["added_tokens"] = [token for token in data["added_tokens"] if token["special"]]
    path.write_text(json.dumps(data))
    assert "<|0.00|>" not in AutoTokenizer.from_pretrained(source).get_vocab()
    (one,), _ = add_languages(str(source), {"ast": None}, tmp_path / "new")
    assert one.token == read_config(old)["vocab_size"]
    ids = AutoTokenizer.from_pretrained(tmp_path / "new").get_vocab()
    assert ids.items() >= AutoTokenizer.from_pretrained(old).get_vocab().items()
    assert ids["<|ast|>"] == one.token


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_an_untied_model_in_its_own_numbers(tmp_path: Path, dtype: torch.dtype) -> None:
    source = save_whisper(tmp_path / "source")
    model = load(source).to(dtype)
    model.config.tie_word_embeddings = False
    model.proj_out.weight = torch.nn.Parameter(model.proj_out.weight.detach().clone().flip(0))
    model.save_pretrained(source)
    (one,), _ = add_languages(str(source), {"ast": "fr"}, tmp_path / "new")
    made = WhisperForConditionalGeneration.from_pretrained(tmp_path / "new", dtype="auto")
    french = made.generation_config.lang_to_id["<|fr|>"]
    assert made.dtype == dtype
    for table in (made.get_input_embeddings().weight, made.proj_out.weight):
        assert torch.equal(table[one.token], table[french])
    assert torch.equal(made.proj_out.weight[:-1], model.proj_out.weight)


def test_a_checkpoint_older_than_its_generation_config(old: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(old, source)
    (source / "generation_config.json").unlink()
    add_languages(str(source), {"ast": "es"}, tmp_path / "new")
    said, wanted = read_config(tmp_path / "new", "generation_config.json"), read_config(old, "generation_config.json")
    assert said["lang_to_id"] == {**wanted["lang_to_id"], "<|ast|>": read_config(old)["vocab_size"]}
    assert {key: said[key] for key in ("task_to_id", "no_timestamps_token_id", "is_multilingual")} == {
        key: wanted[key] for key in ("task_to_id", "no_timestamps_token_id", "is_multilingual")
    }


@pytest.mark.parametrize("tied", [True, False])
def test_only_new_rows_are_trained(new: Path, tied: bool) -> None:
    model = load(new)
    if not tied:
        model.proj_out.weight = torch.nn.Parameter(model.proj_out.weight.detach().clone())
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    tokens = added_languages(model.config)
    tables = train_new_rows(model, list(tokens.values()))
    assert len(tables) == (1 if tied else 2)
    optimizer = torch.optim.AdamW(tables, lr=0.01, weight_decay=0.0)
    labels = torch.tensor([[tokens["ckb"], 5, 6], [tokens["ast"], 8, 9]])
    losses = []
    for _ in range(3):
        loss = model(random_features(2).transpose(1, 2), labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[2] < losses[0]
    embeddings = {"model.decoder.embed_tokens.weight", "proj_out.weight"}
    for name, weight in model.state_dict().items():
        old_rows = slice(None, min(tokens.values())) if name in embeddings else slice(None)
        assert torch.equal(weight[old_rows], before[name][old_rows]), name
    moved = model.proj_out.weight[tokens["ckb"]] != before["proj_out.weight"][tokens["ckb"]]
    assert moved.all()
    with pytest.raises(ValueError, match="tokens must be from 0 to"):
        train_new_rows(model, [10**6])


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"de": None, "ast": None}, r"already has these languages: de; leave"),
        ({"ast": "pt"}, r"has no language 'pt' to start ast from: it has de, en, es, fr, it"),
        ({}, "no language to add"),
    ],
)
def test_languages_that_cannot_be_added(old: Path, tmp_path: Path, wanted: dict[str, str], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        add_languages(str(old), wanted, tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_models_that_take_no_languages(old: Path, tmp_path: Path) -> None:
    english = save_whisper(tmp_path / "english", tokenizer=small_tokenizer(languages=()), languages=())
    with pytest.raises(OptionError, match="is for English only"):
        add_languages(str(english), {"ast": None}, tmp_path / "new")
    other = tmp_path / "other"
    shutil.copytree(old, other)
    edit_json(other / "config.json", model_type="moonshine", architectures=["MoonshineForConditionalGeneration"])
    with pytest.raises(OptionError, match="is of another family: only Whisper-family models support language tokens"):
        add_languages(str(other), {"ast": None}, tmp_path / "new")
    short = tmp_path / "short"
    shutil.copytree(old, short)
    size = max(small_tokenizer().get_vocab().values()) - 3
    random_whisper(small_tokenizer(), seed=0, size=size).save_pretrained(short)
    shutil.copy(old / "generation_config.json", short)
    with pytest.raises(ModelError, match=f"the model only {size}: use both from the same model"):
        add_languages(str(short), {"ast": None}, tmp_path / "new")


def test_nothing_is_overwritten_and_nothing_half_written(old: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(OutputError, match="already exists: choose another --output"):
        add_languages(str(old), {"ast": None}, tmp_path / "there")
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="cannot write"):
        add_languages(str(old), {"ast": None}, tmp_path / "file" / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "there"]
