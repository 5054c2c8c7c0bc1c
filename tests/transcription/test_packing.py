"""Packing speech into windows: what holds for any recording."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from linnet.audio.types import SAMPLE_RATE
from linnet.audio.vad import FRAME, Frames, Region, RegionFinder
from linnet.transcription.packing import PAD, WindowPacker, WindowSpan, longest_region

LIMIT = 10 * SAMPLE_RATE
SECOND = SAMPLE_RATE


@st.composite
def activity(draw: st.DrawFn) -> Frames:
    """Frames of speech and pauses from one frame to 40 s long, some of them noisy."""
    stretches = draw(st.lists(st.tuples(st.integers(1, 1200), st.sampled_from([0.0, 0.1, 0.2, 0.5, 1.0])), max_size=25))
    levels = np.random.default_rng(draw(st.integers(0, 99)))
    probability = np.concatenate([np.zeros(0), *(np.full(count, chance) for count, chance in stretches)])
    return Frames(probability.astype(np.float32), levels.uniform(-60, -10, len(probability)).astype(np.float32))


def find_regions(parts: Sequence[Frames], longest: int) -> list[Region]:
    finder = RegionFinder(longest)
    return [region for frames in parts for region in finder.push(frames)] + finder.finish()


def pack(regions: Sequence[Region], longest_gap: int | None = None) -> list[WindowSpan]:
    packer = WindowPacker(LIMIT, longest_gap)
    return [span for region in regions for span in packer.push(region)] + packer.finish()


def packed(frames: Frames, longest_gap: int | None) -> tuple[list[Region], list[WindowSpan]]:
    regions = find_regions([frames], longest_region(LIMIT))
    return regions, pack(regions, longest_gap)


@settings(deadline=None, max_examples=60)
@given(activity(), st.sampled_from([None, SECOND, 5 * SECOND]))
def test_windows_hold_all_speech_in_order(frames: Frames, longest_gap: int | None) -> None:
    regions, spans = packed(frames, longest_gap)
    assert [region for span in spans for region in span.regions] == regions
    for index, speech in enumerate(frames.probability >= 0.3):
        if speech:  # wherever speech was heard, a window holds the whole frame
            assert any(span.start <= index * FRAME and (index + 1) * FRAME <= span.end for span in spans)
    for span in spans:
        assert span.start <= span.regions[0].start
        assert span.regions[-1].end <= span.end


@settings(deadline=None, max_examples=60)
@given(activity(), st.sampled_from([None, SECOND, 5 * SECOND]))
def test_windows_fit_and_do_not_overlap(frames: Frames, longest_gap: int | None) -> None:
    _, spans = packed(frames, longest_gap)
    assert all(0 <= span.start < span.end and span.end - span.start <= LIMIT for span in spans)
    assert all(one.end <= other.start for one, other in pairwise(spans))
    if longest_gap is not None:
        gaps = [b.start - a.end for span in spans for a, b in pairwise(span.regions)]
        assert all(gap <= longest_gap for gap in gaps)


@settings(deadline=None, max_examples=60)
@given(activity())
def test_speech_is_cut_only_where_it_is_longer_than_a_window(frames: Frames) -> None:
    regions, spans = packed(frames, None)
    uncut = find_regions([frames], 10**9)
    cuts = [region.start for region in regions if region.joined]
    for cut in cuts:
        (whole,) = (region for region in uncut if region.start < cut < region.end)
        assert whole.end - whole.start > longest_region(LIMIT)
    starts = {span.start for span in spans if span.joined}
    assert starts <= set(cuts)
    assert all(abs(span.start - region.start) <= PAD for span in spans for region in span.regions[:1])
    assert not {span.start for span in spans if not span.joined} & set(cuts)


@settings(deadline=None, max_examples=60)
@given(activity(), st.integers(1, 700))
def test_regions_do_not_depend_on_how_the_frames_come(frames: Frames, size: int) -> None:
    parts = [
        Frames(frames.probability[at : at + size], frames.level[at : at + size])
        for at in range(0, len(frames.probability), size)
    ]
    longest = longest_region(LIMIT)
    assert find_regions(parts, longest) == find_regions([frames], longest)


def test_a_window_ends_in_the_last_long_pause_that_it_can() -> None:
    regions = [Region(0, 3 * SECOND), Region(4 * SECOND, 6 * SECOND), Region(round(6.2 * SECOND), 8 * SECOND)]
    regions += [Region(round(8.1 * SECOND), 12 * SECOND)]
    first, second = pack(regions)
    assert first.regions == tuple(regions[:2])  # 0.2 s of pause rather than 0.1 s
    assert (first.start, first.end) == (0, round(6.1 * SECOND))
    assert (second.start, second.end) == (round(6.1 * SECOND), 12 * SECOND + PAD)


def test_long_speech_is_cut_where_it_is_quietest() -> None:
    probability, level = np.ones(600, np.float32), np.full(600, -20, np.float32)
    level[250] = -50
    first, second, *_ = find_regions([Frames(probability, level)], 300 * FRAME)
    assert first == Region(0, 251 * FRAME)
    assert (second.start, second.joined) == (251 * FRAME, True)


@settings(deadline=None, max_examples=30)
@given(activity(), st.sampled_from([None, SECOND]))
def test_windows_come_in_time_for_constant_memory(frames: Frames, longest_gap: int | None) -> None:
    """Frame by frame the same windows hold the same speech, and never more than three of them is waited for."""
    finder, packer = RegionFinder(longest_region(LIMIT)), WindowPacker(LIMIT, longest_gap)
    spans: list[WindowSpan] = []
    for index in range(len(frames.probability)):
        one = Frames(frames.probability[index : index + 1], frames.level[index : index + 1])
        for region in finder.push(one):
            spans += packer.push(region)
        spans += packer.wait(finder.settled)
        assert (index + 1) * FRAME - packer.oldest(finder.settled) <= 3 * LIMIT
        assert all(span.end <= (index + 1) * FRAME for span in spans[-1:])
    for region in finder.finish():
        spans += packer.push(region)
    spans += packer.finish()
    assert [region for span in spans for region in span.regions] == find_regions([frames], longest_region(LIMIT))
    assert all(one.end <= other.start for one, other in pairwise(spans))
    assert all(span.end - span.start <= LIMIT for span in spans)
