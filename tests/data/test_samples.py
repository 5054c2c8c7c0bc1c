"""An utterance's own stretch and channel are heard, from files and from inside archives."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from linnet.data import Utterance
from linnet.data.samples import UtteranceReader
from linnet.errors import AudioError

RATE = 16_000


@pytest.fixture
def recording(tmp_path: Path) -> tuple[Path, np.ndarray]:
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (3 * RATE, 2)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    return tmp_path / "a.wav", samples


@pytest.mark.parametrize("order", [(0.0, 0.5, 0.5, 2.9), (2.9, 0.5, 0.0, 0.5)])
def test_stretches_in_any_order(recording: tuple[Path, np.ndarray], order: tuple[float, ...]) -> None:
    path, samples = recording
    with UtteranceReader() as listener:
        for start in order:
            heard = listener.read(Utterance(str(path), start=start, end=start + 0.25)).samples
            wanted = samples[round(start * RATE) : round((start + 0.25) * RATE)].mean(axis=1)
            np.testing.assert_allclose(heard, wanted, atol=1e-6)


def test_channels_and_whole_recordings(recording: tuple[Path, np.ndarray]) -> None:
    path, samples = recording
    with UtteranceReader() as listener:
        for channel, wanted in ((None, samples.mean(axis=1)), (1, samples[:, 1]), (0, samples[:, 0])):
            for _ in range(2):
                audio = listener.read(Utterance(str(path), channel=channel))
                np.testing.assert_allclose(audio.samples, wanted, atol=1e-6)
        np.testing.assert_allclose(listener.read(Utterance(str(path), start=1.0)).samples, samples[RATE:].mean(axis=1))


def test_one_pass_is_enough_for_stretches_in_order(
    recording: tuple[Path, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    import linnet.data.samples as module

    opened = []
    real = module.open_audio

    def counted(*arguments: object, **options: object) -> object:
        opened.append(arguments)
        return real(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "open_audio", counted)
    with UtteranceReader() as listener:
        for start in (0.0, 0.5, 1.0, 0.25):
            listener.read(Utterance(str(recording[0]), start=start, end=start + 0.75))
    assert len(opened) == 2


def test_a_sound_inside_an_archive(recording: tuple[Path, np.ndarray]) -> None:
    path, samples = recording
    with tarfile.open(path.with_name("shard.tar"), "w") as tar:
        tar.add(path, "x/a.wav")
    with UtteranceReader() as listener:
        heard = listener.read(Utterance(f"{path.parent}/shard.tar::x/a.wav", start=2.0)).samples
    np.testing.assert_allclose(heard, samples[2 * RATE :].mean(axis=1), atol=1e-6)


def test_what_cannot_be_heard_is_named(recording: tuple[Path, np.ndarray]) -> None:
    path, _ = recording
    with UtteranceReader() as listener:
        with pytest.raises(AudioError, match="ends before the utterance begins, at 9 s"):
            listener.read(Utterance(str(path), start=9.0))
        with pytest.raises(AudioError, match=r"gone\.wav"):
            listener.read(Utterance(str(path.with_name("gone.wav"))))
        assert len(listener.read(Utterance(str(path))).samples) == 3 * RATE


def test_a_recognizer_gets_each_utterance_or_its_error(recording: tuple[Path, np.ndarray]) -> None:
    import linnet

    path = str(recording[0])
    rows = [
        Utterance(path, start=0.5, end=1.0),
        Utterance(f"{path}.tar::gone.wav"),
        Utterance(path, start=9.0),
        Utterance(path, channel=1),
        Utterance(path, channel=5),
    ]
    with UtteranceReader() as listener:
        results = linnet.load("digits", engine="torch").transcribe_many(listener.sources(rows), batch_size=2)
        found = {result.index: result for result in results}
    assert [found[at].error is None for at in range(5)] == [True, False, False, True, False]
    assert (found[0].duration, found[3].duration) == (0.5, 3.0)
    assert "cannot be read" in str(found[1].error)
    assert "ends before" in str(found[2].error)
    assert "channel" in str(found[4].error)


def test_sources_sound_like_what_is_heard(recording: tuple[Path, np.ndarray]) -> None:
    path = str(recording[0])
    rows = [Utterance(path, start=1.0, end=2.0), Utterance(path), Utterance(path, channel=0)]
    with UtteranceReader() as listener:
        for row, source in zip(rows, listener.sources(rows, "right"), strict=True):
            with source:
                heard = source.read(0, 9 * RATE)
            np.testing.assert_array_equal(heard, listener.read(row, "right").samples)


def test_a_recording_that_fails_fails_for_each_of_its_stretches_alike(tmp_path: Path) -> None:
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, 2 * RATE).astype(np.float32)
    sound[RATE:] = np.nan  # what stands before it is found to be no sound only when all of it is read
    soundfile.write(tmp_path / "a.wav", sound, RATE, subtype="FLOAT")
    with UtteranceReader() as listener:
        for start in (5.0, 6.0):
            with pytest.raises(AudioError, match=r"a\.wav"):
                listener.read(Utterance(str(tmp_path / "a.wav"), start=start))
