"""Utterances one after another in a Whisper's window: their sounds, texts and times, and the loss of them."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray
from transformers import WhisperFeatureExtractor

from linnet.audio import SAMPLE_RATE
from linnet.data import Utterance, write_manifest
from linnet.errors import LinnetError, OptionError
from linnet.training.batch import IGNORED, Batch
from linnet.training.context import RunContext
from linnet.training.estimate.dry_run import dry_run
from linnet.training.loop import train
from linnet.training.speech.corpus import AudioBatches
from linnet.training.speech.inputs import WhisperInputs
from linnet.training.speech.joining import JoinedBatches, laid
from linnet.training.speech.model import SpeechTask, load_task
from linnet.training.speech.recipe import JoinOptions, SpeechRecipe
from linnet.training.speech.run import plan, prepare
from tests.support.tiny_recipes import fusion_recipe, speech_recipe, tone_corpus
from tests.support.tiny_whispers import SECONDS, save_whisper

pytestmark = pytest.mark.usefixtures("quick")
TICK = 320
NOTHING: dict[str, Any] = {}


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_whisper(tmp_path_factory.mktemp("whisper") / "whisper")


def recipe_at(
    folder: Path, whisper: Path, manifest: Path, join: Any = NOTHING, **changes: dict[str, Any]
) -> SpeechRecipe:
    folder.mkdir(exist_ok=True)
    content = fusion_recipe({"hubert": whisper, "llama": whisper}, manifest, folder / "out", **changes)
    content["model"] = {"checkpoint": str(whisper), "language": "en"}
    content["data"] |= {"join": {"alone": 0.0, **join}, "deviations": 1e9} if join is not None else {}
    content["data"]["batching"] = {"budget": 12.0}
    return speech_recipe(folder / "recipe.yaml", content)


def made(recipe: SpeechRecipe, **options: Any) -> tuple[SpeechTask, Any, AudioBatches]:
    task = load_task(recipe)
    trainer, data, _ = prepare(recipe, task, RunContext(**options))
    return task, trainer, data


def told(task: SpeechTask, labels: Sequence[int]) -> Iterator[tuple[float, str, float]]:
    """What the labels of a window say: start, text and end of each piece, by the names of their tokens alone."""
    tokenizer = task.inputs.tokenizer  # type: ignore[attr-defined]
    names = [tokenizer.convert_ids_to_tokens(token) for token in labels]
    assert names[:2] == ["<|en|>", "<|transcribe|>"]
    assert names[-1] == "<|endoftext|>"
    open_at, words = None, list[int]()
    for token, name in zip(labels[2:], names[2:-1], strict=False):
        if not name.startswith("<|"):
            words.append(token)
        elif open_at is None:
            open_at = float(name[2:-2])
        else:
            yield open_at, tokenizer.decode(words), float(name[2:-2])
            open_at, words = None, []
    assert open_at is None
    assert not words


def told_of(batch: Batch) -> list[list[int]]:
    """The labels of each window, without padding."""
    return [[token for token in row if token != IGNORED] for row in batch.tensors["labels"].tolist()]


def sound_of(folder: Path, name: str) -> NDArray[np.float32]:
    return soundfile.read(folder / name, dtype="float32")[0]  # type: ignore[no-any-return]


def test_labels_and_sounds_lead_back_to_each_utterance(whisper: Path, manifest: Path, tmp_path: Path) -> None:
    recipe = recipe_at(tmp_path, whisper, manifest, {"times": 1.0, "silence": 0.3})
    task, trainer, data = made(recipe)
    heard: list[NDArray[np.float32]] = []
    batch_of = task.inputs.batch

    def listening(sounds: Any, labels: Any) -> Any:
        heard.extend(sounds)
        return batch_of(sounds, labels)

    task.inputs.batch = listening  # type: ignore[method-assign]
    texts = {row.id: row.text for row in data.corpus.utterances}
    counted = 0
    for rows in trainer.batches.of_rank(0):
        heard.clear()
        batch = data[rows]
        assert len(heard) == len(batch.tensors["labels"]) < len(rows)
        assert batch.padded == SECONDS * len(heard)
        left = {name: sound_of(manifest.parent, name) for name in batch.ids}
        for sound, labels in zip(heard, told_of(batch), strict=True):
            assert len(sound) <= SECONDS * SAMPLE_RATE
            if task.inputs.texts(torch.tensor([labels])) == [""]:
                continue  # nobody speaks in this window
            before = 0.0
            for start, text, end in told(task, labels):
                begin = round(start * SAMPLE_RATE)
                name = next(n for n, s in left.items() if np.array_equal(sound[begin : begin + len(s)], s))
                assert (text.strip(), text[:1]) == (texts[name], " ")
                assert (
                    len(left.pop(name))
                    <= round((end - start) * SAMPLE_RATE)
                    < len(sound_of(manifest.parent, name)) + TICK
                )
                assert before <= start
                before, counted = end, counted + 1
        assert not any(texts[name] for name in left)
    assert counted == sum(bool(text) for text in texts.values())


def test_as_many_tokens_of_text_are_trained_as_one_by_one(whisper: Path, manifest: Path, tmp_path: Path) -> None:
    def words(join: Any) -> list[int]:
        task, trainer, data = made(recipe_at(tmp_path, whisper, manifest, join, data={"deviations": 1e9}))
        end = task.inputs.tokenizer.eos_token_id  # type: ignore[attr-defined]  # the first that is no text
        windows = [row for rows in trainer.batches.of_rank(0) for row in told_of(data[rows])]
        return sorted(token for row in windows for token in row if token < end)

    alone = words(None)
    assert len(alone) > 24
    for times in (0.0, 0.5, 1.0):
        assert words({"times": times}) == alone


def test_the_loss_is_that_of_a_window_made_by_hand(whisper: Path, manifest: Path, tmp_path: Path) -> None:
    """Two sounds without silence in one window: Transformers' mean loss, times the tokens."""
    task, _, data = made(recipe_at(tmp_path, whisper, manifest, {"times": 1.0, "silence": 0.0}))
    assert isinstance(data, JoinedBatches)
    rows = [1, 2]
    sounds = [sound_of(manifest.parent, f"{row}.wav") for row in rows]
    texts = [data.corpus.utterances[row].text for row in rows]
    lengths = [len(sound) / SAMPLE_RATE for sound in sounds]
    assert all(length * 50 == round(length * 50) for length in lengths)  # whole ticks
    tokenizer = task.inputs.tokenizer  # type: ignore[attr-defined]
    extractor = WhisperFeatureExtractor.from_pretrained(whisper)
    found = []
    for one, other in ((0, 1), (1, 0)):  # which comes first is drawn
        middle, end = lengths[one], lengths[one] + lengths[other]
        spelled = (
            f"<|en|><|transcribe|><|0.00|> {texts[one]}<|{middle:.2f}|><|{middle:.2f}|> {texts[other]}<|{end:.2f}|>"
        )
        labels = torch.tensor([[*tokenizer(spelled, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]])
        features = extractor(
            np.concatenate([sounds[one], sounds[other]]), sampling_rate=SAMPLE_RATE, return_tensors="pt"
        )
        with torch.no_grad():
            output = task.model.eval()(input_features=features["input_features"], labels=labels)
        found.append(float(output.loss) * labels.shape[1])
    batch = data[rows]
    with torch.no_grad():
        loss = float(task.loss.eval()(batch.tensors)["text"])
    assert min(abs(loss - each) for each in found) < 1e-4 * loss
    assert batch.tokens == labels.shape[1]


def test_a_share_of_the_windows_has_times_and_the_others_begin_as_before(whisper: Path, tmp_path: Path) -> None:
    manifest = tone_corpus(tmp_path / "corpus", 60)
    task, trainer, data = made(recipe_at(tmp_path, whisper, manifest))
    plain = task.inputs.tokenizer.convert_tokens_to_ids("<|notimestamps|>")  # type: ignore[attr-defined]
    rows = [row for batch in trainer.batches.of_rank(0) for row in told_of(data[batch])]
    said = [row for row in rows if task.inputs.texts(torch.tensor([row])) != [""]]
    assert 0.2 < np.mean([row[2] == plain for row in said]) < 0.8
    for row in said:
        if row[2] != plain:
            assert len(list(told(task, row))) >= 1
    first = data[[1, 2, 3, 5]].tensors
    assert all(torch.equal(value, first[name]) for name, value in data[[1, 2, 3, 5]].tensors.items())
    data.epoch = 1
    assert not torch.equal(data[[1, 2, 3, 5]].tensors["input_features"], first["input_features"])


def test_some_utterances_have_a_window_for_themselves(whisper: Path, tmp_path: Path) -> None:
    """About the share that is asked for, the same in the plan and in the batches, in every epoch."""
    manifest = tone_corpus(tmp_path / "corpus", 80)
    recipe = recipe_at(tmp_path, whisper, manifest, {"alone": 0.25, "times": 0.0})
    planned = plan(recipe, load_task(recipe), RunContext())
    task, trainer, data = made(recipe)
    seen = []
    for epoch in (0, 1):
        trainer.batches.seek(epoch)
        lone: set[int] = set()
        for rows in trainer.batches.of_rank(0):
            windows = planned.binning.windows(rows)  # type: ignore[union-attr]
            assert len(data[rows].tensors["labels"]) <= len(windows)
            lone |= {row for row in rows if [row] in windows and planned.binning.loads[row] == 1}  # type: ignore[union-attr]
        seen.append(lone)
    assert seen[0] == seen[1]
    assert 0.15 < len(lone) / 80 < 0.35
    assert len(data[sorted(lone)].tensors["labels"]) == len(lone)
    texts = [data.corpus.utterances[row].text for row in sorted(lone)]
    rows = told_of(data[sorted(lone)])
    assert [task.inputs.texts(torch.tensor([row]))[0] for row in rows] == texts


def test_texts_that_do_not_fit_with_times_go_without(whisper: Path, manifest: Path, tmp_path: Path) -> None:
    inputs = load_task(recipe_at(tmp_path, whisper, manifest)).inputs
    assert isinstance(inputs, WhisperInputs)
    (row,) = inputs.labels([" ".join(["one"] * 60)], ["en"])
    assert isinstance(row, list)
    assert len(row) == inputs.places == 64
    assert inputs.joined([row], [(0, 50)]) == row
    (short,) = inputs.labels(["one"], ["en"])
    assert isinstance(short, list)
    assert len(inputs.joined([short], [(0, 50)])) == len(short) + 1


def test_no_window_is_longer_than_the_decoder(whisper: Path, tmp_path: Path) -> None:
    """Texts that are long for their sound: the tokens bound the window, not the seconds."""
    rows = []
    for number in range(12):
        soundfile.write(tmp_path / f"{number}.wav", np.zeros(800), SAMPLE_RATE)
        rows.append(Utterance(f"{number}.wav", " ".join(["two"] * 12), 0.05, "en"))
    write_manifest(tmp_path / "train.jsonl", rows)
    task, trainer, data = made(recipe_at(tmp_path, whisper, tmp_path / "train.jsonl", {"times": 1.0, "silence": 0.1}))
    batches = [data[batch] for batch in trainer.batches.of_rank(0)]
    assert max(batch.tensors["labels"].shape[1] for batch in batches) <= 64
    assert sum(len(batch.tensors["labels"]) for batch in batches) == 4
    assert task.loss(batches[0].tensors)["text"].isfinite()


def test_languages_do_not_share_a_window(whisper: Path, manifest: Path, tmp_path: Path) -> None:
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    for number, line in enumerate(lines):
        line["language"] = ("en", "de")[number % 2]
        line["audio"] = str(manifest.parent / line["audio"])
    (tmp_path / "two.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    _, trainer, data = made(recipe_at(tmp_path, whisper, tmp_path / "two.jsonl", {"times": 0.0}))
    texts = {row.id: row for row in data.corpus.utterances}
    inputs = data.corpus.inputs
    assert isinstance(inputs, WhisperInputs)
    for rows in trainer.batches.of_rank(0):
        batch = data[rows]
        spoken = [texts[name].language for name in batch.ids]
        words = {
            code: sum(len((texts[n].text or "").split()) for n in batch.ids if texts[n].language == code)
            for code in set(spoken)
        }
        for code, count in words.items():
            token = inputs.tokenizer.convert_tokens_to_ids(f"<|{code}|>")
            own = [row for row in told_of(batch) if row[0] == token]
            assert sum(len(inputs.texts(torch.tensor([row]))[0].split()) for row in own) == count


def test_a_run_has_each_utterance_once_with_less_padding_in_fewer_steps(whisper: Path, tmp_path: Path) -> None:
    manifest = tone_corpus(tmp_path / "corpus", 60)
    seen = {}
    for join in (None, {"silence": 0.1}):
        recipe = recipe_at(
            tmp_path / str(join is None),
            whisper,
            manifest,
            join,
            optimization={"steps": 0, "epochs": 1.0},
            data={"deviations": 1e9, "validation": None},
        )
        _, trainer, data = made(recipe)
        taken: list[str] = []
        update = trainer.update
        trainer.update = lambda w, update=update, taken=taken: taken.extend(n for b in w for n in b.ids) or update(w)
        rows = list(train(trainer, data))
        assert len(set(taken)) == len(taken) == 60
        assert all(0 < row["budget_used"] <= 1 for row in rows)
        table = dict(dry_run(recipe))
        seen[join is None] = rows[-1]["steps"], float(np.mean([row["audio_padding"] for row in rows])), table
    assert seen[False][0] < seen[True][0] / 2
    assert seen[False][1] < 0.4 < 0.8 < seen[True][1]
    said = {key: table["audio padding"] for key, (_, _, table) in seen.items()}
    assert "all audio is padded to 2 s; `data: {join: true}`" in said[True]
    assert "utterances in a window of 2 s" in said[False]
    for key, text in said.items():
        assert float(text.partition("%")[0]) / 100 == pytest.approx(seen[key][1], abs=0.05)


def test_augmented_sounds_stay_within_their_windows(whisper: Path, manifest: Path, tmp_path: Path) -> None:
    """A tenth slower is the most that augmentation makes them: room for that is planned."""
    recipe = recipe_at(tmp_path, whisper, manifest, data={"augment": {"speed": 1.0, "reverb": 0, "codec": 0}})
    planned = plan(recipe, load_task(recipe), RunContext())
    _, trainer, data = made(recipe)
    for rows in trainer.batches.of_rank(0):
        assert len(data[rows].tensors["labels"]) <= len(planned.binning.windows(rows))  # type: ignore[union-attr]


def test_what_cannot_be_heard_is_named_or_left_out(whisper: Path, tmp_path: Path) -> None:
    manifest = tone_corpus(tmp_path / "corpus", 8)
    recipe = recipe_at(tmp_path, whisper, manifest)
    _, _, data = made(recipe, skip_bad=True)
    (tmp_path / "corpus/3.wav").write_bytes(b"no sound")
    batch = data[[3, 2, 1]]
    assert (batch.lost, batch.ids) == (["3.wav"], ["2.wav", "1.wav"])
    assert data[[3]].tokens == 0
    with pytest.raises(LinnetError, match=r"3\.wav.*--skip-bad"):
        made(recipe)[2][[3]]


def test_silences_are_as_soft_as_the_sounds_and_within_the_window() -> None:
    random = np.random.default_rng(0)
    sound = np.concatenate([np.full(3200, 0.5), np.full(3300, 0.01)]).astype(np.float32)
    for silence, room in ((0.6, 30.0), (0.6, 1.3), (0.0, 30.0)):
        window, times = laid([sound] * 3, room, silence, random)
        assert len(window) <= room * SAMPLE_RATE
        inside = np.zeros(len(window), bool)
        for start, end in times:
            inside[start * TICK : start * TICK + len(sound)] = True
            assert end - start == 21
        quiet = window[~inside & (window != 0)]
        assert not len(quiet) or np.sqrt(np.mean(quiet**2)) == pytest.approx(0.01, rel=0.3)
        starts = [start for start, _ in times]
        assert silence == 0 or len({b - a for a, b in pairwise(starts)}) >= 1
    assert laid([np.zeros(100, np.float32)], 1.0, 0.5, random)[0].any() is np.False_


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cache_features": True}, "cache_features and join exclude each other"),
        ({"batching": {"memory": "auto"}}, "joined windows are planned by a `budget`.*leave out `memory`"),
        ({"batching": {"packed": True}}, "joined windows are planned by a `budget`.*leave out `packed`"),
    ],
)
def test_what_does_not_go_with_it_is_said(
    whisper: Path, manifest: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    content = fusion_recipe(
        {"hubert": whisper, "llama": whisper}, manifest, tmp_path / "out", data={"join": True, **changes}
    )
    content["model"] = {"checkpoint": str(whisper), "language": "en"}
    with pytest.raises(OptionError, match=message):
        speech_recipe(tmp_path / "recipe.yaml", content)


def test_only_whispers_join(bases: dict[str, Path], manifest: Path, tmp_path: Path) -> None:
    recipe = speech_recipe(
        tmp_path / "recipe.yaml", fusion_recipe(bases, manifest, tmp_path / "out", data={"join": True})
    )
    with pytest.raises(OptionError, match="join is for Whisper models"):
        prepare(recipe, load_task(recipe))
    for wrong in ({"silence": -1.0}, {"times": 2.0}, {"alone": 1.5}):
        with pytest.raises(OptionError, match=f"{next(iter(wrong))} must be"):
            replace(JoinOptions(), **wrong)
