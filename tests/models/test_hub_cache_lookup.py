"""Looking up a model in the Hub's cache gives what huggingface_hub gives, without its imports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants, try_to_load_from_cache
from huggingface_hub.errors import HFValidationError

from linnet.models import hub
from tests.support.hub_cache import COMMIT, add_to_cache, model_files, write_files


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    snapshot = add_to_cache(tmp_path, "acme/ears", model_files())
    write_files(snapshot.parent.parent / "refs", {"refs/pr/1": COMMIT.encode()})
    (tmp_path / "models--acme--empty" / "snapshots").mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize(
    "name", ["acme/ears", "acme/empty", "acme/none", "acme/../acme--ears", "../acme--ears", "a b/c"]
)
@pytest.mark.parametrize("revision", [None, "main", "refs/pr/1", COMMIT, "0" * 40, "other"])
def test_the_same_as_the_hubs_own_search(cache: Path, name: str, revision: str | None) -> None:
    try:
        found = try_to_load_from_cache(name, "config.json", revision=revision)
    except HFValidationError:
        found = None
    theirs = Path(found).parent if isinstance(found, str) else None
    assert hub.cached(name, revision) == theirs
    assert name != "acme/ears" or revision in ("0" * 40, "other") or theirs is not None


def test_no_revision_leads_out_of_the_folder_of_refs(cache: Path) -> None:
    assert hub.cached("acme/ears", "../refs/main") is None


def test_it_imports_little(cache: Path) -> None:
    look = "from linnet.models import hub; hub.cached('acme/ears')"
    code = f"import sys; {look}; print('huggingface_hub.file_download' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
