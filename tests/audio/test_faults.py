"""Recordings as they come: joined, too loud, inverted, cut short, on a bad disk. See shared/data/faults/README.md."""

from __future__ import annotations

import io
import os
import re
import struct
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import soundfile

from linnet.audio import load, open_audio
from linnet.audio.decoders import SoundFileDecoder, open_file
from linnet.audio.sniff import missing_share
from linnet.errors import AudioError
from tests.support.sounds import fault, heard, jfk, lag, speechlike, write

EVERYTHING = 2**50


@pytest.mark.parametrize(
    ("name", "gain", "words"),
    [
        ("f32_int16scale.wav", 1.0, "far beyond full scale 1: all were divided by 32,768."),
        ("loud.wav", 300 / 256, "far beyond full scale 1: all were divided by 256."),
        ("antiphase.wav", 1.0, "its channels cancel each other out for 11.0 s, from 0.0 s on"),
        ("nan.wav", 1.0, "11 of 176,000 samples are NaN and infinite, the first at 0.312 s"),
    ],
)
def test_faulty_samples_of_real_speech(name: str, gain: float, words: str) -> None:
    samples, notices = heard(fault(name))
    assert words in notices
    original = jfk()
    sound = np.isfinite(original)
    np.testing.assert_allclose(samples[sound], gain * original[sound], atol=1e-4)
    assert (samples[~sound] == 0).all() or name != "nan.wav"


@pytest.mark.parametrize("times", [2.0**15, 2.0**23, 300.0, 30.0])
def test_floats_of_another_scale_are_brought_to_full_scale(tmp_path: Path, times: float) -> None:
    sound = np.concatenate([np.zeros(32_000, np.float32), speechlike(3, 16000) / 2])  # the first blocks are silent
    path = write(tmp_path / "loud.wav", sound * times, 16000, subtype="FLOAT")
    for source in (path, sound * times, (sound * times).astype(np.float64)):
        samples, notices = heard(source)
        factor = samples[40_000] / sound[40_000]
        assert 0.25 < np.abs(samples).max() < 1.1
        np.testing.assert_allclose(samples, sound * factor, rtol=1e-5)
        assert f"all were divided by {times / factor:,.0f}." in notices


def test_what_is_a_little_over_full_scale_stays() -> None:
    sound = speechlike(3, 16000) * 6  # a peak of about 2
    samples, notices = heard(sound)
    assert np.array_equal(samples, sound)
    assert notices == ""


def test_clicks_do_not_make_the_rest_inaudible() -> None:
    sound = speechlike(10, 16000)
    clicks = sound.copy()
    clicks[[20_000, 90_000]] = [5e4, -1e30]
    samples, notices = heard(clicks)
    assert notices.startswith("2 of 160,000 samples are absurdly large, the first at 1.250 s")
    sound[[20_000, 90_000]] = 0
    assert np.array_equal(samples, sound)


@pytest.mark.parametrize("name", ["a.wav", "a.mp3", "a.opus"])
def test_channels_that_cancel(tmp_path: Path, name: str) -> None:
    sound = speechlike(4, 48000)
    right = np.where(np.arange(len(sound)) < 120_000, -sound, sound)  # inverted up to the middle of a block
    path = write(tmp_path / name, np.stack([sound, right], 1), 48000)
    samples, notices = heard(path)
    assert "for 2.5 s, from 0.0 s on" in notices
    left = load(path, channel="left").samples
    assert np.corrcoef(samples, left)[0, 1] > 0.999
    assert heard(path, channel="left")[1] == ""


def test_channels_that_differ_are_mixed() -> None:
    one, other = speechlike(3, 16000), speechlike(3, 16000, 1)
    for pair in ([one, other], [one, 0 * one], [0 * one, 0 * one], [one, -0.5 * one], [one] * 3):
        samples, notices = heard(np.stack(pair, 1))
        np.testing.assert_allclose(samples, np.mean(pair, 0), atol=1e-6)
        assert notices == ""
    surround = np.stack([one, -one, 0 * one, 0 * one, 0 * one, 0 * one], 1)
    assert np.array_equal(heard(surround)[0], one)


def test_any_failure_of_a_library_names_the_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.wav", speechlike(3, 16000), 16000)
    for error in (OSError(5, "Input/output error"), IndexError("list index out of range"), MemoryError()):

        def fail(self: Any, *_: Any, error: Exception = error) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(SoundFileDecoder, "read", fail)
            with pytest.raises(AudioError, match=rf"{path}: reading failed after 0.0 s \(.+\); check that it plays"):
                load(path)
        with monkeypatch.context() as patch:
            patch.setattr(SoundFileDecoder, "__init__", fail)
            with pytest.raises(AudioError, match=rf"{path}: reading failed \(.+\); check that it plays"):
                load(path)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.opus", "chained.ogg", "unfinished.wav"])
def test_a_disk_that_fails_is_an_error_and_no_end(tmp_path: Path, name: str) -> None:
    path = Path(write(tmp_path / name, speechlike(20, 16000), 16000))
    data = path.read_bytes()
    if name == "chained.ogg":
        path.write_bytes(data * 2)
    if name == "unfinished.wav":
        path.write_bytes(data[:40] + bytes(4) + data[44:])
    with open_audio(path) as source:
        folder = os.open(tmp_path, os.O_RDONLY)  # from now on reading fails as on a broken disk
        opened = [file.fd for file in psutil.Process().open_files() if file.path == str(path.resolve())]
        assert opened
        for number in opened:
            os.dup2(folder, number)
        os.close(folder)
        with pytest.raises(AudioError, match=rf"{name}: reading failed after \d.\d s \(Is a directory\); check"):
            source.read(0, EVERYTHING)


def test_a_long_silent_flac_is_credible(tmp_path: Path) -> None:
    av = pytest.importorskip("av", reason="PyAV (the extra av) is not installed")
    path = tmp_path / "silent.flac"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("flac", rate=1000, layout="mono", options={"frame_size": "65535"})
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 65535), np.int16), format="s16", layout="mono")
        for block in range(10 * 3600 * 1000 // 65535 + 1):
            frame.rate, frame.pts = 1000, block * 65535
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with open_audio(path) as source:
        assert source.duration == pytest.approx(36_000, abs=70)
    with closing(open_file(str(path), path.name)) as decoder:
        assert decoder.longest > 36_070


def bytes_of(sound: np.ndarray, kind: str, subtype: str = "PCM_16") -> bytes:
    """A sound at 16 kHz as a file of libsndfile."""
    file = io.BytesIO()
    soundfile.write(file, sound, 16000, format=kind, subtype=subtype)
    return file.getvalue()


@pytest.mark.parametrize(
    ("kind", "subtype"),
    [
        *[("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAV", "IMA_ADPCM"), ("WAVEX", "PCM_24"), ("RF64", "PCM_16")],
        *[("W64", "PCM_16"), ("AIFF", "PCM_16"), ("AIFF", "FLOAT"), ("AU", "ULAW"), ("CAF", "PCM_16")],
        *[("NIST", "PCM_16"), ("VOC", "PCM_16"), ("FLAC", "PCM_16")],
    ],
)
def test_cut_short_is_told_with_what_is_missing(kind: str, subtype: str) -> None:
    if kind == "CAF":
        pytest.importorskip("av", reason="PyAV (the extra av) is not installed")  # libsndfile refuses it
    data = bytes_of(speechlike(20, 16000), kind, subtype)
    whole, notices = heard(data)
    assert notices == ""
    samples, notices = heard(data[: len(data) * 3 // 5])
    assert 11 < len(samples) / 16000 < 13
    np.testing.assert_allclose(samples[:170_000], whole[:170_000], atol=1e-3)
    assert re.search(r"the header promises 20.[01] s, but only 1\d.\d s could be read: the file is cut short", notices)


def test_headers_of_large_files_and_of_streams_without_length(tmp_path: Path) -> None:
    path = tmp_path / "a"
    wav, wave64 = bytes_of(np.zeros(8), "WAV")[:44], bytes_of(np.zeros(8), "RF64")
    at = wave64.index(b"data")
    w64 = bytes_of(np.zeros(8), "W64")[:40]
    sizes = {
        wav[:40] + struct.pack("<I", 3_000_000_000): 2.0,
        wave64[:28] + struct.pack("<Q", 9_000_000_000) + wave64[36 : at + 4] + b"\xff" * 4: 6.0,
        b".snd" + struct.pack(">5I", 24, 3_000_000_000, 3, 16000, 1): 2.0,
        **{wav[:40] + struct.pack("<I", size): 1.0 for size in (0, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFDB)},
        b".snd" + struct.pack(">5I", 24, 0xFFFFFFFF, 3, 16000, 1): 1.0,
        b"NIST_1A\n   1024\n": 1.0,
        b"FORM": 1.0,
        w64 + b"odd".ljust(16) + struct.pack("<Q", 2**63 - 1): 1.0,
        b"Creative Voice File\x1a": 1.0,
        b"": 1.0,
    }
    for head, share in sizes.items():
        path.write_bytes(head)
        with path.open("r+b") as file:
            file.truncate(len(head) + 1_500_000_000)  # takes no room on the disk
            assert missing_share(file) == pytest.approx(share, rel=1e-6), head


def test_ogg_without_its_end(tmp_path: Path) -> None:
    for name in ("a.ogg", "a.opus"):
        data = Path(write(tmp_path / name, speechlike(20, 16000), 16000)).read_bytes()
        assert heard(data)[1] == ""
        samples, notices = heard(data[: len(data) * 3 // 5])
        assert 9 < len(samples) / 16000 < 13
        assert notices == "it has no end mark: the file is truncated, or its recording was interrupted."


def test_chained_speech() -> None:
    samples, notices = heard(fault("chained.opus"))
    assert len(samples) == 22 * 16000
    assert notices == ""
    half = load(Path(fault("chained.opus")).read_bytes()[:91_296]).samples
    np.testing.assert_allclose(samples, np.concatenate([half, half]), atol=1e-3)


def test_chains_of_any_rates_channels_and_codecs(tmp_path: Path) -> None:
    links = [
        write(tmp_path / "1.ogg", speechlike(3, 44100), 44100),
        write(tmp_path / "2.opus", np.stack([speechlike(2, 48000), 0.5 * speechlike(2, 48000)], 1), 48000),
        write(tmp_path / "3.ogg", speechlike(2.5, 16000), 16000),
    ]
    for order in (links, links[::-1]):
        data = b"".join(Path(link).read_bytes() for link in order)
        with open_audio(data) as source:
            assert source.duration == pytest.approx(7.5, abs=1e-3)
            samples = source.read(0, EVERYTHING)
            assert source.notices == ()
        np.testing.assert_allclose(samples, np.concatenate([load(link).samples for link in order]), atol=1e-4)
    data = b"".join(Path(link).read_bytes() for link in (links[1], links[2]))
    samples, notices = heard(data, channel="right")
    assert len(samples) == 72_000
    assert notices == "from 2.0 s on it has no channel 1: the mix was read there."
    broken = Path(links[1]).read_bytes().replace(b"OpusTags", b"OpusTogs")
    samples, notices = heard(Path(links[0]).read_bytes() + broken + Path(links[2]).read_bytes())
    assert len(samples) / 16000 == pytest.approx(5.5, abs=0.01)
    assert "a part of it at 3.0 s cannot be read (" in notices


@pytest.mark.parametrize("name", ["a.ogg", "a.opus"])
def test_damage_inside_ogg_keeps_the_times(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, speechlike(30, 16000), 16000)
    whole, data = load(path).samples, Path(path).read_bytes()
    middle = len(data) // 2
    flipped = bytearray(data)
    flipped[middle] ^= 0xFF
    zeroed = data[: middle - 5000] + bytes(10_000) + data[middle + 5000 :]
    for damaged in (bytes(flipped), zeroed, data[: middle - 5000] + data[middle + 5000 :]):
        samples, notices = heard(damaged)
        assert len(samples) == len(whole)
        assert re.search(r"damaged at 1\d.\d s: \d.\d s there were replaced by silence.", notices)
        np.testing.assert_allclose(samples[:160_000], whole[:160_000], atol=1e-3)
        assert lag(samples[20 * 16000 :], whole[20 * 16000 :]) < 110  # libsndfile cuts Opus by its pre-skip again


def test_libraries_do_not_write_to_standard_error(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    tag = b"ID3\x03\0\0\0\0\x00\x40" + b"COMM\0\0\0\x05\0\0\0eng\0\0".ljust(64, b"\0")
    for number in range(8):
        data = bytearray(tag + Path(write(tmp_path / "a.mp3", speechlike(3, 44100), 44100)).read_bytes())
        for at in random.integers(2000, len(data), 20 * number):
            data[at] = random.integers(256)
        (tmp_path / f"{number}.mp3").write_bytes(data[: len(data) - 900 * number])
    code = (
        "import sys, threading; from linnet.audio import open_audio\n"
        "def listen(path):\n"
        "    with open_audio(path) as sound: sound.read(0, 10**9)\n"
        "work = [threading.Thread(target=listen, args=(path,)) for path in sys.argv[1:]]\n"
        "for one in work: one.start()\n"
        "for one in work: one.join()\n"
        "import ctypes; library = ctypes.CDLL(None)\n"
        "library.perror(b'other C code is heard'); sys.stderr.write('so is Python')\n"
    )
    run = [sys.executable, "-c", code, *map(str, sorted(tmp_path.glob("[0-9].mp3")))]
    said = subprocess.run(run, capture_output=True, text=True, check=True, timeout=60).stderr
    assert said.startswith("other C code is heard")
    assert said.endswith("so is Python")
    assert said.count("\n") == 1


def test_a_channel_of_nothing_leaves_the_other_one() -> None:
    good = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    stereo = np.stack([good, np.full(16_000, np.nan, np.float32)], 1)
    with open_audio(stereo, sample_rate=16_000) as source:
        heard = source.read(0, 10**9)
        notices = source.notices
    assert np.array_equal(heard, good)
    assert notices == (
        "16,000 of 16,000 samples are NaN in some channels, the first at 0.000 s: the other channels were used there.",
    )
