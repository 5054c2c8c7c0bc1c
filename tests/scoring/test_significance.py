"""MAPSSWE against a slow twin and NIST's own, Holm by closed form, several runs by simulation."""

from __future__ import annotations

import math
import random
import re
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from linnet.errors import OptionError
from linnet.scoring.alignment import Alignment, align
from linnet.scoring.clusters import ResamplingClusters
from linnet.scoring.scores import count_errors
from linnet.scoring.significance import holm, mapsswe, runs_difference, segment_errors
from tests.support.sctk import Steps, sc_stats


def aligned(reference: str, hypothesis: str) -> Alignment:
    return align(reference.split(), hypothesis.split())


LETTERS = st.lists(st.sampled_from("abc"), max_size=12)


@given(LETTERS, LETTERS)
def test_an_alignment_says_where_each_word_went(reference: list[str], hypothesis: list[str]) -> None:
    found = align(reference, hypothesis)
    heard = list(found.inserted[0])
    for word, inserted in zip(found.hypothesis, found.inserted[1:], strict=True):
        heard += [word] if word is not None else []
        heard += inserted
    assert heard == hypothesis
    assert list(found.reference) == reference


@given(*[st.lists(st.sampled_from(["ice", "cream", "icecream", "a"]), max_size=8)] * 2)
def test_an_alignment_counts_as_its_protocol_does(reference: list[str], hypothesis: list[str]) -> None:
    pytest.importorskip("kaldialign", reason="kaldialign is of the extra leaderboard")
    for protocol in ("plain", "open-asr"):
        found = align(reference, hypothesis, protocol)
        counts = count_errors(" ".join(reference), " ".join(hypothesis), protocol)
        assert (list(found.reference), len(found.hypothesis), len(found.inserted)) == (
            reference,
            len(reference),
            len(reference) + 1,
        )
        assert sum(events(found)) == counts.errors
        assert sum(map(len, found.inserted)) == counts.insertions
        assert found.hypothesis.count(None) == counts.deletions


def events(alignment: Alignment) -> list[int]:
    """Errors at each gap and word in turn: gap, word, gap, word, ..., gap."""
    found = [len(alignment.inserted[0])]
    for wrong, inserted in zip(alignment.wrong, alignment.inserted[1:], strict=True):
        found += [int(wrong), len(inserted)]
    return found


def slow_segments(first: Alignment, second: Alignment) -> list[tuple[int, int]]:
    """Segments by a regular expression: from an error to the next two right words without an insertion between."""
    a, b = events(first), events(second)
    text = "".join("x" if x or y else "." for x, y in zip(a, b, strict=True))
    found = []
    place = 0
    while (begin := text.find("x", place)) >= 0:
        # two right words are ". . ." on word, gap, word; words stand at odd places
        ends = [m.start() for m in re.finditer(r"(?=\.\.\.)", text) if m.start() > begin and m.start() % 2 == 1]
        place = ends[0] if ends else len(text)
        found.append((sum(a[begin:place]), sum(b[begin:place])))
    return found


@given(LETTERS, LETTERS, LETTERS)
def test_segments_are_those_of_a_slow_twin(reference: list[str], one: list[str], other: list[str]) -> None:
    first, second = align(reference, one), align(reference, other)
    found = segment_errors(first, second)
    assert found == slow_segments(first, second)
    assert sum(a for a, _ in found) == sum(events(first))


def test_segments_by_hand() -> None:
    first = aligned("the cat sat on the mat and slept there", "a cat sat on the hat and slept here")
    second = aligned("the cat sat on the mat and slept there", "the cat sat on on the mat and slept there today")
    assert segment_errors(first, second) == [(1, 0), (1, 1), (1, 1)]
    with pytest.raises(OptionError, match="their normalized references are equal"):
        segment_errors(first, aligned("other", ""))


def noisy(rng: random.Random, words: list[str], wrong: float) -> list[str]:
    """Words with errors by chance, the last two right."""
    heard = []
    for word in words[:-2]:
        step = rng.random()
        if step >= wrong:
            heard.append(word)
        elif step < wrong / 3:
            heard.append(word + "x")
        elif step < wrong / 2:
            heard += [word, "uh"]
    return heard + words[-2:]


def pairs(count: int, seed: int) -> list[tuple[list[str], list[str], list[str]]]:
    rng = random.Random(seed)
    said = [[rng.choice("abcdefgh") for _ in range(rng.randint(4, 20))] for _ in range(count)]
    return [(words, noisy(rng, words, 0.2), noisy(rng, words, 0.1)) for words in said]


def test_the_statistic_by_hand() -> None:
    both = [(align(said, a), align(said, b)) for said, a, b in pairs(60, 1)]
    differences = [a - b for first, second in both for a, b in slow_segments(first, second)]
    found = mapsswe(both)
    z = statistics.mean(differences) / (statistics.stdev(differences) / math.sqrt(len(differences)))
    assert (found.segments, found.z) == (len(differences), pytest.approx(z))
    assert found.p_value == pytest.approx(2 * stats.norm.sf(abs(z)))
    assert found.mean > 0
    assert found.p_value < 0.05


def of_steps(steps: Steps) -> Alignment:
    reference: list[str] = []
    heard: list[str | None] = []
    inserted: list[list[str]] = [[]]
    for step, said, word in steps:
        if step == "I":
            inserted[-1].append(word)
        else:
            reference.append(said)
            heard.append(None if step == "D" else word)
            inserted.append([])
    return Alignment(tuple(reference), tuple(heard), tuple(map(tuple, inserted)))


@pytest.mark.parametrize("seed", [2, 3])
def test_it_is_nists_own(sctk: str, seed: int) -> None:
    """sc_stats on sclite's alignments; it overlooks insertions after the last word, so here there are none."""
    texts = pairs(150, seed)
    systems = [[("s", " ".join(said), " ".join(heard[which])) for said, *heard in texts] for which in (0, 1)]
    (first, second), line = sc_stats(sctk, systems)
    found = mapsswe((of_steps(first[number]), of_steps(second[number])) for number in first)
    numbers = {name: float(value) for name, value in re.findall(r"\((# segs|mean|std dev|Z Stat): *(-?[\d.]+)\)", line)}
    assert found.segments == numbers["# segs"] > 100
    assert (found.mean, found.deviation, found.z) == pytest.approx(
        (numbers["mean"], numbers["std dev"], numbers["Z Stat"]), abs=6e-4
    )


def test_no_difference_and_no_spread() -> None:
    same = aligned("a b c d", "a x c d")
    right, wrong = aligned("a", "a"), aligned("a", "b")
    assert mapsswe([]).p_value == 1.0
    assert (mapsswe([(same, same)]).segments, mapsswe([(same, same)]).p_value) == (1, 1.0)
    alike = mapsswe([(wrong, right)] * 6)
    assert (alike.mean, alike.z, alike.p_value) == (1.0, None, 2 * 0.5**6)


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_rejects_step_by_step(p_values: list[float]) -> None:
    """Holm's own wording: the smallest against alpha / m, the next against alpha / (m - 1), until one is kept."""
    adjusted = holm(p_values)
    for alpha in (0.01, 0.05, 0.3):
        rejected = set()
        for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
            if p_values[place] * (len(p_values) - rank) > alpha:
                break
            rejected.add(place)
        assert {place for place, p_value in enumerate(adjusted) if p_value <= alpha} == rejected


def test_holm_by_closed_form() -> None:
    assert holm([]) == []
    assert holm([0.2]) == [0.2]
    assert holm([0.01, 0.02, 0.03, 0.04]) == pytest.approx([0.04, 0.06, 0.06, 0.06])
    assert holm([0.6, 0.5, 0.001]) == pytest.approx([1.0, 1.0, 0.003])


def simulated_runs(rng: np.random.Generator, runs: int, words: np.ndarray) -> np.ndarray:
    """Errors [runs, utterances] of a system whose seed moves its rate, 0.2 on average."""
    rates = np.clip(0.2 + 0.03 * rng.standard_normal(runs), 0.01, 0.9)
    return np.stack([rng.binomial(words, rate) for rate in rates]).astype(float)


def test_seeds_that_differ_are_no_difference_of_systems() -> None:
    """Two systems of the same kind, three seeds each: over runs the interval holds 0, over clusters alone not."""
    rng = np.random.default_rng(8)
    held = {"runs": 0, "clusters": 0}
    for seed in range(200):
        words = rng.integers(5, 20, 200)
        clusters = ResamplingClusters.of("speakers", [str(n % 20) for n in range(200)])
        a, b = simulated_runs(rng, 3, words), simulated_runs(rng, 3, words)
        for name, chosen in (("runs", (a, b)), ("clusters", (a.mean(axis=0)[None], b.mean(axis=0)[None]))):
            found = runs_difference(*chosen, words.astype(float), clusters=clusters, resamples=200, seed=seed)
            assert found is not None
            held[name] += found.interval.low <= 0 <= found.interval.high
    assert 0.91 <= held["runs"] / 200 <= 1.0
    assert held["clusters"] / 200 <= 0.7


def test_runs_by_hand() -> None:
    words = np.full(4, 10.0)
    a, b = np.array([[1.0, 2, 3, 4], [2, 3, 4, 5]]), np.array([[0.0, 1, 0, 1]])
    clusters = ResamplingClusters.single(4)
    found, alone = (runs_difference(runs, b, words, clusters=clusters, resamples=200) for runs in (a, a[:1]))
    assert found is not None
    assert alone is not None
    assert found.value == pytest.approx(12 / 40 - 2 / 40)
    over_blocks = runs_difference(a.mean(axis=0)[None], b, words, clusters=clusters, resamples=200)
    assert over_blocks is not None
    assert found.error**2 - over_blocks.error**2 == pytest.approx(statistics.variance([0.25, 0.35]) / 2)
    assert found.interval.method == "t over clusters and runs"
    assert alone.interval.method != "t over clusters and runs"
    assert found.interval.low <= over_blocks.interval.low
