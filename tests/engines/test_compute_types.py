"""Fewer bits do not cost words: the embedded model's word error rate in each compute type."""

from __future__ import annotations

from pathlib import Path

import jiwer
import pytest

import linnet
from linnet.engines.openvino.runtime import has_bf16
from tests.support.digit_strings import heard, real_strings

POINTS = 0.2  # of word error rate, in percent


@pytest.mark.parametrize("compute_type", ["f32", "bf16", "int8"])
def test_word_errors_on_real_recordings(fsdd: Path, compute_type: str) -> None:
    if compute_type == "bf16" and not has_bf16():
        pytest.skip("this CPU has no bfloat16")
    reference = [text for _, text in real_strings(fsdd)]
    exact = heard("torch", "f32", fsdd)
    got = heard("openvino", compute_type, fsdd)
    if compute_type == "f32":
        assert got == exact
    assert 100 * abs(jiwer.wer(reference, got) - jiwer.wer(reference, exact)) <= POINTS


@pytest.mark.parametrize("compute_type", ["f32", "bf16", "int8"])
def test_the_examples_are_heard_as_by_torch(root: Path, compute_type: str) -> None:
    """Synthetic strings in five languages, and one of several windows."""
    if compute_type == "bf16" and not has_bf16():
        pytest.skip("this CPU has no bfloat16")
    torch_engine = linnet.load("digits", device="cpu", engine="torch")
    openvino_engine = linnet.load("digits", device="cpu", engine="openvino", compute_type=compute_type, threads=1)
    for path in sorted((root / "examples").glob("digits-*.flac")):
        want, got = (each.transcribe(path) for each in (torch_engine, openvino_engine))
        assert got.language == want.language
        assert got.text == want.text
