"""`linnet evaluate --streaming`: real streams of the embedded digits, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from linnet.audio.types import SAMPLE_RATE
from tests.support.calling import Call, make_call
from tests.support.digit_strings import real_strings


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    return make_call(monkeypatch, capsys)


@pytest.fixture
def corpus(tmp_path: Path, fsdd: Path) -> Path:
    """A string of six digits; its words share the time, which is enough for a lag of each."""
    path = tmp_path / "digits.jsonl"
    with path.open("w") as file:
        for number, (sound, text) in enumerate(real_strings(fsdd)[:1]):
            samples = np.concatenate([sound.samples, np.zeros(SAMPLE_RATE // 2, np.float32)])
            soundfile.write(tmp_path / f"{number}.wav", samples, SAMPLE_RATE)
            ends = np.linspace(0.0, len(sound.samples) / SAMPLE_RATE, 7)
            words = [
                {"word": word, "start": start, "end": end}
                for word, start, end in zip(text.split(), ends.tolist(), ends[1:].tolist(), strict=False)
            ]
            row = {"audio": f"{number}.wav", "text": text, "language": "en", "words": words, "speaker": str(number)}
            file.write(json.dumps(row) + "\n")
    return path


def test_a_model_is_streamed_and_its_rows_make_the_same_figures_again(call: Call, corpus: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    command = ["evaluate", corpus, "--model", "digits", "--streaming", "--json", "--engine", "torch", "--output", rows]
    command += ["--policy", "local-agreement-2", "--step", "1", "--normalizer", "digits"]
    first = json.loads(call(*command).out)
    stream = first["stream"]
    assert (stream["streams"], stream["timed"], stream["words"]) == (1, 1, 6)
    assert stream["lags"] == 6 - first["substitutions"] - first["deletions"]
    assert stream["final_wer"] == first["wer"]
    assert stream["wall"]["commit_lag"]["p50"] > stream["audio"]["commit_lag"]["p50"]
    assert stream["counters"]["decodes"] >= 2
    assert first["made_with"]["options"]["stream"]["policy"] == "local-agreement-2"
    again = json.loads(call(*command).out)
    assert again["stream"] == stream
    other = call(*command[:-2], "--policy", "commit")
    assert other.status != 0
    assert "was made with another stream" in other.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--policy", "commit"], "--policy needs --streaming: add it"),
        (["--align", "--chunk", "0.2"], "--chunk, --align need --streaming"),
        (["--streaming", "--hypotheses", "x.txt"], "--streaming plays recordings to a model"),
        (["--streaming", "--model", "faster-whisper:tiny"], "--streaming works with local models only"),
        (["--streaming", "--policy", "never"], "policy 'never' is unknown"),
        (["--streaming", "--chunk", "0"], "chunk must be from 0.001 to 30 seconds, got 0"),
        (["--streaming", "--step", "-1"], "step must be"),
    ],
)
def test_what_does_not_go_together_is_refused(call: Call, corpus: Path, arguments: list[str], said: str) -> None:
    done = call("evaluate", corpus, "--model", "digits", *arguments)
    assert done.status != 0
    assert said in done.err
