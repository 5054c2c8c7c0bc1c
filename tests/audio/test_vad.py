"""Voice activity: the wheel's own network is the oracle; nothing of it leaks into the process."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from linnet.audio import load
from linnet.audio.silero import FRAME, load_network
from linnet.audio.types import SAMPLE_RATE, Samples
from linnet.audio.vad import BLOCK, Frames, Region, RegionFinder, Watcher
from linnet.errors import ModelError

LONGEST = 29 * SAMPLE_RATE


def blocks(samples: Samples) -> list[Samples]:
    return [samples[at : at + BLOCK] for at in range(0, len(samples), BLOCK)]


def watch(samples: Samples) -> list[Frames]:
    return list(map(Watcher().push, blocks(samples)))


def regions(samples: Samples) -> list[Region]:
    finder = RegionFinder(LONGEST)
    return [region for frames in watch(samples) for region in finder.push(frames)] + finder.finish()


@pytest.fixture(scope="module")
def example(root: Path) -> Samples:
    return load(root / "examples" / "digits-long.flac").samples


def test_the_network_is_the_wheels(example: Samples) -> None:
    spec = importlib.util.find_spec("silero_vad")
    assert spec is not None
    assert spec.origin is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = torch.jit.load(str(Path(spec.origin).parent / "data" / "silero_vad.jit"))
    part = example[: 120 * FRAME]
    with torch.no_grad():
        frames = torch.from_numpy(part).view(-1, 1, FRAME)
        expected = [theirs(frame, SAMPLE_RATE).item() for frame in frames]
    found = load_network()(np.concatenate([np.zeros(64, np.float32), part]))
    assert found.tolist() == pytest.approx(expected, abs=1e-4)


def test_using_it_leaves_the_process_as_it_was() -> None:
    code = """
import sys, torch, numpy as np
torch.set_num_threads(3)
from linnet.audio.vad import Watcher
from linnet.errors import ModelError
Watcher().push(np.zeros(16000, np.float32))
assert torch.get_num_threads() == 3, torch.get_num_threads()
assert "silero_vad" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_is_heard_of_a_moment_does_not_depend_on_hours_before_it(example: Samples) -> None:
    """Two networks hear a block, which began 2 s before it and before the previous one: so does a later recording."""
    long = np.tile(example, 3)
    last = watch(long)[4]
    again = watch(long[2 * BLOCK :])[2]
    np.testing.assert_array_equal(last.probability, again.probability)


@pytest.mark.parametrize("gain", [1.0, 0.01, 0.001])
def test_speech_is_found_however_quiet(example: Samples, gain: float) -> None:
    found = regions((example * np.float32(gain)).astype(np.float32))
    strings = [(0.35, 1.7), (2.94, 5.2), (6.1, 8.1), (9.46, 10.8), (11.67, 13.4), (14.77, 16.5), (17.27, 19.5)]
    strings += [(20.85, 22.3), (23.19, 24.8), (25.48, 26.9)]
    for start, end in strings:
        held = [one for one in found if one.start < end * SAMPLE_RATE and start * SAMPLE_RATE < one.end]
        assert held[0].start <= (start + 0.1) * SAMPLE_RATE
        assert held[-1].end >= (end - 0.1) * SAMPLE_RATE


def sounds() -> dict[str, Samples]:
    rng, count = np.random.default_rng(0), 20 * SAMPLE_RATE
    time = np.arange(count) / SAMPLE_RATE
    chord = sum(0.1 * np.sin(2 * np.pi * hertz * time) for hertz in (220.0, 277.2, 329.6))
    noise = rng.standard_normal(count)
    made = {"silence": 0 * time, "noise": 0.1 * noise, "quiet noise": 1e-3 * noise, "chord": chord}
    made["bursts"] = 0.2 * noise * (time % 1.0 < 0.2)
    return {name: np.asarray(sound, np.float32) for name, sound in made.items()}


@pytest.mark.parametrize("name", sounds())
def test_what_is_no_speech(name: str) -> None:
    assert regions(sounds()[name]) == []


def test_a_region_ends_after_a_pause_and_not_before() -> None:
    probability = np.array([0, 0.2, 0.4, 0.2, 0.1, 0.1, 0.1, 0.2, 0.1, 0.1, 0.1, 0.1, 0.9], np.float32)
    finder = RegionFinder(LONGEST)
    found = finder.push(Frames(probability, np.zeros(13, np.float32)))
    assert found == [Region(2 * FRAME, 8 * FRAME)]
    assert finder.settled == 12 * FRAME
    assert finder.finish() == [Region(12 * FRAME, 13 * FRAME)]
    assert finder.settled == 13 * FRAME


def test_a_wheel_that_is_missing_or_damaged_names_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_network.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="pip install silero-vad, or use --no-vad"):
        load_network()
    spec = importlib.util.spec_from_file_location("silero_vad", tmp_path / "__init__.py")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "silero_vad.jit").write_bytes(b"torn")
    with pytest.raises(ModelError, match=r"silero_vad\.jit cannot be read"):
        load_network()
    load_network.cache_clear()
