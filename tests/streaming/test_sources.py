"""Recordings at the pace of speech, raw samples from a pipe, and a microphone that goes away."""

from __future__ import annotations

import io
import os
import sys
import threading
import time
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from linnet.audio.source import open_audio
from linnet.audio.types import SAMPLE_RATE
from linnet.errors import AudioError, MissingExtra
from linnet.streaming.sources import Microphone, raw, recording

RAMP = np.linspace(-0.5, 0.5, SAMPLE_RATE, dtype=np.float32)


def test_a_recording_comes_whole_in_pieces() -> None:
    with open_audio(RAMP) as source:
        pieces = list(recording(source, threading.Event()))
    assert len(pieces) == 10
    np.testing.assert_array_equal(np.concatenate(pieces), RAMP)


def test_at_a_pace_nothing_comes_before_it_was_spoken() -> None:
    begun = time.monotonic()
    with open_audio(RAMP) as source:
        for count, _ in enumerate(recording(source, threading.Event(), speed=4.0), start=1):
            assert time.monotonic() - begun >= count * 0.1 / 4.0 - 0.001


def test_a_recording_that_is_stopped_ends() -> None:
    stop = threading.Event()
    with open_audio(RAMP) as source:
        pieces = recording(source, stop, speed=0.01)  # the first would come after 10 s
        threading.Timer(0.1, stop.set).start()
        begun = time.monotonic()
        assert list(pieces) == []
    assert time.monotonic() - begun < 5


class Trickle(io.RawIOBase):
    """Gives three bytes at a time, so that samples are torn."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self._data.read(3)


def test_raw_samples_that_come_torn_are_whole() -> None:
    samples = (RAMP[:1001] * 32768).astype("<i2")
    pieces = list(raw(Trickle(samples.tobytes() + b"\x01"), SAMPLE_RATE, threading.Event()))  # type: ignore[arg-type]
    np.testing.assert_array_equal(np.concatenate(pieces), samples / np.float32(32768))


def test_a_file_where_raw_samples_are_expected_is_told() -> None:
    with pytest.raises(AudioError, match="this is a WAV file, but raw 16-bit samples are expected"):
        list(raw(io.BytesIO(b"RIFF\x00\x00"), SAMPLE_RATE, threading.Event()))


def fake_sounddevice(devices: list[dict[str, Any]]) -> Any:
    """A `sounddevice` with these devices, whose one stream the test feeds."""
    module = types.ModuleType("sounddevice")

    class PortAudioError(Exception):
        pass

    class InputStream:
        opened: Any = None

        def __init__(self, *, callback: Callable[..., None], **settings: Any) -> None:
            self.callback, self.settings, self.active, self.closed = callback, settings, False, False
            InputStream.opened = self

        def start(self) -> None:
            self.active = True

        def close(self) -> None:
            self.closed = True

        def give(self, value: float) -> None:
            block = np.full((self.settings["blocksize"], 1), value, np.float32)
            self.callback(block, len(block), None, None)
            block[:] = 9.0  # PortAudio uses its memory again

    def query_devices(device: Any = None, kind: str | None = None) -> Any:
        if kind is None:
            return devices
        if device is None:
            return devices[0]
        found = [one for place, one in enumerate(devices) if device in (place, one["name"])]
        if not found:
            raise ValueError(f"No input device matching {device!r}")
        return found[0]

    vars(module).update(PortAudioError=PortAudioError, InputStream=InputStream, query_devices=query_devices)
    return module


DEVICES = [
    {"name": "Built-in", "default_samplerate": 48000.0, "max_input_channels": 2},
    {"name": "Headset", "default_samplerate": 16000.0, "max_input_channels": 1},
]


def test_a_microphone_gives_its_blocks_at_its_own_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    module = fake_sounddevice(DEVICES)
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    stop = threading.Event()
    with Microphone(None, stop) as microphone:
        assert (microphone.name, microphone.rate) == ("Built-in", 48000)
        opened = module.InputStream.opened
        assert opened.settings["channels"] == 1
        blocks = iter(microphone)
        opened.give(0.25)
        opened.give(0.5)
        assert [float(next(blocks).max()), float(next(blocks).max())] == [0.25, 0.5]
        stop.set()
        assert list(blocks) == []
    assert opened.closed


def test_a_microphone_that_goes_away_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    module = fake_sounddevice(DEVICES)
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    with Microphone("1", threading.Event()) as microphone:
        assert microphone.name == "Headset"
        module.InputStream.opened.active = False
        with pytest.raises(AudioError, match="microphone Headset: was disconnected"):
            next(iter(microphone))


def test_a_device_that_is_not_there_is_told_with_those_that_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", fake_sounddevice(DEVICES))
    with pytest.raises(AudioError, match=r"Studio.*available: Built-in, Headset"):
        Microphone("Studio", threading.Event())


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(MissingExtra, match=r"linnet\[mic\]"):
        Microphone(None, threading.Event())


def test_a_silent_pipe_ends_soon_after_stop() -> None:
    reading, writing = os.pipe()
    stop = threading.Event()
    try:
        with os.fdopen(reading, "rb") as stream:
            chunks = raw(stream, 16_000, stop)
            os.write(writing, b"\x00\x40\x01")  # an odd byte waits for the next one
            assert next(chunks).tolist() == [0.5]
            threading.Timer(0.05, stop.set).start()
            begun = time.monotonic()
            assert list(chunks) == []
            assert time.monotonic() - begun < 10
    finally:
        os.close(writing)
