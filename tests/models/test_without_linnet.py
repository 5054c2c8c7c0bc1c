"""Folders of fusion models and of low-rank ones are loaded by Transformers alone, with the code that lies in them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSpeechSeq2Seq

from tests.support.low_rank_models import load, save_compressed_whisper
from tests.support.tiny_fusion import clips, one_thread, save_all, trained_fusion
from tests.support.tiny_whispers import random_features

_ALONE = """
import json, sys
sys.modules["linnet"] = None  # as where it is not installed
import numpy as np
import torch
from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor, pipeline
root, said = sys.argv[1], {}

folder = root + "/fusion"
sound = np.random.default_rng(0).standard_normal(8000).astype("float32") * 0.1
options = {"num_beams": 2, "max_new_tokens": 7}
said["pipeline"] = pipeline("automatic-speech-recognition", folder, trust_remote_code=True)(sound, **options)["text"]
model = AutoModelForSpeechSeq2Seq.from_pretrained(folder, trust_remote_code=True)
processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
answer = model.generate(**processor(sound), **options)
said["model"] = processor.decode(answer[0], skip_special_tokens=True)
said["module"] = type(model).__module__

folder, told = root + "/low", torch.load(root + "/told.pt")
model = AutoModelForSpeechSeq2Seq.from_pretrained(folder, trust_remote_code=True, dtype=torch.float32).eval()
with torch.no_grad():
    logits = model(input_features=told["features"], decoder_input_ids=told["ids"]).logits
    said["equal"] = torch.equal(logits, told["logits"])
    said["rows"] = model.generate(told["features"], max_new_tokens=5).shape[0]
model.save_pretrained(root + "/again")
try:
    AutoModelForSpeechSeq2Seq.from_pretrained(folder, trust_remote_code=False)
except ValueError as error:
    said["refused"] = str(error)
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders `fusion` and `low`, and what the second is to answer."""
    root = tmp_path_factory.mktemp("alone")
    model, processor = trained_fusion(save_all(root / "bases", ("hubert", "qwen3")))
    model.save_pretrained(root / "fusion")
    processor.save_pretrained(root / "fusion")
    low, _ = save_compressed_whisper(root, seed=1)
    features = random_features(2).transpose(1, 2)
    ids = torch.randint(0, 300, (2, 7), generator=torch.Generator().manual_seed(3))
    torch.save({"features": features, "ids": ids, "logits": logits(low, features, ids)}, root / "told.pt")
    return root


@torch.no_grad()
def logits(model: Any, features: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = model(input_features=features, decoder_input_ids=ids).logits
    return found


@pytest.fixture(scope="module")
def said(root: Path) -> dict[str, Any]:
    """What one fresh Python tells of both: it takes seconds to load PyTorch and Transformers."""
    environment = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(root / "home"), "PATH": "", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", _ALONE, str(root)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_a_fusion_model_and_its_pipeline(root: Path, said: dict[str, Any]) -> None:
    from transformers import AutoProcessor

    with one_thread():
        model, processor = (
            load(root / "fusion", AutoModelForSpeechSeq2Seq),
            AutoProcessor.from_pretrained(root / "fusion"),
        )
        (answer,) = model.generate(**processor(clips()[0]), num_beams=2, max_new_tokens=7)
    text = processor.decode(answer, skip_special_tokens=True)
    assert said["pipeline"] == said["model"] == text
    assert said["module"].startswith("transformers_modules.")


def test_a_low_rank_model_which_is_saved_with_its_code(root: Path, said: dict[str, Any]) -> None:
    assert said["equal"]
    assert said["rows"] == 2
    assert "trust_remote_code=True" in said["refused"] or "linnet_low_rank" in said["refused"]
    assert (root / "again" / "modeling_linnet_low_rank.py").is_file()
    told = torch.load(root / "told.pt")
    again = load(root / "again", AutoModelForSpeechSeq2Seq)
    assert torch.equal(logits(again, told["features"], told["ids"]), told["logits"])
