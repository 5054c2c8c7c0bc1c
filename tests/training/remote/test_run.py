"""The whole way to another machine and back, by programs that stand for ssh and rsync; no name is a command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import linnet
from linnet.data import Utterance, read_manifest, write_manifest
from linnet.errors import LinnetError, OptionError
from linnet.settings import build
from linnet.training.remote import commands
from linnet.training.remote.commands import Remote
from linnet.training.remote.parcel import Parcel, pack
from linnet.training.remote.run import plan_remote, run_remote
from linnet.training.speech.recipe import SpeechRecipe
from tests.support.fake_remote import Elsewhere
from tests.support.tiny_recipes import fusion_recipe, save_bases, tone_corpus

ROW = '{"step": %d, "steps": 3, "loss": 1.5}'


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Elsewhere]:
    for name in ("HF_TOKEN", "WANDB_API_KEY", "WANDB_PROJECT", "TRACKIO_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(commands, "PAUSE", 0.4)
    made = Elsewhere(tmp_path, monkeypatch)
    yield made
    made.close()


def a_recipe(folder: Path, output: str = "out") -> SpeechRecipe:
    manifest = tone_corpus(folder / "corpus", 8)
    return build(
        SpeechRecipe,
        {
            "model": {"checkpoint": "openai/whisper-tiny"},
            "data": {"train": [{"path": str(manifest)}]},
            "run": {"output": str(folder / output)},
        },
        "test",
    )


def train_there(parcel: Parcel, output: Path, **options: Any) -> tuple[list[dict[str, Any]], list[str]]:
    told: list[str] = []
    rows = list(run_remote(Remote("me@gpu", parcel.name, **options), parcel, output, notify=told.append))
    return rows, told


def test_a_recipe_is_trained_there_and_its_model_comes_back(
    there: Elsewhere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("accelerate", reason="the extra `train` is not installed")
    monkeypatch.setenv("HF_TOKEN", "it's $ecret\nof two lines")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    content = fusion_recipe(save_bases(tmp_path), tone_corpus(tmp_path / "the corpus", 12), tmp_path / "my run's")
    del content["task"]
    recipe = build(SpeechRecipe, content, "test")
    rows, told = train_there(pack(recipe), tmp_path / "my run's")
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert "12 utterances are kept" in told
    fetched = tmp_path / "my run's"
    assert [json.loads(line) for line in (fetched / "log.jsonl").read_text().splitlines()] == rows
    assert not (fetched / "checkpoints").exists()
    assert not (fetched / "corpus").exists()
    from transformers import AutoModelForSpeechSeq2Seq

    bases = json.loads((fetched / "best" / "config.json").read_text())["bases"]
    assert {base["name"] for base in bases.values()} == {str(tmp_path / "hubert"), str(tmp_path / "llama")}
    AutoModelForSpeechSeq2Seq.from_pretrained(fetched / "best")
    seen = json.loads((there.home / "environment").read_text())
    assert seen["HF_TOKEN"] == "it's $ecret\nof two lines"
    (there.home / "environment").unlink()
    assert "$ecret" not in json.dumps(there.calls)
    kept = [*there.home.rglob("*"), *fetched.rglob("*")]
    assert not [file for file in kept if file.is_file() and b"$ecret" in file.read_bytes()]
    assert not [file for file in kept if file.name == "keys"]


def test_a_broken_connection_is_taken_up_again(there: Elsewhere, tmp_path: Path) -> None:
    go_on = tmp_path / "go on"
    there.train_by(
        f"echo '{ROW % 1}' >&2; until test -e '{go_on}'; do sleep 0.1; done; echo '{ROW % 2}' >&2\n"
        "mkdir -p ../../runs/out/model; echo done > ../../runs/out/model/config.txt"
    )
    parcel, output = pack(a_recipe(tmp_path)), tmp_path / "out"
    (there.home / "broken").touch()
    with pytest.raises(LinnetError, match=r"the connection was lost. The run continues there: the same"):
        train_there(parcel, output)
    (there.home / "broken").unlink()
    before = len(there.calls)
    told: list[str] = []
    rows = run_remote(Remote("me@gpu", parcel.name), parcel, output, notify=told.append)
    first = next(rows)
    go_on.touch()
    assert [first["step"], *(row["step"] for row in rows)] == [1, 2]
    assert told == ["linnet-out is running on me@gpu: attaching to it"]
    assert [call[0] for call in there.calls[before:] if call[0] in ("ssh", "rsync")] == ["ssh", "ssh", "rsync"]
    assert (output / "model" / "config.txt").read_text() == "done\n"


def test_a_training_that_fails_is_an_error_with_what_it_said(there: Elsewhere, tmp_path: Path) -> None:
    there.train_by("mkdir -p ../../runs/out; echo row > ../../runs/out/log.jsonl; echo 'linnet: no GPU' >&2; exit 3")
    parcel, told = pack(a_recipe(tmp_path)), []
    with pytest.raises(LinnetError, match="me@gpu: the training ended with an error"):
        list(run_remote(Remote("me@gpu", parcel.name), parcel, tmp_path / "out", notify=told.append))
    assert told[-1] == "no GPU"
    assert (tmp_path / "out" / "log.jsonl").read_text() == "row\n"
    there.train_by(f"echo '{ROW % 3}' >&2")
    assert [row["step"] for row in train_there(parcel, tmp_path / "out")[0]] == [3]


def test_breaking_off_here_leaves_it_running_there(there: Elsewhere, tmp_path: Path) -> None:
    there.train_by(f"echo '{ROW % 1}' >&2; sleep 60")
    parcel, told = pack(a_recipe(tmp_path)), []
    rows = run_remote(Remote("me@gpu", parcel.name), parcel, tmp_path / "out", notify=told.append)
    next(rows)
    rows.close()  # type: ignore[attr-defined]
    assert "the run continues on me@gpu" in told[-1]
    rows = run_remote(Remote("me@gpu", parcel.name), parcel, tmp_path / "out", notify=told.append)
    assert next(rows)["step"] == 1
    assert "linnet-out is running on me@gpu: attaching to it" in told
    rows.close()  # type: ignore[attr-defined]


def test_what_is_not_installed_is_said(there: Elsewhere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parcel = pack(a_recipe(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OptionError, match="ssh is not installed on this machine, and --remote needs it"):
        train_there(parcel, tmp_path / "out")


def test_each_command_is_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("MINE", "another")
    wheel = tmp_path / "linnet-0.1.0-py3-none-any.whl"
    wheel.touch()
    remote = Remote("me@gpu", "out", "/data/runs", 4, ("train", "wandb"), wheel, skip_bad=True)
    commands = plan_remote(remote, pack(a_recipe(tmp_path)), tmp_path / "out", ("HF_TOKEN", "WANDB_API_KEY", "MINE"))
    text = "\n".join(map(str, commands))
    assert [command.arguments[0] for command in commands] == ["ssh", "rsync", "rsync", "ssh", "ssh", "ssh", "rsync"]
    assert commands[1].arguments == (
        "rsync",
        "-a",
        f"{tmp_path}/out/remote/",
        str(wheel),
        "me@gpu:/data/runs/jobs/out/",
    )
    assert f"{wheel.name}[train,wandb]" in commands[3].arguments[-1]
    assert "stdin: HF_TOKEN, MINE" in text
    assert "secret" not in text + repr(commands)
    assert "another" not in text + repr(commands)
    assert commands[4].stdin == "export HF_TOKEN=secret\nexport MINE=another\n"
    assert "torch.distributed.run --nproc-per-node 4 -m linnet train recipe.yaml --skip-bad" in remote.job_script()
    plain = Remote("gpu", "out")
    assert f"linnet[train]=={linnet.__version__}" in plain.install().arguments[-1]
    assert "\n../../venv/bin/python -m linnet train recipe.yaml > result" in plain.job_script()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"host": "-oProxyCommand=touch x"}, "remote '-oProxyCommand=touch x': expected USER@HOST"),
        ({"host": "me@gpu; touch x"}, "expected USER@HOST"),
        ({"folder": "a b"}, "remote folder 'a b': expected a path of letters"),
        ({"folder": "$(touch x)"}, "expected a path of letters"),
        ({"folder": "-rf"}, "expected a path of letters"),
        ({"wheel": Path("no.whl")}, "no.whl: no such wheel"),
    ],
)
def test_what_could_be_read_as_something_else_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(OptionError) as error:
        Remote(**{"host": "gpu", "run": "out", **options})
    assert says in str(error.value)


def test_variables_that_are_not_there_or_no_names_are_refused(tmp_path: Path) -> None:
    parcel = pack(a_recipe(tmp_path))
    with pytest.raises(OptionError, match="forward: NOT_SET_HERE is not set in this environment"):
        plan_remote(Remote("gpu", "out"), parcel, tmp_path, ("NOT_SET_HERE",))
    with pytest.raises(OptionError, match="forward 'a b': expected the name"):
        Remote("gpu", "out").start({"a b": "x"})


def test_hostile_names_are_names(there: Elsewhere, tmp_path: Path) -> None:
    bad = "$(touch pwned) `touch pwned`;touch pwned\n\"'-rf"
    folder = tmp_path / bad
    folder.mkdir()
    tone_corpus(folder, 4)
    (folder / "0.wav").rename(folder / f"{bad}.wav")
    write_manifest(folder / "train.jsonl", [Utterance(f"{bad}.wav", "one", 0.2), Utterance("1.wav", "one", 0.2)])
    content = {"data": {"train": [{"path": str(folder / "train.jsonl")}]}, "run": {"output": str(tmp_path / bad)}}
    parcel = pack(build(SpeechRecipe, content, "test"))
    assert set(parcel.name) <= set("abcdefghijklmnopqrstuvwxyz-")
    there.train_by(
        f"mkdir -p ../../runs/{parcel.name}; cat train-0.jsonl > ../../runs/{parcel.name}/heard; echo '{ROW % 1}' >&2"
    )
    train_there(parcel, tmp_path / "out")
    job = there.home / "linnet" / "jobs" / parcel.name
    for utterance in read_manifest(job / "train-0.jsonl"):
        assert Path(utterance.audio).is_file()
    assert not list(tmp_path.rglob("pwned"))


def test_sources_become_manifests_and_folders_are_named_as_they_will_be_there(tmp_path: Path) -> None:
    whole, relative, other = (tone_corpus(tmp_path / name, 3).parent for name in ("whole", "relative", "other"))
    write_manifest(
        whole / "m.jsonl", [Utterance(str(other / "0.wav"), "one", 1.0), Utterance("https://a.b/c.wav", "two", 1.0)]
    )
    nemo = {"audio_filepath": "1.wav", "duration": 0.5, "text": "three", "lang": "de"}
    (relative / "nemo.json").write_text(json.dumps(nemo) + "\n")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    content = {
        "model": {
            "encoder": str(tmp_path / "model"),
            "language_model": "owner/name",
            "instruction": "Write it/all.",
        },
        "freeze": {"encoder": "frozen"},
        "losses": {"distill": {"teacher": str(tmp_path / "model")}},
        "data": {
            "train": [
                {"path": str(whole / "m.jsonl"), "language": "en"},
                {"path": "google/fleurs", "kind": "hub", "subset": "en_us"},
                {"path": f"nemo:{relative / 'nemo.json'}"},
            ],
            "validation": {"path": str(other / "train.jsonl")},
        },
        "run": {"output": str(tmp_path / "a.b:c"), "track": "wandb"},
    }
    parcel = pack(build(SpeechRecipe, content, "test"))
    sent = [str(other / f"{n}.wav") for n in range(3)]
    assert parcel.paths == sorted([str(tmp_path / "model"), *sent, str(relative / "1.wav")])
    assert parcel.size == sum(Path(path).stat().st_size for path in parcel.paths if Path(path).is_file()) + 2
    assert parcel.extras == ("train", "datasets", "wandb")
    train = parcel.recipe["data"]["train"]
    assert [spec["path"] for spec in train] == ["train-0.jsonl", "google/fleurs", "train-2.jsonl"]
    assert train[1]["subset"] == "en_us"
    assert parcel.recipe["data"]["validation"] == {"path": "validation.jsonl", "kind": "linnet"}
    first, second = parcel.manifests["train-0.jsonl"]
    assert (first.audio, first.language) == (f"../../files{other}/0.wav", "en")
    assert second.audio == "https://a.b/c.wav"
    assert [(u.text, u.language) for u in parcel.manifests["train-2.jsonl"]] == [("three", "de")]
    assert parcel.recipe["model"]["encoder"] == f"../../files{tmp_path}/model"
    assert parcel.recipe["losses"]["distill"]["teacher"] == f"../../files{tmp_path}/model"
    assert parcel.recipe["model"]["instruction"] == "Write it/all."
    assert parcel.recipe["run"]["output"] == "../../runs/a-b-c"
    again = yaml.safe_load(yaml.safe_dump(parcel.recipe))
    assert again.pop("task") == "speech"
    assert build(SpeechRecipe, again, "sent").freeze == {"encoder": "frozen"}


def test_sounds_that_are_missing_here_are_named(tmp_path: Path) -> None:
    recipe = a_recipe(tmp_path)
    (tmp_path / "corpus" / "3.wav").unlink()
    with pytest.raises(OptionError, match=r"train.jsonl: 1 audio files are missing: 3.wav. Fix them, or skip"):
        pack(recipe)
    assert len(pack(recipe, skip_bad=True).manifests["train-0.jsonl"]) == 7
