"""With real weights, block by block, both engines give what the masked encoder gives for the whole recording."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from linnet.audio.mel import LogMel, scale_causal
from linnet.audio.source import open_audio
from linnet.models.causal import CausalSpec, block_ends, encode_causal
from linnet.models.whisper import WhisperModel, load_whisper
from tests.support.real_weights import require_weights

BLOCKS = [30, 15, 15, 5, 50, 25, 25, 7, 40]


@pytest.fixture(scope="module")
def model() -> WhisperModel:
    return load_whisper(require_weights("tiny.en"), name="tiny.en")


def _torch(module: Any, model: WhisperModel) -> Any:
    from linnet.engines.torch.causal import TorchCausalEngine

    return TorchCausalEngine(model)


def _openvino(module: Any, model: WhisperModel) -> Any:
    from linnet.engines.openvino.causal import open_causal
    from linnet.engines.openvino.formats import Precision

    return open_causal(module, Precision("f32", "f32"), label="f32", threads=1)


@pytest.mark.parametrize(("make", "tolerance"), [(_torch, 1e-5), (_openvino, 1e-4)], ids=["torch", "openvino"])
def test_real_weights_block_by_block(
    model: WhisperModel, make: Callable[[Any, WhisperModel], Any], tolerance: float, clips: Path
) -> None:
    engine = make(model.module, model)
    with open_audio(str(clips / "jfk.flac")) as source:
        samples = source.read(0, 16000 * 5)
    mel, _ = scale_causal(LogMel(80).finish(samples), CausalSpec(base="tiny.en").speech_peak)
    count = sum(BLOCKS)
    ends = torch.as_tensor(block_ends(count + 1, BLOCKS))
    tokens = model.vocabulary.tokenizer(" And so my fellow Americans, ask not", add_special_tokens=False)["input_ids"]
    fed = [model.vocabulary.start, model.vocabulary.no_timestamps, *tokens]
    with torch.no_grad():
        whole = encode_causal(model.module.model.encoder, torch.as_tensor(mel[: 2 * count + 1])[None], ends)
        hidden = model.module.model.decoder(torch.tensor([fed]), encoder_hidden_states=whole[:, :count])
        want = model.module.proj_out(hidden.last_hidden_state)[0].numpy()
    memory, frame = engine.begin(), 0
    for block in BLOCKS:
        engine.encode(memory, mel[2 * frame + (frame > 0) : 2 * (frame + block) + 1])
        frame += block
    got = np.asarray(engine.feed(engine.start([memory]), [fed], [range(len(fed))]))
    assert np.abs(got - want).max() <= tolerance * np.abs(want).max()
