"""Sound behind the end that a header tells of: not read, but never passed over without a word."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from linnet.audio import open_audio

RATE = 16_000


def sound(path: Path, seconds: float = 2.0, **options: str) -> bytes:
    samples = np.random.default_rng(0).normal(0, 0.1, round(seconds * RATE))
    soundfile.write(path, samples, RATE, **options)
    return path.read_bytes()


def told(path: Path) -> list[str]:
    with open_audio(path) as source:
        source.read(0, 2**40)
        return [notice for notice in source.notices if "bytes after the end" in notice]


@pytest.mark.parametrize("suffix", ["wav", "flac", "aiff", "w64", "caf", "rf64"])
def test_a_whole_file_has_nothing_left_over(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    sound(path)
    assert told(path) == []


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_two_files_joined(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    data = sound(path)
    path.write_bytes(data + data)
    (notice,) = told(path)
    assert notice.startswith(f"{len(data):,} bytes after the end")


def test_headers_that_promise_too_little(tmp_path: Path) -> None:
    data = bytearray(sound(tmp_path / "a.wav"))
    at = data.index(b"data") + 4
    data[at : at + 4] = (1000).to_bytes(4, "little")
    (tmp_path / "a.wav").write_bytes(data)
    assert told(tmp_path / "a.wav")[0].startswith("63,000 bytes")
    data = bytearray(sound(tmp_path / "b.flac"))
    data[21] &= 0xF0  # of the 36 bits that tell how many samples there are
    data[22:26] = (2000).to_bytes(4, "big")
    (tmp_path / "b.flac").write_bytes(data)
    assert len(told(tmp_path / "b.flac")) == 1


def test_chunks_after_the_sound_are_no_sound(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    data = sound(path)
    path.write_bytes(data + b"LIST" + (20_000).to_bytes(4, "little") + bytes(20_000))
    assert told(path) == []


def test_a_chunk_behind_the_sound_that_claims_more_than_a_disk_holds(tmp_path: Path) -> None:
    path = tmp_path / "a.caf"
    data = sound(path)
    path.write_bytes(data + b"free" + (2**63 - 1).to_bytes(8, "big") + bytes(20_000))
    assert told(path) == []
