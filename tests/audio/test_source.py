"""Reading: formats, channels, arrays, streams, and that streaming equals the whole."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from linnet.audio import SAMPLE_RATE, Audio, load, open_audio
from linnet.errors import AudioError, MissingExtra, OptionError
from tests.support.sounds import CLIPS, speechlike, write, write_container

EVERYTHING = 2**50


def oracle(path: str) -> np.ndarray:
    """The whole file by soundfile, the mean of its channels by soxr at once."""
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return soxr.resample(samples.mean(axis=1), rate, SAMPLE_RATE, "HQ")


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000, 96000])
def test_streaming_equals_whole_for_every_rate(tmp_path: Path, rate: int) -> None:
    path = write(tmp_path / "a.wav", np.stack([speechlike(3.1, rate), speechlike(3.1, rate, 1)], 1), rate)
    with open_audio(path) as source:
        parts = [source.read(start, 7001) for start in range(0, 60_000, 7001)]
    assert source.notices == ()
    np.testing.assert_allclose(np.concatenate(parts), oracle(path), atol=1e-6, strict=True)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.ogg", "a.opus", "a.aiff", "a.au", "a.caf", "a.w64"])
def test_formats_of_soundfile(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, speechlike(4, 48000), 48000)
    with open_audio(path) as source:
        assert source.name == path
        assert source.duration == pytest.approx(4, abs=0.1)
        samples = source.read(0, EVERYTHING)
        assert source.duration == len(samples) / SAMPLE_RATE
    assert samples.dtype == np.float32
    np.testing.assert_allclose(samples, oracle(path), atol=1e-6, strict=True)


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", "aac"),
        ("a.m4a", "aac"),
        ("a.aac", "aac"),
        ("a.mkv", "libopus"),
        ("a.webm", "libopus"),
        ("a.mov", "alac"),
    ],
)
def test_formats_of_pyav(tmp_path: Path, name: str, codec: str) -> None:
    pytest.importorskip("av", reason="PyAV (the extra av) is not installed")
    sound = speechlike(4, 48000)
    samples = load(write_container(tmp_path / name, sound, 48000, codec)).samples
    expected = soxr.resample(sound, 48000, SAMPLE_RATE)
    assert len(samples) == pytest.approx(len(expected), abs=2048)
    shift = int(np.argmax(np.correlate(samples[:40_000], expected[2000:30_000], "valid"))) - 2000
    assert abs(shift) < 2048  # the encoder's delay, at most two frames
    both = min(len(samples) - shift, len(expected)) - 4000
    assert np.corrcoef(samples[shift + 4000 : shift + both], expected[4000:both])[0, 1] > 0.98


@pytest.mark.parametrize("channels", [7, 8, 9, 12])
def test_many_planes_by_pyav(tmp_path: Path, channels: int) -> None:
    pytest.importorskip("av", reason="PyAV (the extra av) is not installed")
    sound = np.stack([speechlike(2, 16000) * (part + 1) / channels for part in range(channels)], 1)
    path = write_container(tmp_path / "many.mkv", sound, 16000, "wavpack")  # 8 bit planes
    for channel in range(channels):
        assert np.abs(load(path, channel=str(channel)).samples - sound[:, channel]).max() < 0.005
    np.testing.assert_allclose(load(path).samples, sound.mean(axis=1), atol=0.005)


def test_without_pyav_an_error_names_file_and_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "talk.m4a"
    path.write_bytes(b"\0\0\0\x20ftypM4A " + bytes(range(256)) * 4)
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.delitem(sys.modules, "linnet.audio.containers", raising=False)
    with pytest.raises(MissingExtra, match=r"talk\.m4a: mp4/m4a audio needs .* pip install \"linnet\[av\]\""):
        load(path)
    (tmp_path / "odd.xyz").write_bytes(bytes(range(256)))
    with pytest.raises(AudioError, match=r"odd\.xyz: cannot be decoded .*linnet\[av\]"):
        load(tmp_path / "odd.xyz")


@pytest.mark.skipif(not CLIPS.exists(), reason="the shared clips are not beside the project")
@pytest.mark.parametrize("path", sorted(CLIPS.glob("*.*")), ids=lambda path: path.name)
def test_real_clips(path: Path) -> None:
    if path.suffix == ".mp4":
        pytest.importorskip("av", reason="PyAV (the extra av) is not installed")
        assert load(path).duration == pytest.approx(5.312)
    else:
        np.testing.assert_allclose(load(path).samples, oracle(str(path)), atol=1e-6, strict=True)


def test_channels(tmp_path: Path) -> None:
    levels = np.linspace(-0.5, 0.45, 20, dtype=np.float32)
    path = write(tmp_path / "many.wav", np.tile(levels, (16000, 1)), 16000, subtype="FLOAT")
    assert load(path).samples == pytest.approx(levels.mean(), abs=1e-7)
    for channel, index in {"0": 0, "left": 0, "right": 1, "19": 19}.items():
        assert (load(path, channel=channel).samples == levels[index]).all()
    for wrong in ("20", "-1", "middle", ""):
        with pytest.raises(OptionError, match=r"many\.wav has 20 channels \(0 to 19\)"):
            load(path, channel=wrong)
    with pytest.raises(OptionError, match=r"array has 1 channel \(0\)"):
        load(np.zeros(5), channel="right")


def test_arrays_tensors_and_audio() -> None:
    torch = pytest.importorskip("torch")
    sound = speechlike(1, 16000)
    audio = load(sound)
    assert audio.name == "array"
    assert np.array_equal(audio.samples, sound)
    assert load(Audio(sound, "mine")).name == "mine"
    assert np.array_equal(load(Audio(sound), sample_rate=16000).samples, sound)
    assert np.array_equal(load(torch.from_numpy(sound)).samples, sound)
    half = torch.from_numpy(sound).to(torch.bfloat16)
    assert np.array_equal(load(half).samples, half.float().numpy())
    assert np.allclose(load(np.stack([sound, sound / 2], 1)).samples, sound * 0.75)
    assert load(np.full(9, -32768, np.int16)).samples.tolist() == [-1.0] * 9
    assert load(np.full(9, 192, np.uint8)).samples.tolist() == [0.5] * 9
    assert load(np.full(5, 3.0)).samples.max() == 3  # a little over full scale stays as it is
    resampled = load(sound, sample_rate=8000).samples
    np.testing.assert_allclose(resampled, soxr.resample(sound, 8000, 16000), atol=1e-6, strict=True)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((2, 16000)), r"shape \[2, 16000\].*\[samples, channels\]; transpose"),
        (np.zeros((2, 3, 4)), r"shape \[2, 3, 4\]"),
        (np.zeros((7, 0)), "has no channel"),
        (np.array(["a"]), "<U1.*float samples"),
        (np.zeros(4, np.int64), "int64"),
        (np.zeros(0), r"array: holds no audio \(0 samples\)"),
    ],
)
def test_arrays_that_are_no_sound(array: np.ndarray, words: str) -> None:
    with pytest.raises(AudioError, match=words):
        load(array)


def test_sample_rate_is_for_arrays(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="sample_rate=8000: only arrays"):
        load(write(tmp_path / "a.wav", speechlike(1, 16000), 16000), sample_rate=8000)
    with pytest.raises(AudioError, match="not a recording; expected a path"):
        load(5)  # type: ignore[arg-type]


class Pipe(io.RawIOBase):
    """Bytes that can be read once, like a socket."""

    def __init__(self, data: bytes) -> None:
        self.stream = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]
        return self.stream.readinto(memoryview(buffer)[:5000])


@pytest.mark.parametrize("name", ["a.wav", "a.mp3", "a.m4a"])
def test_bytes_file_objects_and_pipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    if name == "a.m4a":
        pytest.importorskip("av", reason="PyAV (the extra av) is not installed")
        path = write_container(tmp_path / name, speechlike(2, 16000), 16000)
    else:
        path = write(tmp_path / name, speechlike(2, 16000), 16000)
    (tmp_path / "spool").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "spool"))
    whole, data = load(path).samples, Path(path).read_bytes()
    for source in (data, io.BytesIO(data), Pipe(data), Path(path)):
        assert np.array_equal(load(source).samples, whole)
    with Path(path).open("rb") as file:
        assert load(file).name == path
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    threading.Thread(target=fifo.write_bytes, args=(data,), daemon=True).start()
    assert np.array_equal(load(fifo).samples, whole)
    with pytest.raises(AudioError, match=r"is open as text.*'rb'"), Path(__file__).open() as text:
        load(text)  # type: ignore[arg-type]
    assert not list((tmp_path / "spool").iterdir())  # nothing is left behind


def test_stdin(tmp_path: Path) -> None:
    path = write(tmp_path / "a.flac", speechlike(2, 44100), 44100)
    code = "from linnet.audio import load; a = load('-'); print(a.name, len(a.samples))"
    run = [sys.executable, "-c", code]
    piped = subprocess.run(run, input=Path(path).read_bytes(), capture_output=True, check=True, timeout=60)
    assert piped.stdout.split() == [b"stdin", b"32000"]
    empty = subprocess.run(run, input=b"", capture_output=True, check=False, timeout=60)
    assert b"AudioError: stdin: is empty (0 bytes)" in empty.stderr


@pytest.fixture(scope="module")
def long_file(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, np.ndarray]:
    path = write(tmp_path_factory.mktemp("long") / "a.wav", speechlike(6, 22050), 22050)
    return path, load(path).samples


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30_000), st.integers(0, 60_000)), max_size=8))
def test_windows_equal_slices_of_the_whole(long_file: tuple[str, np.ndarray], moves: list[tuple[int, int]]) -> None:
    path, whole = long_file
    start = 0
    with open_audio(path) as source:
        for step, count in moves:
            start += step
            assert np.array_equal(source.read(start, count), whole[start : start + count])


def test_window_keeps_its_word(long_file: tuple[str, np.ndarray]) -> None:
    path, whole = long_file
    with open_audio(path) as source:
        first = source.read(100, 50)
        first[:] = 9  # a copy: the source is not disturbed
        assert np.array_equal(source.read(100, 60), whole[100:160])
        with pytest.raises(ValueError, match="already dropped"):
            source.read(99, 1)
        with pytest.raises(ValueError, match="must not be negative"):
            source.read(200, -1)
        assert source.read(10**9, 5).shape == (0,)
    source.close()
    with pytest.raises(ValueError, match="is closed"):
        source.read(10**9, 5)


@pytest.mark.parametrize("step", [1600, 300_000, 480_000])
def test_memory_stays_bounded(tmp_path: Path, step: int) -> None:
    quiet = np.zeros(8000 * 60 * 30, np.int16)  # half an hour
    path = write(tmp_path / "long.flac", quiet, 8000)
    window = 480_000
    with open_audio(path) as source:
        for start in range(0, 10_000_000 if step > 1600 else 1_000_000, step):
            source.read(start, window)
            assert source.buffered <= window + 2 * SAMPLE_RATE  # type: ignore[attr-defined]
        source.read(28_000_000, 10)
        assert source.buffered <= 2 * SAMPLE_RATE  # type: ignore[attr-defined]


def test_threads_take_turns(long_file: tuple[str, np.ndarray]) -> None:
    path, whole = long_file
    with open_audio(path) as source:
        results: list[bool] = []
        work = [
            threading.Thread(target=lambda: results.append(np.array_equal(source.read(0, 90_000), whole[:90_000])))
            for _ in range(4)
        ]
        for thread in work:
            thread.start()
        for thread in work:
            thread.join()
    assert results == [True] * 4


def test_variable_rate_mp3_without_index_and_joined_mp3(tmp_path: Path) -> None:
    sound = np.concatenate([np.zeros(44100 * 5, np.float32), np.clip(speechlike(10, 44100) * 3, -1, 1)])
    path = write(tmp_path / "a.mp3", sound, 44100, bitrate_mode="VARIABLE", compression_level=0.3)
    whole, data = load(path), Path(path).read_bytes()
    with open_audio(data[data.index(b"\xff\xfb", 4) :]) as source:
        assert source.duration == pytest.approx(15, abs=0.1)  # counted, not guessed from the first frame
        bare = Audio(source.read(0, EVERYTHING))
        assert source.notices == ()
    assert bare.duration == pytest.approx(15, abs=0.1)
    offset = int(np.argmax(np.correlate(bare.samples[80_000:120_000], whole.samples[82_000:98_000], "valid"))) - 2000
    assert 0 <= offset < 1200  # without the index the decoder's own delay stays in
    assert np.corrcoef(bare.samples[90_000 + offset : 200_000 + offset], whole.samples[90_000:200_000])[0, 1] > 0.99
    assert load(data * 3).duration == pytest.approx(45, abs=0.3)


def test_unfinished_wav_header(tmp_path: Path) -> None:
    path = Path(write(tmp_path / "a.wav", speechlike(2, 16000), 16000))
    data = bytearray(path.read_bytes())
    whole = load(path).samples
    data[40:44] = bytes(4)
    with open_audio(bytes(data)) as source:
        assert np.array_equal(source.read(0, EVERYTHING), whole)
        assert "never completed" in source.notices[0]


def test_importing_the_room_is_cheap() -> None:
    code = "import sys, linnet.audio; print({'numpy', 'torch', 'soundfile', 'soxr', 'av'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert out.stdout.strip() == "set()"


def test_rows_of_data_sets_and_lists_are_sounds(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.full(800, 0.5), 8000)
    for row in ({"array": np.full(800, 0.5), "sampling_rate": 8000}, {"array": [0.5] * 800, "sampling_rate": 8000}):
        assert load(row).duration == pytest.approx(0.1)
    for row in ({"bytes": path.read_bytes(), "path": None}, {"bytes": None, "path": str(path)}):
        assert load(row).duration == pytest.approx(0.1)
    assert load([0.5] * 1600).samples.tolist() == [0.5] * 1600


def test_an_array_in_a_mapping_needs_its_rate() -> None:
    with pytest.raises(AudioError, match=r"'sampling_rate' \(in Hz\) is missing"):
        load({"array": [0.5] * 800})
    assert load({"array": [0.5] * 800, "sample_rate": 8000}).duration == pytest.approx(0.1)


@pytest.mark.parametrize("sound", [{}, {"audio": "a.wav"}, ["a.wav", "b.wav"], [[0.1], [0.2, 0.3]]])
def test_mappings_and_lists_that_are_no_sounds(sound: Any) -> None:
    with pytest.raises(AudioError, match="not a recording"):
        load(sound)
