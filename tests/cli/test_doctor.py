"""`linnet doctor` tells what is here, what is missing and how to get it."""

from __future__ import annotations

import json
import os
from importlib import metadata
from pathlib import Path

import pytest

import linnet
from linnet.cli import doctor as module
from linnet.cli.doctor import Finding
from linnet.machine import cpu_flags, free_memory
from linnet.models.resolve import embedded_names
from tests.support.hub_cache import linnet as run_linnet


def test_the_report_as_json(tmp_path: Path) -> None:
    for name in embedded_names():
        linnet.load(name, device="cpu")  # converts it here, where the libraries are loaded already
    done = run_linnet("doctor", "--json", cache=tmp_path, LINNET_CACHE=os.environ["LINNET_CACHE"])
    report = json.loads(done.stdout)
    found = {(f["section"], f["name"]): f for f in report["findings"]}
    assert found["versions", "torch"]["status"] == "ok"
    assert "float32" in found["devices", "cpu"]["value"]
    assert found["models", "default"]["fix"].startswith("linnet models pull openai/whisper-")
    assert str(tmp_path) in found["models", "cache"]["value"]
    assert any("wav flac ogg" in f["value"] for f in report["findings"])
    works = bool(embedded_names()) and found["transcription", "digits"]["status"] == "ok"
    assert report["works"] == works
    assert done.returncode == (0 if works else 1)


def test_the_report_names_each_remedy(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    findings = [
        Finding("versions", "torch", "ok", "2"),
        Finding("versions", "av", "missing", "not installed", 'pip install "linnet[av]"'),
        Finding("models", "embedded", "ok", "digits"),
    ]
    monkeypatch.setattr(module, "examine", lambda: findings)
    module.doctor(as_json=False)
    out = capsys.readouterr().out.splitlines()
    assert out[:4] == ["versions", "   torch     2", " - av        not installed", "models"]
    assert out[-1] == '   av        pip install "linnet[av]"'


def test_what_is_not_installed_has_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    version = metadata.version

    def missing(package: str) -> str:
        if package == "linnet":
            return version(package)
        raise metadata.PackageNotFoundError(package)

    monkeypatch.setattr(metadata, "version", missing)
    fixes = {finding.name: (finding.status, finding.fix) for finding in module.versions()}
    assert fixes["av"] == ("missing", 'pip install "linnet[av]"')
    assert fixes["torch"] == ("failed", "pip install torch")


def test_a_wrong_default_model_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINNET_MODEL", "nonsense")
    last = list(module.models())[-1]
    assert (last.name, last.status) == ("default", "missing")
    assert "no model 'nonsense'" in last.value


def test_facts_of_the_machine() -> None:
    assert isinstance(cpu_flags(), list)
    free = free_memory()
    assert free is None or free > 0
