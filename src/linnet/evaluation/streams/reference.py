"""When the words of a reference were said: as the manifest has it, or from a transcript with word times."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from linnet.alignment.words import interpolate
from linnet.data.manifest import WordTime
from linnet.scoring.alignment import find_spans
from linnet.scoring.latency import SpokenWord


def from_manifest(words: Sequence[WordTime]) -> list[SpokenWord]:
    """The words of an utterance that was aligned."""
    return [SpokenWord(one.word, one.start, one.end) for one in words]


def from_transcript(
    text: str, heard: Sequence[WordTime], duration: float, normalize: Callable[[str], str]
) -> list[SpokenWord]:
    """The words of a text with the times of a transcript's words that are equal after normalizing each.

    The words between, which were not recognized, share the time between their neighbors and are not `sure`.
    """
    said = text.split()
    spans = find_spans([normalize(word) for word in said], [normalize(one.word) for one in heard])
    times: dict[int, WordTime] = {}
    for span in spans:
        if span.kind == "equal":
            pairs = zip(range(span.reference_start, span.reference_end), heard[span.hypothesis_start :], strict=False)
            times.update(pairs)
    return _filled(said, times, duration)


def _filled(said: Sequence[str], times: dict[int, WordTime], duration: float) -> list[SpokenWord]:
    found: list[SpokenWord] = []
    place = 0
    while place < len(said):
        if place in times:
            found.append(SpokenWord(said[place], times[place].start, times[place].end))
            place += 1
            continue
        after = next((at for at in range(place, len(said)) if at in times), len(said))
        begin = found[-1].end if found else 0.0
        end = max(begin, times[after].start if after in times else duration)
        shares = interpolate([len(word) for word in said[place:after]], begin, end)
        found += [SpokenWord(word, *share, sure=False) for word, share in zip(said[place:after], shares, strict=True)]
        place = after
    return found
