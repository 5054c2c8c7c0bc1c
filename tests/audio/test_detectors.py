"""Detectors: whatever the chunks, and against a twin that has the whole recording before it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnet.audio.detectors import PAUSE, SHORTEST_REST, Detector, PauseCutter, VoiceActivity, quietest_point
from linnet.audio.source import open_audio
from linnet.audio.types import SAMPLE_RATE, Audio, Samples
from linnet.audio.vad import Region
from linnet.transcription.windows import WindowPlan

LIMIT = 2 * SAMPLE_RATE


@st.composite
def recordings(draw: st.DrawFn) -> Samples:
    """Noise of several levels, pauses and digital silence, up to 12 s."""
    lengths = st.integers(1, 3 * SAMPLE_RATE)
    parts = draw(st.lists(st.tuples(lengths, st.sampled_from([0.0, 0.0, 1e-3, 0.1, 0.5])), min_size=1, max_size=4))
    random = np.random.default_rng(draw(st.integers(0, 99)))
    return np.concatenate([level * random.standard_normal(count) for count, level in parts]).astype(np.float32)


def found(detector: Detector, samples: Samples, chunks: list[int], longest: int = LIMIT) -> list[Region]:
    """The regions; chunks of these lengths, over and over."""
    detector.begin(longest)
    regions: list[Region] = []
    at, turn = 0, 0
    while at < len(samples):
        regions += detector.push(samples[at : at + chunks[turn % len(chunks)]])
        at, turn = at + chunks[turn % len(chunks)], turn + 1
        assert all(region.end <= at for region in regions)
        assert not regions or regions[-1].start <= detector.settled
    before = detector.settled
    rest = detector.finish()
    assert all(region.start >= before for region in rest)
    return regions + rest


def twin(samples: Samples) -> list[Region]:
    """All of a recording, cut with all of it at hand."""
    regions, start, joined = [], 0, False
    while len(rest := samples[start : start + LIMIT + 1]) > (SHORTEST_REST if start else 0):
        end, paused = start + len(rest), True
        if len(rest) > LIMIT:
            cut = quietest_point(rest[:LIMIT])
            power = np.square(rest[: LIMIT // PAUSE * PAUSE].astype(np.float64)).reshape(-1, PAUSE).mean(1)
            around = np.square(rest[:LIMIT][max(cut - PAUSE // 2, 0) : cut + PAUSE // 2].astype(np.float64)).mean()
            end, paused = start + cut, bool(around <= np.percentile(power, 90) * 10**-2.5)
        if sounds := samples[start:end].any():
            regions.append(Region(start, end, joined))
        start, joined = end, bool(sounds) and not paused
    return regions


@settings(deadline=None, max_examples=60)
@given(recordings(), st.lists(st.integers(1, 5 * SAMPLE_RATE), min_size=1, max_size=4))
def test_all_of_a_recording_is_cut_as_with_all_of_it_at_hand(samples: Samples, chunks: list[int]) -> None:
    regions = found(PauseCutter(), samples, [max(chunk, 100) for chunk in chunks])
    assert regions == twin(samples)
    assert all(one.end <= other.start for one, other in pairwise(regions))
    assert all(0 < region.end - region.start <= LIMIT for region in regions)
    covered = np.zeros(len(samples), bool)
    for region in regions:
        covered[region.start : region.end] = True
    missed = np.flatnonzero(samples * ~covered)
    assert not len(missed) or missed[0] >= len(samples) - SHORTEST_REST


def test_a_detector_begins_again_with_each_recording() -> None:
    sound = np.random.default_rng(0).standard_normal(5 * SAMPLE_RATE).astype(np.float32)
    for detector in (PauseCutter(), VoiceActivity()):
        first = found(detector, sound, [detector.block])
        assert found(detector, sound, [detector.block]) == first


class Loud:
    """A detector of ten lines: tenths of a second that are not silent, as on a vocal stem."""

    block, covers = SAMPLE_RATE // 10, False

    def begin(self, longest: int) -> None:
        self.settled, self.longest = 0, longest

    def push(self, samples: Samples) -> list[Region]:
        start, self.settled = self.settled, self.settled + len(samples)
        return [Region(start, self.settled)] if np.abs(samples).max() > 0.1 else []

    def finish(self) -> list[Region]:
        return []


@pytest.mark.parametrize("limit", [SAMPLE_RATE * 3, SAMPLE_RATE * 60])
def test_any_detector_may_choose_what_is_heard(limit: int) -> None:
    samples = np.zeros(30 * SAMPLE_RATE, np.float32)
    for start in (5, 6, 20):
        samples[start * SAMPLE_RATE : start * SAMPLE_RATE + 8000] = 0.5
    plan = WindowPlan(open_audio(Audio(samples)), limit, Loud(), longest_gap=3 * SAMPLE_RATE)
    windows = list(plan)
    assert [[region.start / SAMPLE_RATE for region in (one.regions[0], one.regions[-1])] for one in windows] == [
        [5.0, 6.4],
        [20.0, 20.4],
    ]
    for one in windows:
        assert one.samples.tolist() == samples[one.start : one.end].tolist()
    assert plan.length == len(samples)
