"""The corpus of a run: read once, mixed as the recipe says."""

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import linnet
from linnet.audio import open_audio
from linnet.data import SourceSpec
from linnet.errors import OptionError
from linnet.training.context import RunContext
from linnet.training.speech import corpus_cache
from linnet.training.speech.corpus import Corpus, read_corpus
from linnet.training.speech.corpus_cache import kept_corpus
from linnet.training.speech.inputs import Inputs
from linnet.training.speech.model import load_task
from linnet.training.speech.recipe import SpeechRecipe
from linnet.training.speech.run import prepare
from tests.support.forked import run_linnet
from tests.support.places import EXAMPLES
from tests.support.tiny_recipes import fusion_recipe, save_bases, speech_recipe, tone_corpus, write_recipe
from tests.support.tiny_whispers import save_whisper


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return load_task(recipe_of(tmp_path_factory.mktemp("inputs"))).inputs


def recipe_of(folder: Path, **data: Any) -> SpeechRecipe:
    manifest = tone_corpus(folder / "corpus", 12)
    content = fusion_recipe(save_bases(folder / "bases"), manifest, folder / "out", data=data)
    return speech_recipe(folder / "recipe.yaml", content)


def same(one: Corpus, other: Corpus) -> bool:
    rows = range(len(one.lengths))
    return (
        list(one.utterances) == list(other.utterances)
        and one.lengths.digest == other.lengths.digest
        and all(one.labels(row) == other.labels(row) for row in rows)
    )


def test_it_is_read_once_and_again_where_anything_has_changed(
    tmp_path: Path, inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, told, reads = tone_corpus(tmp_path / "corpus", 9), list[str](), []

    def counted(*given: Any, **options: Any) -> Corpus:
        reads.append(options["limit"])
        return read_corpus(*given, **options)

    monkeypatch.setattr(corpus_cache, "read_corpus", counted)
    specs, folder = [SourceSpec(str(manifest))], tmp_path / "kept"
    first = kept_corpus(folder, specs, inputs, RunContext(notify=told.append))
    again = kept_corpus(folder, specs, inputs, RunContext(notify=told.append))
    assert len(reads) == 1
    assert same(first, read_corpus(specs, inputs, RunContext(notify=told.append)))
    assert same(first, again)
    assert isinstance(again.tokens, np.memmap)
    assert len(kept_corpus(folder, specs, inputs, RunContext(notify=told.append), limit=4).lengths) == 4
    lines = manifest.read_text().splitlines()
    manifest.write_text("\n".join([*lines, json.dumps({**json.loads(lines[-1]), "id": "more"})]) + "\n")
    assert len(kept_corpus(folder, specs, inputs, RunContext(notify=told.append)).lengths) == 10
    assert reads == [0, 4, 0]


def test_one_process_of_a_machine_reads_and_the_others_wait(
    tmp_path: Path, inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, found = tone_corpus(tmp_path / "corpus", 9), list[Corpus]()
    specs, folder = [SourceSpec(str(manifest))], tmp_path / "kept"
    monkeypatch.setenv("LOCAL_RANK", "1")
    waiting = threading.Thread(
        target=lambda: found.append(kept_corpus(folder, specs, inputs, RunContext(notify=print)))
    )
    waiting.start()
    time.sleep(0.5)
    assert not folder.exists()
    monkeypatch.setenv("LOCAL_RANK", "0")
    first = kept_corpus(folder, specs, inputs, RunContext(notify=print))
    waiting.join(10)
    assert same(found[0], first)


def test_small_sources_are_drawn_more_often_by_temperature(tmp_path: Path) -> None:
    """At a temperature without bound two sources have equal shares of the audio, and the epoch as many hours."""
    small = tone_corpus(tmp_path / "small", 5, seed=5)
    recipe = recipe_of(
        tmp_path,
        train=[{"path": str(tmp_path / "corpus" / "train.jsonl")}, {"path": str(small)}],
        mixing={"temperature": 1e9},
        deviations=100.0,
    )
    told: list[str] = []
    trainer, data, _ = prepare(recipe, load_task(recipe), RunContext(notify=told.append))
    drawn = Counter(row for batch in trainer.batches.of_rank(0) for row in batch)
    lengths = data.corpus.lengths
    hours = [float(lengths.durations[:12].sum()), float(lengths.durations[12:].sum())]
    passes = [sum(hours) / 2 / each for each in hours]
    assert sum(drawn[row] for row in range(12)) == pytest.approx(12 * passes[0], abs=1)
    assert sum(drawn[row] for row in range(12, 17)) == pytest.approx(5 * passes[1], abs=1)
    assert max(drawn[row] for row in range(12, 17)) - min(drawn[row] for row in range(12, 17)) <= 1
    assert [line.rpartition(": ")[2] for line in told[-2:]] == [f"{each:.2f} passes per epoch" for each in passes]


def test_a_temperature_below_one_is_refused(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, mixing={"temperature": 0.5})
    with pytest.raises(OptionError, match=r"temperature 0\.5"):
        prepare(recipe, load_task(recipe))


def test_where_every_sound_is_padded_to_a_window_batches_are_planned_by_it(tmp_path: Path) -> None:
    """Whisper's windows are 2 s here and the sounds under 1 s: a budget of 9 s is for four of them, not for more."""
    whisper, manifest = save_whisper(tmp_path / "whisper"), tone_corpus(tmp_path / "corpus", 20)
    content = fusion_recipe({"hubert": whisper, "llama": whisper}, manifest, tmp_path / "out")
    content["model"] = {"checkpoint": str(whisper)}
    content["data"]["batching"] = {"budget": 9.0, "per_token": 0.0}
    content["run"]["max_new_tokens"] = 10_000  # more than it has places for
    recipe = speech_recipe(tmp_path / "recipe.yaml", content)
    trainer, data, validate = prepare(recipe, load_task(recipe), RunContext(score=lambda *_: 0.25))
    sizes = [len(batch) for batch in trainer.batches.of_rank(0)]
    assert max(sizes) == 4
    assert sum(sizes) == 20
    assert data[list(range(4))].used == pytest.approx(8 / 9)
    assert validate is not None
    assert validate(trainer) == {"wer": 0.25}


def test_each_text_that_a_whisper_cannot_write_is_told_apart(tmp_path: Path) -> None:
    whisper = save_whisper(tmp_path / "whisper")
    content = fusion_recipe({"hubert": whisper, "llama": whisper}, tmp_path / "none", tmp_path / "out")
    content["model"] = {"checkpoint": str(whisper)}
    recipe = speech_recipe(tmp_path / "recipe.yaml", content)
    found = load_task(recipe).inputs.labels(["one", "one", "one"], ["en", None, "xx"])
    assert isinstance(found[0], list)
    assert found[1:] == ["without a language", "in a language without a token (xx)"]


def test_the_embedded_model_is_sure_of_its_own_labels(tmp_path: Path) -> None:
    """The labels of a training text are what the model itself writes: its loss is that of a trained model."""
    example = EXAMPLES / "digits-en.flac"
    text = linnet.load("digits").transcribe(example).text
    content = fusion_recipe({"hubert": tmp_path, "llama": tmp_path}, tmp_path / "none", tmp_path / "out")
    content["model"] = {"checkpoint": "digits"}
    recipe = speech_recipe(tmp_path / "recipe.yaml", content)
    task = load_task(recipe)
    (labels,) = task.inputs.labels([text], ["en"])
    assert isinstance(labels, list)
    with open_audio(example) as source:
        samples = source.read(0, 10 * 16_000)
    unsaid = [*labels[:3], *task.inputs.tokenizer("nine nine nine")["input_ids"][4:]]  # type: ignore[attr-defined]
    losses = []
    for told in (labels, unsaid):
        with torch.no_grad():
            losses.append(float(task.loss.eval()(task.inputs.batch([samples], [told]))["text"]) / len(told))
    assert losses[0] < 0.05 * losses[1]
    for written in ("one two", "eins <|en|> zwei", "\u4e00", ""):
        assert task.inputs.texts(torch.tensor(task.inputs.labels([written], ["de"]))) == [written]


def test_a_whisper_is_trained_and_validated_in_bfloat16(tmp_path: Path) -> None:
    """Its features are made in float32: under autocast, too."""
    whisper, manifest = save_whisper(tmp_path / "whisper"), tone_corpus(tmp_path / "corpus", 8)
    content = fusion_recipe({"hubert": whisper, "llama": whisper}, manifest, tmp_path / "out")
    content["model"] = {"checkpoint": str(whisper)}
    content["run"] |= {"precision": "bf16", "workers": 1}
    content["optimization"]["steps"] = 3
    write_recipe(tmp_path / "recipe.yaml", content)
    done = run_linnet("train", "recipe.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    assert rows[-1]["wer"] >= 0


def test_an_error_that_nobody_expects_ends_the_run_with_its_workers(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path)
    program = """
import sys
from pathlib import Path
from linnet.training.recipe import read_recipe
from linnet.training.context import RunContext
from linnet.training.loop import run_recipe
def score(*_):
    raise ZeroDivisionError("unexpected")
list(run_recipe(read_recipe(Path(sys.argv[1])), RunContext(score=score)))
"""
    (tmp_path / "recipe.yaml").write_text(
        (tmp_path / "recipe.yaml").read_text().replace("workers: 0", "workers: 2").replace("steps: 6", "steps: 60")
    )
    command = [sys.executable, "-c", program, str(tmp_path / "recipe.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "ZeroDivisionError: unexpected" in done.stderr
    assert recipe.run.workers == 0
