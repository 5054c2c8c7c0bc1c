"""Live voice activity against the one of whole recordings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from linnet.audio import load
from linnet.audio.silero import CONTEXT, FRAME, load_network
from linnet.audio.types import Samples
from linnet.audio.vad import BLOCK, Watcher
from linnet.streaming.activity import SECONDS, STRETCH, LiveActivity, SpeechTracker
from linnet.streaming.intake import Intake


@pytest.fixture(scope="module")
def sound(root: Path) -> Samples:
    samples = load(root / "examples" / "speech-long.flac").samples[: 2 * BLOCK + 100 * FRAME]
    return samples[: len(samples) // FRAME * FRAME]


def live(samples: Samples) -> list[float]:
    activity = LiveActivity()
    return [activity.push(samples[at : at + FRAME]) for at in range(0, len(samples), FRAME)]


def loud(samples: Samples) -> Samples:
    """With a loud frame every half second, so that neither of the two amplifies anything much."""
    made = samples.copy()
    for at in range(0, len(made), BLOCK // 32):
        made[at : at + FRAME] = 0.5 * np.sin(np.arange(FRAME) * 0.2)
    return made


def test_frame_by_frame_it_is_the_watcher_of_whole_blocks(sound: Samples) -> None:
    samples = loud(sound)
    assert len(samples) > 2 * BLOCK  # so that the network is replaced twice
    watcher = Watcher()
    blocks = [watcher.push(samples[at : at + BLOCK]).probability for at in range(0, len(samples), BLOCK)]
    np.testing.assert_allclose(live(samples), np.concatenate(blocks), atol=2e-4)


def test_a_network_that_goes_on_is_one_that_heard_all(sound: Samples) -> None:
    network, samples = load_network(), sound[: 40 * FRAME]
    padded = np.concatenate([np.zeros(CONTEXT, np.float32), samples])
    memory, found = network.empty(), []
    for first, last in ((0, 1), (1, 20), (20, 40)):
        some, memory = network.resume(padded[first * FRAME : last * FRAME + CONTEXT], memory)
        found.append(some)
    np.testing.assert_allclose(np.concatenate(found, 1)[0], network(padded), atol=1e-5)


def test_a_quiet_voice_is_heard_after_a_while(sound: Samples) -> None:
    quiet = sound[: 400 * FRAME] * np.float32(0.01)
    amplified, plain = np.array(live(np.tile(quiet, 2)))[400:], np.array(live(sound[: 400 * FRAME]))
    assert ((amplified > 0.5) == (plain > 0.5)).mean() > 0.9


def track(*runs: tuple[int, float]) -> SpeechTracker:
    tracker = SpeechTracker()
    for count, probability in runs:
        for _ in range(count):
            tracker.push(probability)
    return tracker


def test_short_pauses_do_not_end_a_stretch_of_speech_and_long_ones_do() -> None:
    one = track((10, 0.0), (20, 0.9), (STRETCH - 1, 0.0), (5, 0.9), (3, 0.1))
    assert (one.onset, one.end, one.sure, one.speaking) == (10, 10 + 20 + STRETCH - 1 + 5, 25, False)
    assert one.silence == pytest.approx(3 * SECONDS)
    assert one.resumed == 10 + 20 + STRETCH - 1
    two = track((10, 0.0), (20, 0.9), (STRETCH, 0.0), (5, 0.9))
    assert (two.onset, two.sure, two.speaking) == (10 + 20 + STRETCH, 5, True)
    assert two.resumed == two.onset
    assert track((10, 0.0), (20, 0.9), (5, 0.0), (5, 0.9)).resumed == 10  # 0.16 s are no pause


def test_speech_goes_on_between_the_two_thresholds_and_does_not_begin_there() -> None:
    assert track((10, 0.4)).sure == 0
    assert track((1, 0.6), (9, 0.4)).speaking
    assert track((1, 0.6), (9, 0.4)).end == 10


def test_what_is_held_is_the_newest_audio_to_the_sample() -> None:
    class Quiet:
        def push(self, frame: Samples) -> float:
            return 0.0

    samples = np.arange(20 * 16_000, dtype=np.float32)
    intake = Intake(Quiet())
    for at in range(0, len(samples), 777):
        intake.add(samples[at : at + 777])
        while intake.next_frame(last=False) is not None:
            pass
    start, held = intake.since(18.0)
    assert start == pytest.approx(18.0, abs=SECONDS / 2)
    np.testing.assert_array_equal(held, samples[round(start * 16_000) : intake.position])
    start, held = intake.since(3.0)  # too long ago: from what there is
    assert len(held) == 160 * FRAME
    assert intake.waiting == pytest.approx((len(samples) - intake.position) / 16_000)
    assert intake.waiting < SECONDS
