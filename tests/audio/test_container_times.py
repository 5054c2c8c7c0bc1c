"""The tracks of containers, and the times that their stamps give to the sound. See shared/data/faults/README.md."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from linnet.audio import load, open_audio
from linnet.errors import AudioError, OptionError
from tests.support.sounds import fault, heard, jfk, lag, speechlike, write


@pytest.mark.parametrize(
    ("name", "seconds", "words"),
    [
        ("offset5.mp4", 16.0, ""),
        ("gap20.webm", 31.0, "1 gap in its timestamps was filled with silence, the first at 5.1 s (20.0 s long)."),
        ("dmg_mid.webm", 60.0, "1 gap in its timestamps was filled with silence, the first at 17.7 s (17.2 s long)."),
    ],
)
def test_times_are_those_of_the_container(name: str, seconds: float, words: str) -> None:
    samples, notices = heard(fault(name))
    assert len(samples) / 16000 == pytest.approx(seconds, abs=0.02)
    assert notices == words
    if name == "offset5.mp4":
        assert not samples[: 16000 * 49 // 10].any()
        assert lag(samples[80_000:], jfk()) < 1100  # the priming of the codec, one frame
    elif name == "gap20.webm":
        assert not samples[84_000:400_000].any()
        assert lag(samples[: 16000 * 5], jfk()) < 400
        assert lag(samples[16000 * 26 :], jfk()[16000 * 6 :]) < 400


def write_stamped(path: Path, sound: np.ndarray, codec: str, *, jump: float = 0.0, lost: range = range(0)) -> str:
    """Write sound at 48 kHz, its time stamps `jump` seconds later from the middle on, without the packets `lost`."""
    av = pytest.importorskip("av", reason="PyAV (the extra av) is not installed")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(sound[None], format="flt", layout="mono")
        frame.rate, frame.pts, frame.time_base = 48000, 0, Fraction(1, 48000)
        fifo = av.AudioFifo()
        fifo.write(frame)
        packets = stream.encode(fifo.read(1024))  # after which the codec's own size of frames is known
        while part := fifo.read(stream.codec_context.frame_size or 1024, partial=True):
            packets += stream.encode(part)
        for number, packet in enumerate(packets + stream.encode(None)):
            if packet.pts is not None and number not in lost:
                shift = jump * (packet.pts * packet.time_base >= len(sound) / 96_000)
                packet.pts = packet.dts = packet.pts + round(shift / packet.time_base)
                container.mux(packet)
    return str(path)


@pytest.mark.parametrize(
    ("name", "codec"), [("a.webm", "libopus"), ("a.mp4", "aac"), ("a.ts", "aac"), ("a.mkv", "flac"), ("a.flv", "aac")]
)
def test_jumps_and_lost_packets_become_silence(tmp_path: Path, name: str, codec: str) -> None:
    sound = speechlike(6, 48000)
    whole = load(write_stamped(tmp_path / name, sound, codec)).samples
    late, notices = heard(write_stamped(tmp_path / name, sound, codec, jump=4.0))
    assert len(late) == pytest.approx(len(whole) + 64_000, abs=800)
    assert re.fullmatch(r"1 gap .* was filled with silence, the first at 3.[01] s \(4.0 s long\).", notices)
    np.testing.assert_allclose(late[:46_000], whole[:46_000], atol=1e-3)
    assert not late[52_000:110_000].any()
    assert lag(late[116_000:], whole[52_000:]) < 50
    holes, notices = heard(write_stamped(tmp_path / name, sound, codec, lost=range(20, 30)))
    assert len(holes) == pytest.approx(len(whole), abs=1200)
    assert lag(holes[64_000:], whole[64_000:]) < 50
    assert "1 gap in its timestamps was filled with silence" in notices


def stamped(*times: float | None) -> tuple[list[float], list[str]]:
    """The silence before each frame of 20 ms with these time stamps, and the notices."""
    containers = pytest.importorskip("linnet.audio.containers", reason="PyAV (the extra av) is not installed")
    clock = containers.Clock(0.0)
    frames = [containers.Frame(1000, np.ones((20, 1), np.float32), time) for time in times]
    gaps = [clock.gap(frame, after) for frame, after in zip(frames, [*frames[1:], None], strict=True)]
    return [round(gap, 3) for gap in gaps], clock.notices()


def test_time_stamps_that_are_wrong() -> None:
    assert stamped(0, 0.02, 0.05, 0.06, 0.07, 0.11) == ([0] * 6, [])  # jitter
    assert stamped(0, None, 0.04, None) == ([0] * 4, [])
    assert stamped(0, 50.0, 0.04, 0.06) == ([0] * 4, [])  # a single one
    assert stamped(0, -50.0, 70.0, 0.06, 0.08) == ([0] * 5, [])
    assert stamped(0, 0.02, 9.0) == ([0] * 3, [])  # nothing bears the last one out
    assert stamped(3.0, 3.02, 3.04) == ([3.0, 0, 0], [])  # a late start
    gaps, notices = stamped(0, 0.3, 0.6, 0.9, 1.2)  # packets lost between all
    assert gaps[:4] == [0, 0.28, 0.28, 0.28]
    assert notices == ["3 gaps in its timestamps were filled with silence, the first at 0.0 s (0.3 s long)."]
    gaps, notices = stamped(0, 0.02, 9e9, 9e9 + 0.02, 9e9 + 1.04, 9e9 + 1.06)
    assert gaps == [0, 0, 0, 0, 1.0, 0]  # absurd, and what follows keeps its times
    assert notices[1] == "its timestamps jump too far ahead in 1 places: no silence was inserted there."
    gaps, notices = stamped(100, 100.02, 0.0, 0.02, 2.04, 2.06)  # another recording behind
    assert gaps == [100, 0, 0, 0, 2.0, 0]
    assert notices[1] == "its timestamps jump back in 1 places: the audio was joined there."


def test_long_gaps_take_no_memory(tmp_path: Path) -> None:
    path = write_stamped(tmp_path / "a.webm", speechlike(2, 48000), "libopus", jump=3000.0)
    with open_audio(path) as source:
        for start in range(0, 50_000_000, 480_000):
            source.read(start, 480_000)
            assert source.buffered <= 500_000 + 32_000  # type: ignore[attr-defined]
        assert source.duration == pytest.approx(3002, abs=0.1)
    path = write_stamped(tmp_path / "b.webm", speechlike(2, 48000), "libopus", jump=50_000.0)
    samples, notices = heard(path)
    assert len(samples) / 16000 == pytest.approx(2, abs=0.1)
    assert "jump too far ahead" in notices


def test_transport_streams_joined_are_whole(tmp_path: Path) -> None:
    data = Path(write_stamped(tmp_path / "a.ts", speechlike(5, 48000), "aac")).read_bytes()
    samples, notices = heard(data * 2)
    assert len(samples) / 16000 == pytest.approx(10, abs=0.2)
    assert "jump back in 1 places" in notices


def test_a_choice_of_tracks(tmp_path: Path) -> None:
    av = pytest.importorskip("av", reason="PyAV (the extra av) is not installed")
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("pcm_s16le", rate=16000, layout="mono") for _ in range(2)]
        for level, stream in zip((1000, 2000), streams, strict=True):
            frame = av.AudioFrame.from_ndarray(np.full((1, 16000), level, np.int16), format="s16", layout="mono")
            frame.rate, frame.pts = 16000, 0
            container.mux(stream.encode(frame))
    assert "has 2 audio tracks; number 1 was read." in heard(path)[1]
    for track, level in ((1, 1000), (2, 2000)):
        samples, notices = heard(path, track=track)
        assert (samples * 32768 == level).all()
        assert notices == ""
    for wrong in (0, 3, -1):
        with pytest.raises(OptionError, match=rf"track={wrong}: .*two\.mkv has 2 audio tracks, 1 to 2; choose one"):
            open_audio(path, track=wrong)
    one = write(tmp_path / "one.wav", speechlike(1, 16000), 16000)
    for source in (one, np.zeros(9)):
        assert len(load(source, track=1).samples)
        with pytest.raises(OptionError, match=r"track=2: .* has 1 audio track; choose"):
            load(source, track=2)


def test_a_stream_that_begins_late_is_an_error_that_names_the_file() -> None:
    with pytest.raises(AudioError, match=r"late_stream\.mts: reading failed .*; check that it plays"):
        load(fault("late_stream.mts"))
