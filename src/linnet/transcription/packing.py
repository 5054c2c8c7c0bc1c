"""Pack regions of speech into windows for one pass of the model, without splitting words.

Time line of one packed window, `-` speech, `.` silence::

    regions        ----  ------- .... ----            ---------
    windows      [.----..-------......----.]        [.---------
                 pad ^ gaps stay, times stay true ^ pad      ^ another window: a pause was the better place to cut
"""

from __future__ import annotations

from dataclasses import dataclass

from linnet.audio.types import SAMPLE_RATE
from linnet.audio.vad import Region

PAD = round(0.3 * SAMPLE_RATE)  # samples of non-speech kept at both ends of a window
LONG_PAUSE = SAMPLE_RATE // 2  # samples of a pause: longer pauses are not better places to cut


@dataclass(frozen=True)
class WindowSpan:
    """A window from sample `start` to `end`, and the regions of speech in it.

    `joined`: it starts at the end of the window before it, in the middle of speech, so a word may be split.
    """

    start: int
    end: int
    regions: tuple[Region, ...]
    joined: bool = False


def longest_region(limit: int) -> int:
    """The maximum length of a region in a window of `limit` samples with padding."""
    return limit - 2 * PAD


class WindowPacker:
    """Packs regions, in order, into windows of at most `limit` samples without overlap.

    Regions have at most `longest_region(limit)` samples. A window is filled while the next region fits, and ends in the
    last long pause of its second half, else in the longest pause there, else before the region that does not fit. It
    has a pad at each end, at most half of the pause there. A pause over `longest_gap` always ends a window.
    """

    def __init__(self, limit: int, longest_gap: int | None = None) -> None:
        self._room, self._longest_gap = longest_region(limit), longest_gap
        self._held: list[Region] = []  # not in a window yet
        self._before = -PAD  # end of the last speech in a window

    def oldest(self, settled: int) -> int:
        """The sample before which no further window will start, if no further region starts before `settled`."""
        return max(min(settled, self._held[0].start if self._held else settled) - PAD, 0)

    def push(self, region: Region) -> list[WindowSpan]:
        """Add the next region; returns the windows that it completes."""
        spans = self.wait(region.start)
        while self._held and region.end - self._held[0].start > self._room:
            spans.append(self._split(region))
        self._held.append(region)
        return spans

    def wait(self, settled: int) -> list[WindowSpan]:
        """The window that is complete if no further region starts before the sample `settled`."""
        held = self._held
        full = bool(held) and settled - held[0].start > self._room and settled - held[-1].end >= LONG_PAUSE
        apart = bool(held) and self._longest_gap is not None and settled - held[-1].end > self._longest_gap
        return [self._window(len(held), settled)] if full or apart else []

    def finish(self) -> list[WindowSpan]:
        """The last window."""
        return [self._window(len(self._held), None)] if self._held else []

    def _split(self, region: Region) -> WindowSpan:
        """A window of the first of the pending regions, which together with `region` are too long for one."""
        starts = [one.start for one in (*self._held[1:], region)]
        gaps = [start - one.end for start, one in zip(starts, self._held, strict=True)]
        half = self._held[0].start + self._room // 2
        places = [place for place, one in enumerate(self._held) if one.end >= half] or [len(gaps) - 1]
        best = max(places, key=lambda place: (min(gaps[place], LONG_PAUSE), place))
        return self._window(best + 1, starts[best])

    def _window(self, count: int, following: int | None) -> WindowSpan:
        """A window of the first `count` pending regions; the next region starts at `following` or later."""
        regions = tuple(self._held[:count])
        del self._held[:count]
        first, last = regions[0], regions[-1]
        after = PAD if following is None else min(PAD, (following - last.end) // 2)
        before = min(PAD, (first.start - self._before + 1) // 2, first.start)
        self._before = last.end
        return WindowSpan(first.start - before, last.end + after, regions, first.joined)


class RegionWindows:
    """Instead of a `WindowPacker`: each region is a window, without padding."""

    def oldest(self, settled: int) -> int:
        """As in `WindowPacker`."""
        return settled

    def push(self, region: Region) -> list[WindowSpan]:
        """The window of this region."""
        return [WindowSpan(region.start, region.end, (region,), region.joined)]

    def wait(self, settled: int) -> list[WindowSpan]:  # noqa: ARG002  a `WindowPacker`'s
        """None: every region is complete."""
        return []

    def finish(self) -> list[WindowSpan]:
        """None: nothing is pending."""
        return []
