"""Write the trained model as an ordinary Whisper folder of transformers, whole or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration, WhisperProcessor

from linnet.training.digits.tokens import WINDOW, make_tokenizer


def export(model: WhisperForConditionalGeneration, folder: Path) -> Path:
    """Save float32 weights, configuration, generation settings and processor into `folder`.

    What already lies there under other names (a card) stays. The files are written beside the folder and moved.
    """
    staging = folder.with_name(f".{folder.name}.export")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    model = model.to("cpu", torch.float32).eval()
    model.config.dtype = torch.float32
    model.save_pretrained(staging)
    extractor = WhisperFeatureExtractor(feature_size=model.config.num_mel_bins, chunk_length=round(WINDOW))
    WhisperProcessor(extractor, make_tokenizer()).save_pretrained(staging)
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(staging.iterdir()):
        path.chmod(0o644)
        path.replace(folder / path.name)
    staging.rmdir()
    return folder
