"""The demo's sentences are heard as the README shows."""

from __future__ import annotations

import json
from pathlib import Path

import jiwer
from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

import linnet
from tests.support.real_weights import require_weights


def test_tiny_en_hears_the_sentences(root: Path) -> None:
    """At most 6 % of 154 words wrong; with int8 it was Oslo ("us low"), thistle ("fissile"), nobody ("no body")."""
    recognizer = linnet.load(str(require_weights("tiny.en")), device="cpu", engine="torch", compute_type="float32")
    rows = [json.loads(line) for line in (root / "examples" / "speech.jsonl").read_text().splitlines()]
    normalize = EnglishTextNormalizer({})
    heard = [recognizer.transcribe(root / "examples" / row["audio"]).text for row in rows]
    rate = jiwer.wer([normalize(row["text"]) for row in rows], [normalize(text) for text in heard])
    assert rate <= 0.06, heard
