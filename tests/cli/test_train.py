"""`linnet train`: recipes of speech models, dry runs, batches compared, curves drawn; in this process."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.support.calling import Call, make_call
from tests.support.tiny_fusion import one_thread
from tests.support.tiny_recipes import fusion_recipe, save_bases, tone_corpus, write_recipe

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    return make_call(monkeypatch, capsys)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    pytest.importorskip("accelerate", reason="the extra `train` is not installed")
    bases, manifest = save_bases(tmp_path), tone_corpus(tmp_path / "corpus", 16)
    return write_recipe(tmp_path / "recipe.yaml", fusion_recipe(bases, manifest, tmp_path / "out"))


def test_a_recipe_is_trained_and_its_curves_are_drawn(call: Call, recipe: Path, tmp_path: Path) -> None:
    with one_thread():
        done = call("train", recipe)
    assert done.status == 0, done.err
    assert done.out == f"{tmp_path / 'out' / 'best'}\n"
    rows = [json.loads(line) for line in done.err.splitlines() if line.startswith("{")]
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row["step"] for row in rows if "wer" in row] == [3, 6]
    assert all(
        row[key] >= 0
        for row in rows
        for key in ("loss", "audio_padding", "tokens_per_second", "memory_gb", "seconds_left")
    )
    assert "linnet: 16 utterances are kept" in done.err.splitlines()
    drawn = call("train", "plot", tmp_path / "out")
    assert drawn.out == f"{tmp_path / 'out' / 'curves.png'}\n", drawn.err
    assert (tmp_path / "out" / "curves.png").read_bytes().startswith(b"\x89PNG")
    both = call("train", "plot", tmp_path / "out", tmp_path / "out" / "log.jsonl", "--output", tmp_path / "two.svg")
    assert both.out == f"{tmp_path / 'two.svg'}\n"
    texts = [element.text for element in ET.parse(tmp_path / "two.svg").getroot().iter(f"{SVG}text")]
    assert {"2 runs", str(tmp_path / "out"), "word error rate, %", "peak memory, GB"} <= set(texts)


def test_a_dry_run_counts_and_trains_nothing(call: Call, recipe: Path, tmp_path: Path) -> None:
    done = call("train", recipe, "--dry-run")
    assert done.status == 0, done.err
    rows = dict(line.split(maxsplit=1) for line in done.out.splitlines() if not line.startswith(" "))
    assert rows["parameters"] == "1,328 trained, 16,720 frozen"
    assert rows["steps"].endswith("epochs")
    assert rows["compute"].endswith("a step on average")
    assert "estimated time" in done.out
    assert not (tmp_path / "out").exists()


def test_a_dry_run_elsewhere_prints_the_commands(
    call: Call, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    done = call("train", recipe, "--remote", "me@gpu", "--processes", 2, "--dry-run")
    assert done.status == 0, done.err
    commands = [shlex.split(line) for line in done.out.splitlines() if line and not line.startswith("#")]
    assert [command[:1] for command in commands] == [
        [name] for name in ["ssh", "rsync", "rsync", "ssh", "ssh", "ssh", "rsync"]
    ]
    assert commands[-1][:3] == ["rsync", "-a", "--exclude=/checkpoints"]
    assert commands[-1][-2:] == ["me@gpu:linnet/runs/out/", f"{tmp_path}/out/"]
    assert "stdin: HF_TOKEN" in done.out
    assert "secret" not in done.out + done.err
    assert not (tmp_path / "out").exists()
    refused = call("train", recipe, "--remote=-oProxyCommand=true")
    assert refused.status == 1
    assert "expected USER@HOST" in refused.err


def test_a_dry_run_says_what_is_missing(call: Call, recipe: Path, tmp_path: Path) -> None:
    recipe.write_text(recipe.read_text().replace(str(tmp_path / "corpus"), str(tmp_path / "nowhere")))
    done = call("train", recipe, "--dry-run")
    assert done.status == 1
    assert "parameters        1,328 trained, 16,720 frozen" in done.out
    assert "data              missing: " in done.out
    assert "the recipe is valid, but its data is missing" in done.err


def test_missing_audio_is_named_and_can_be_left_out(call: Call, recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "corpus" / "3.wav").unlink()
    done = call("train", recipe)
    assert done.status == 1
    assert "1 missing audio: 3.wav" in done.err
    assert "Traceback" not in done.err
    done = call("train", recipe, "--dry-run", "--skip-bad")
    assert done.status == 0
    assert "1 missing audio: 3.wav" in done.out


def test_ways_of_batching_are_compared(call: Call, tmp_path: Path) -> None:
    manifest = tone_corpus(tmp_path / "corpus", 30)
    done = call("train", "bench-batching", manifest, "--budget", "5", "--picture", tmp_path / "waste.svg")
    assert done.status == 0, done.err
    lines = done.out.splitlines()
    assert len(lines) == 6
    assert lines[0].split("  ")[0] == "batches"
    assert len({len(line) for line in lines}) == 1
    texts = [element.text for element in ET.parse(tmp_path / "waste.svg").getroot().iter(f"{SVG}text")]
    assert "audio padding, %" in texts
    rows = json.loads(call("train", "bench-batching", manifest, "--budget", "5", "--json").out)["rows"]
    assert [row["name"] for row in rows][::4] == ["random, fixed size", "packed"]


def test_a_picture_of_another_kind_is_refused_before_the_work(call: Call, tmp_path: Path) -> None:
    for command in (("bench-batching", tmp_path / "none.jsonl", "--picture"), ("plot", tmp_path, "--output")):
        done = call("train", *command, "a.pdf")
        assert done.status == 1
        assert "a.pdf: pictures are PNG or SVG" in done.err


def test_a_run_without_a_log_is_named(call: Call, tmp_path: Path) -> None:
    done = call("train", "plot", tmp_path)
    assert done.status == 1
    assert "log.jsonl: cannot read the log of a run" in done.err
    (tmp_path / "log.jsonl").write_text('{"step": 1, "loss": 1.0}\nnonsense\n')
    assert "log.jsonl, line 2: not a row of a run's log" in call("train", "plot", tmp_path).err
