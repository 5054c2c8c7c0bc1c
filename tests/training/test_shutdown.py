"""How runs of several processes end: one that dies, one that fails, a full disk, too little memory, Ctrl-C."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from linnet.errors import LinnetError
from linnet.training.checkpoint import list_checkpoints, load_checkpoint
from linnet.training.context import RunContext
from linnet.training.loop import run_recipe, train
from linnet.training.recipe import read_recipe
from linnet.training.shutdown import LostProcessError, Signals, StoppedError, together
from linnet.training.speech.model import load_task
from linnet.training.speech.recipe import SpeechRecipe
from linnet.training.speech.run import prepare
from tests.support.ranks import on_ranks
from tests.support.tiny_fusion import one_thread
from tests.support.tiny_recipes import fusion_recipe, save_bases, tone_corpus, write_recipe

COUNT = 23
SECONDS = 180  # within these all processes have ended


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Path], Path]:
    folder = tmp_path_factory.mktemp("corpus")
    return save_bases(folder), tone_corpus(folder / "corpus", COUNT)


@pytest.fixture
def recipe(corpus: tuple[dict[str, Path], Path], tmp_path: Path) -> Path:
    return recipe_at(tmp_path, *corpus)


def recipe_at(folder: Path, bases: dict[str, Path], manifest: Path, **changes: dict[str, Any]) -> Path:
    given = {
        "optimization": {"steps": 100_000},
        "run": {"checkpoint_every": 1, "validate_every": 200_000},
        "data": {"batching": {"budget": 2.0, "groups": 3}},
    }
    content = fusion_recipe(bases, manifest, folder / "out", **{**given, **changes})
    return write_recipe(folder / "recipe.yaml", content)


def read(path: Path) -> SpeechRecipe:
    recipe = read_recipe(path)
    assert isinstance(recipe, SpeechRecipe)
    return recipe


# --- for real, with signals


@contextmanager
def two_processes(recipe: Path) -> Iterator[subprocess.Popen[str]]:
    """`linnet train --processes 2`, once it has made three steps."""
    command = [sys.executable, "-m", "linnet", "train", str(recipe), "--processes", "2"]
    log, end = recipe.parent / "out" / "log.jsonl", time.monotonic() + SECONDS
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            while not log.is_file() or len(log.read_text().splitlines()) < 3:
                assert process.poll() is None, process.communicate()[1]
                assert time.monotonic() < end, "no steps are made"
                time.sleep(0.05)
            yield process
        finally:
            process.kill()


def children(process: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process)], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]


def told(text: str) -> list[str]:
    """What was said beside the rows of the log."""
    return [line for line in text.splitlines() if not line.startswith("{")]


def test_a_process_that_is_killed_ends_all_in_a_sentence(recipe: Path) -> None:
    with two_processes(recipe) as process:
        ranks = children(process.pid)
        assert len(ranks) == 2
        os.kill(ranks[1], signal.SIGKILL)
        _, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 1
    assert "Traceback" not in said
    assert sum("another process of this run has ended" in line for line in told(said)) == 1
    assert told(said)[-1].endswith(" of 2 was ended by SIGKILL")
    assert not any(Path(f"/proc/{rank}").exists() for rank in ranks)
    assert load_checkpoint(recipe.parent / "out" / "checkpoints") is not None


# --- in forked ranks


def command(recipe: Path) -> tuple[Any, list[str]]:
    """`linnet train` on this rank: its exit status, and what it says."""
    from linnet.cli import main

    place = recipe.parent / "attempt_0" / os.environ["RANK"]  # as torchrun has them
    place.mkdir(parents=True)
    os.environ["TORCHELASTIC_ERROR_FILE"] = str(place / "error.json")
    sys.argv = ["linnet", "train", str(recipe)]
    said = io.StringIO()
    with contextlib.redirect_stderr(said), pytest.raises(SystemExit) as end:
        main()
    return end.value.code, told(said.getvalue())


def interrupted(recipe: Path) -> tuple[Any, list[str]]:
    """The same with Ctrl-C some time after the first step of the run."""

    def press() -> None:
        log = recipe.parent / "out" / "log.jsonl"
        while not log.is_file() or not log.stat().st_size:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()
    return command(recipe)


def test_ctrl_c_keeps_the_last_step_of_all(recipe: Path) -> None:
    ranks = on_ranks(2, interrupted, recipe, timeout=SECONDS)
    assert [status for status, _ in ranks] == [130, 130]
    last = json.loads((recipe.parent / "out" / "log.jsonl").read_text().splitlines()[-1])["step"]
    assert [line for _, lines in ranks for line in lines if "are kept" not in line] == [
        "linnet: stopping after this step; once more stops at once",
        f"linnet: stopped at step {last} of 100000: the same command resumes from there",
    ]
    assert list_checkpoints(recipe.parent / "out" / "checkpoints")[-1].name == f"step-{last:08d}"


def test_an_error_of_one_process_is_told_once_and_ends_all(
    corpus: tuple[dict[str, Path], Path], tmp_path: Path
) -> None:
    manifest = tone_corpus(tmp_path / "corpus", COUNT)
    (manifest.parent / "7.wav").write_bytes(b"no sound at all")  # one of the two comes to it
    ranks = on_ranks(2, command, recipe_at(tmp_path, corpus[0], manifest), timeout=SECONDS)
    assert [status for status, _ in ranks] == [1, 1]
    said = [line for _, lines in ranks for line in lines if "are kept" not in line]
    assert len(said) == 1
    assert "7.wav" in said[0]
    assert "--skip-bad" in said[0]


def full_disk(recipe: Path) -> str:
    """The disk is full at the third checkpoint."""
    write, written = torch.save, list[Any]()

    def full(state: Any, file: Any) -> None:
        written.append(state)
        if len(written) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(state, file)

    torch.save = full  # type: ignore[assignment]
    try:
        list(run_recipe(read(recipe)))
    except LinnetError as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


def test_a_full_disk_ends_all_and_the_newest_checkpoint_stays(recipe: Path) -> None:
    first, second = on_ranks(2, full_disk, recipe, timeout=SECONDS)
    assert first.startswith("OutputError: ")
    assert "No space left" in first
    assert second.startswith("LostProcessError: another process of this run has ended")
    left = sorted(path.name for path in (recipe.parent / "out" / "checkpoints").iterdir())
    assert left == ["step-00000001", "step-00000002"]


def cramped(recipe: Path, ranks: tuple[int, ...], most: int) -> dict[str, Any]:
    """An epoch in which batches of more than `most` utterances do not fit into the memory of some ranks."""
    trainer, data, _ = prepare(read(recipe), load_task(read(recipe)))
    forward, update, taken = trainer.loss.forward, trainer.update, list[list[str]]()

    def tight(tensors: dict[str, torch.Tensor]) -> Any:
        if trainer.rank in ranks and len(tensors["labels"]) > most:
            raise torch.OutOfMemoryError("no room")
        return forward(tensors)

    def counted(window: Any) -> Any:
        step = update(window)
        taken.append([name for batch in window for name in batch.ids])
        return step

    trainer.loss.forward, trainer.update = tight, counted  # type: ignore[method-assign]
    rows = list(train(trainer, data))
    weight = trainer.task.model.projector.last.weight  # type: ignore[union-attr]
    said = [text for row in rows for text in row.get("out_of_memory", [])]
    return {"taken": taken, "said": said, "weight": weight.tolist()}  # type: ignore[operator]


def test_one_process_that_runs_out_of_memory_shrinks_the_bin_of_all(
    corpus: tuple[dict[str, Path], Path], tmp_path: Path
) -> None:
    recipe = recipe_at(
        tmp_path, *corpus, optimization={"steps": 9, "accumulate": 2}, data={"batching": {"budget": 3.0, "groups": 2}}
    )
    ranks = on_ranks(2, cramped, recipe, (1,), 2, timeout=SECONDS)
    assert ranks[0]["said"]
    assert all("now, not of" in text for text in ranks[0]["said"])
    assert ranks[0]["weight"] == ranks[1]["weight"]
    steps = [one + other for one, other in zip(ranks[0]["taken"], ranks[1]["taken"], strict=True)]
    names = [name for step in steps for name in step]
    assert len(set(names[:COUNT])) == COUNT, "each once, before any comes again"
    assert all(len(step) <= 4 for step in ranks[1]["taken"])


def test_more_processes_than_a_bin_has_utterances(corpus: tuple[dict[str, Path], Path], tmp_path: Path) -> None:
    """Bins of two utterances on average, three processes."""
    recipe = recipe_at(
        tmp_path, *corpus, optimization={"epochs": 1.0, "steps": 0}, data={"batching": {"budget": 4.0, "groups": 12}}
    )
    ranks = on_ranks(3, cramped, recipe, (), 0, timeout=SECONDS)
    names = [name for rank in ranks for step in rank["taken"] for name in step]
    assert sorted(names) == sorted(f"{number}.wav" for number in range(COUNT))
    assert all(rank["weight"] == ranks[0]["weight"] for rank in ranks)


# --- one process


def test_a_run_stops_when_it_is_asked_and_goes_on(recipe: Path) -> None:
    answers = iter([False, False, True])
    with one_thread(), pytest.raises(StoppedError, match="stopped at step 3 of 100000"):
        list(run_recipe(read(recipe), RunContext(stop=lambda: next(answers))))
    assert list_checkpoints(recipe.parent / "out" / "checkpoints")[-1].name == "step-00000003"
    with one_thread():
        assert next(iter(run_recipe(read(recipe))))["step"] == 4
    assert not (recipe.parent / "out" / "model").exists()


@pytest.fixture
def _ctrl_c_interrupts() -> Iterator[None]:
    """As at a terminal, also where a shell started the tests in the background, which ignores Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_ctrl_c_interrupts")
def test_the_first_signal_is_a_wish_and_the_second_is_not() -> None:
    heard: list[str] = []
    with Signals(heard.append) as stop:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)  # nothing is under way yet
        assert not stop()
        signal.raise_signal(signal.SIGINT)
        assert stop()
        assert heard == ["stopping after this step; once more stops at once"]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_only_what_a_lost_process_causes_is_said_so() -> None:
    with pytest.raises(LostProcessError), together():
        raise torch.distributed.DistBackendError("the connection was lost")
    with pytest.raises(RuntimeError, match="shapes"), together():
        raise RuntimeError("shapes")
