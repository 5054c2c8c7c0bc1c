"""What a person reads when a sound is missing, damaged or no sound at all."""

from __future__ import annotations

import os
import stat
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from linnet.audio import load, open_audio
from linnet.errors import AudioError, OptionError
from tests.support.sounds import speechlike, write, write_container

EVERYTHING = 2**50
DESCRIPTORS = Path("/proc/self/fd")


def complaint(source: object) -> str:
    with pytest.raises(AudioError) as caught:
        load(source)  # type: ignore[arg-type]
    return str(caught.value)


def test_missing_folder_empty_and_device(tmp_path: Path) -> None:
    assert complaint(tmp_path / "no.wav") == f"{tmp_path}/no.wav: there is no such file; check the path"
    assert "is a folder, expected an audio file" in complaint(tmp_path)
    (tmp_path / "empty.wav").touch()
    assert "empty.wav: is empty (0 bytes); record, copy" in complaint(tmp_path / "empty.wav")
    assert complaint(b"").startswith("bytes: is empty")
    assert "there is no such file" in complaint("")
    assert "cannot be opened (embedded null byte)" in complaint("a\0b.wav")
    assert "there is no such file" in complaint(tmp_path / "empty.wav" / "a.wav")
    assert "is a device or a socket" in complaint("/dev/zero")
    assert "cannot be opened (File name too long)" in complaint("a" * 5000)
    (tmp_path / "loop").symlink_to("loop")
    assert "cannot be opened (Too many levels" in complaint(tmp_path / "loop")


@pytest.fixture
def locked() -> Iterator[Path]:
    """A file without read permission, as a user who is not root."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    path = folder / "secret.wav"
    write(path, speechlike(0.1, 16000), 16000)
    path.chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield path
    os.seteuid(user)
    path.unlink()
    folder.rmdir()


def test_permission_denied(locked: Path) -> None:
    message = complaint(locked)
    assert message.startswith(f"{locked}: permission denied; make the file and its folders readable")


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"Hello, this is a plain text.\n" * 300, "is text, not audio, despite its name"),
        ("Grüße aus Köln\n".encode() * 400, "is text, not audio"),
        (b"\n <!DOCTYPE html>\n<html><body>Sign in</body></html>", "is a web page, not audio"),
        (b"%PDF-1.7 \xe2\xe3\xcf\xd3" + bytes(100), "is a PDF document"),
        (b"PK\x03\x04" + bytes(100), "is a zip archive"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "is a PNG image"),
        (bytes(5000), "is nothing but zero bytes"),
    ],
)
def test_other_things_named_wav(tmp_path: Path, data: bytes, what: str) -> None:
    for name in ("sound.wav", "sound.mp3", "sound.au", "sound.gsm"):
        (tmp_path / name).write_bytes(data)
        assert f"{name}: {what}" in complaint(tmp_path / name)


def test_noise_bytes(tmp_path: Path) -> None:
    (tmp_path / "noise.wav").write_bytes(np.random.default_rng(0).bytes(20_000))
    message = complaint(tmp_path / "noise.wav")
    assert "noise.wav: cannot be decoded (" in message
    assert "check that it plays, or convert it, as in  ffmpeg -i INPUT out.flac" in message


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.aiff", "a.ogg", "a.opus"])
def test_cut_in_the_middle(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, speechlike(20, 48000), 48000)
    whole, data = load(path), Path(path).read_bytes()
    with open_audio(data[: len(data) // 2]) as source:
        samples = source.read(0, EVERYTHING)
        assert 7 < len(samples) / 16000 < 13
        common = len(samples) - 4000
        np.testing.assert_allclose(samples[:common], whole.samples[:common], atol=1e-3)
        if name in ("a.wav", "a.flac", "a.mp3"):
            assert "the header promises 20.0 s, but only " in source.notices[-1]
            assert source.notices[-1].endswith("the file is cut short or damaged.")
        assert source.duration == len(samples) / 16000


def test_cut_to_nothing(tmp_path: Path) -> None:
    wav = Path(write(tmp_path / "a.wav", speechlike(1, 16000), 16000)).read_bytes()
    for size in (1, 4, 12, 30, 43):
        assert "bytes: " in complaint(wav[:size])
    assert "bytes: holds no audio (0 samples)" in complaint(wav[:44])
    flac = Path(write(tmp_path / "a.flac", speechlike(1, 16000), 16000)).read_bytes()
    assert "bytes: " in complaint(flac[:100])


def test_cut_mp4(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="PyAV (the extra av) is not installed")
    late = Path(write_container(tmp_path / "late.mp4", speechlike(8, 16000), 16000)).read_bytes()
    assert "cannot be decoded (" in complaint(late[: len(late) // 2])  # its index stood at the end
    early = write_container(tmp_path / "early.mp4", speechlike(8, 16000), 16000, movflags="faststart")
    data = Path(early).read_bytes()
    with open_audio(data[: len(data) * 2 // 3]) as source:
        assert 3 < len(source.read(0, EVERYTHING)) / 16000 < 7
        assert "the header promises 8.0 s, but only" in source.notices[-1]


def test_damage_inside_flac_is_passed_over_in_time(tmp_path: Path) -> None:
    path = write(tmp_path / "a.flac", speechlike(20, 44100), 44100)
    whole, data = load(path).samples, bytearray(Path(path).read_bytes())
    for at in range(20):
        data[len(data) // 2 + 50 * at] ^= 0xFF
    with open_audio(bytes(data)) as source:
        samples = source.read(0, EVERYTHING)
        notices = source.notices
    assert len(samples) == len(whole)
    np.testing.assert_allclose(samples[:150_000], whole[:150_000], atol=1e-6)
    np.testing.assert_allclose(samples[-140_000:], whole[-140_000:], atol=1e-6)
    assert len(notices) == 1
    assert "damaged at 9.9 s" in notices[0]
    assert "were replaced by silence" in notices[0]


@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_nan_and_infinite(tmp_path: Path, subtype: str) -> None:
    sound = np.full((160_000, 2), 0.5)
    sound[5000, 1], sound[150_000:, 0] = np.nan, -np.inf
    path = write(tmp_path / "nan.wav", sound, 16000, subtype=subtype)
    with open_audio(path) as source:
        samples = source.read(0, EVERYTHING)
        assert source.notices == (
            "10,001 of 160,000 samples are NaN and infinite in some channels, the first at 0.312 s: the other "
            "channels were used there.",
        )
    assert samples[4999:5002].tolist() == [0.5, 0.5, 0.5]  # the other channel is sound
    assert (samples[150_000:] == 0.5).all()
    with open_audio(path, channel="right") as source:
        assert source.read(0, EVERYTHING)[150_000:].min() == 0.5
        assert source.notices[0].startswith("1 of 160,000 samples are NaN, the first at 0.312 s")


def test_mostly_bad_samples_are_no_sound(tmp_path: Path) -> None:
    sound = np.zeros(160_000)
    sound[:80_000] = np.nan
    assert len(load(sound).samples) == 160_000
    sound[80_000] = np.inf
    words = "80001 of 160000 samples are NaN and infinite, the first at 0.000 s; export it again"
    assert f"array: {words}" in complaint(sound)
    assert f"nan.wav: {words}" in complaint(write(tmp_path / "nan.wav", sound, 16000, subtype="FLOAT"))
    assert "array: 9 of 9 samples are absurdly large" in complaint(np.full(9, 1e20))


def test_none_and_one_sample(tmp_path: Path) -> None:
    path = write(tmp_path / "zero.wav", np.zeros(0), 16000)
    assert complaint(path) == f"{path}: holds no audio (0 samples); record or export it again."
    for rate in (16000, 48000, 8000, 1000):
        path = write(tmp_path / "one.wav", np.full(1, 0.5), rate)
        assert len(load(path).samples) == max(1, 16000 // rate)
    assert load(np.full(1, 0.25), sample_rate=768_000).samples == pytest.approx([0.25])


def test_rates_out_of_range(tmp_path: Path) -> None:
    path = write(tmp_path / "slow.wav", np.zeros(100), 1)
    assert f"{path}: its header says 1 Hz, outside 1000 to 768000 Hz; the header is damaged" in complaint(path)
    assert "header says 1000000 Hz" in complaint(write(tmp_path / "fast.wav", np.zeros(100), 1_000_000))
    assert load(write(tmp_path / "edge.wav", np.zeros(768_000), 768_000)).duration == 1
    assert load(write(tmp_path / "edge.wav", np.zeros(1000), 1000)).duration == 1
    for rate in (0, -5, 999, 16000.5):
        with pytest.raises(OptionError, match=f"sample_rate={rate}: expected whole Hz from 1000 to 768000"):
            load(np.zeros(5), sample_rate=rate)  # type: ignore[arg-type]


def test_headers_that_claim_the_moon(tmp_path: Path) -> None:
    flac = bytearray(Path(write(tmp_path / "a.flac", speechlike(2, 16000), 16000)).read_bytes())
    flac[21] |= 0x0F
    flac[22:26] = b"\xff" * 4  # 2**36 - 1 samples
    wav = bytearray(Path(write(tmp_path / "a.wav", speechlike(2, 16000), 16000)).read_bytes())
    wav[40:44] = struct.pack("<I", 0x7FFFEFFF)
    w64 = bytearray(Path(write(tmp_path / "a.w64", speechlike(2, 16000), 16000)).read_bytes())
    at = w64.index(b"data") + 16
    w64[at : at + 8] = struct.pack("<Q", 2**62)
    for data in (flac, wav, w64):
        with open_audio(bytes(data)) as source:
            assert source.duration is None or source.duration < 10_000
            assert len(source.read(0, EVERYTHING)) == 32_000


def test_more_sound_than_bytes_can_hold(tmp_path: Path) -> None:
    from linnet.audio.decoders import SoundFileDecoder
    from linnet.audio.stream import StreamSource

    decoder = SoundFileDecoder(write(tmp_path / "bomb.flac", np.zeros(8000 * 30, np.int16), 8000))
    decoder.longest = 20.0
    with (
        StreamSource(decoder, "bomb.flac") as source,
        pytest.raises(AudioError, match=r"bomb\.flac: claims more audio"),
    ):
        source.read(0, EVERYTHING)
    decoder.close()


def test_video_without_audio(tmp_path: Path) -> None:
    av = pytest.importorskip("av", reason="PyAV (the extra av) is not installed")
    path = tmp_path / "silent.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8))))
        container.mux(stream.encode(None))
    assert complaint(path) == f"{path}: has no audio track (video only); give a file with audio"


def test_playlists_are_not_followed(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", speechlike(1, 16000), 16000)
    playlist = tmp_path / "list.m3u8"
    playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:5,\n{tmp_path}/a.wav\n#EXT-X-ENDLIST\n")
    assert "list.m3u8: is text, not audio" in complaint(playlist)


def test_files_are_released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    path = write(tmp_path / "nan.wav", np.full(9, np.nan), 16000, subtype="FLOAT")
    good = write(tmp_path / "good.wav", np.zeros(9), 16000)
    sounds: list[object] = [path, Path(path).read_bytes(), b"nothing that decodes", good, Path(good).read_bytes()]
    before = len(list(DESCRIPTORS.iterdir())) if DESCRIPTORS.exists() else 0
    for sound in sounds * 3:
        try:
            with open_audio(sound) as source:  # type: ignore[arg-type]
                source.read(0, EVERYTHING)
        except AudioError:
            pass
    assert not before or len(list(DESCRIPTORS.iterdir())) == before
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["good.wav", "nan.wav"]


def test_full_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    full = Path("/dev/full")
    if not full.exists() or not stat.S_ISCHR(full.stat().st_mode):
        pytest.skip("there is no /dev/full here")
    monkeypatch.setattr(tempfile, "NamedTemporaryFile", lambda **_: full.open("wb"))
    assert "bytes: no space for it in the temporary folder" in complaint(bytes(3_000_000))
