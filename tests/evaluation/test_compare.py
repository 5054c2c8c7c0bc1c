"""Two systems compared: who wins, how surely, where, and by which words."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from linnet.errors import OptionError
from linnet.evaluation.changes import MOST, find_changes
from linnet.evaluation.compare import CompareOptions, Comparison, compare, compare_all, compare_runs
from linnet.evaluation.log import ScoredRow
from linnet.evaluation.rows import rescore, score_rows
from linnet.evaluation.strata import OTHERS, binned, stratify
from linnet.scoring.bootstrap import bootstrap_ratio
from linnet.scoring.clusters import ResamplingClusters
from linnet.scoring.scores import count_errors
from linnet.scoring.significance import holm
from linnet.text.normalizers import Normalizers

FAST = CompareOptions(resamples=300)
VOCABULARY = [f"w{number}" for number in range(40)]


def row(number: int, said: str, heard: str, **known: object) -> ScoredRow:
    counts = count_errors(said, heard)
    return replace(
        ScoredRow(number, f"u{number}", f"{number}.wav", said),
        hypothesis=heard,
        normalizer="none@00000000",
        normalized_text=said,
        normalized_hypothesis=heard,
        words=counts.words,
        substitutions=counts.substitutions,
        deletions=counts.deletions,
        insertions=counts.insertions,
        **known,  # type: ignore[arg-type]
    )


def system(
    wrong: float | Callable[[int], float], *, seed: int, count: int = 240, speakers: int = 24
) -> list[ScoredRow]:
    """Rows of the same utterances for every seed; each word is wrong by chance, by utterance where a function says."""
    texts, errors = random.Random(0), random.Random(seed)
    rows = []
    for number in range(count):
        said = texts.choices(VOCABULARY, k=10)
        chance = wrong(number) if callable(wrong) else wrong
        heard = [word + "x" if errors.random() < chance else word for word in said]
        language = "de" if number % 3 else "en"
        known = {"speaker": f"s{number % speakers}", "language": language, "duration": 1.0 + number % 12}
        rows.append(row(number, " ".join(said), " ".join(heard), **known))
    return rows


WORSE, BETTER = system(0.2, seed=1), system(0.1, seed=2)


def test_the_better_one_wins_and_both_tests_say_so() -> None:
    found = compare(WORSE, BETTER, names=("small", "large"), options=FAST)
    assert found.winner == "large"
    assert found.difference is not None
    assert found.difference.value == pytest.approx(found.a.errors / 2400 - found.b.errors / 2400)
    assert found.difference.interval.unit == "speakers"
    assert found.difference.interval.low > 0
    assert max(found.p_value or 1, found.matched_pairs.p_value) < 0.01
    assert (found.utterances, found.label, found.left_out) == (240, "plain, none@00000000", {})


def test_the_other_way_round_everything_turns() -> None:
    one, other = compare(WORSE, BETTER, options=FAST), compare(BETTER, WORSE, options=FAST)
    assert (one.winner, other.winner) == ("B", "A")
    assert one.difference is not None
    assert other.difference is not None
    assert one.difference.value == -other.difference.value
    assert one.difference.interval.low == pytest.approx(-other.difference.interval.high)
    assert (one.changes.fixed, one.changes.broken) == (other.changes.broken, other.changes.fixed)
    assert one.matched_pairs.z == pytest.approx(-(other.matched_pairs.z or 0))


def test_the_interval_is_the_paired_bootstraps() -> None:
    found = compare(WORSE, BETTER, options=FAST).difference
    apart = [a.counts.errors - b.counts.errors for a, b in zip(WORSE, BETTER, strict=True)]
    clusters = ResamplingClusters.of("speakers", [one.speaker or "" for one in WORSE])
    assert found == bootstrap_ratio(np.array(apart, float), np.full(240, 10.0), clusters=clusters, resamples=300)


def test_the_same_system_twice_has_no_winner() -> None:
    found = compare(WORSE, WORSE, options=FAST)
    assert (found.winner, found.p_value, found.matched_pairs.p_value) == (None, 1.0, 1.0)
    assert found.lines()[0] == "A and B make the same number of errors"
    assert not found.changes.words


def test_chance_has_no_winner_as_a_rule() -> None:
    winners = [
        compare(system(0.15, seed=seed, count=60), system(0.15, seed=100 + seed, count=60), options=FAST).winner
        for seed in range(20)
    ]
    assert winners.count(None) >= 17


def test_rows_are_brought_together_by_their_ids() -> None:
    shuffled = list(BETTER)
    random.Random(4).shuffle(shuffled)
    assert compare(WORSE, shuffled, options=FAST) == compare(WORSE, BETTER, options=FAST)


def test_rows_that_only_one_has_scored_are_counted() -> None:
    failed = [replace(one, error="no sound") if one.row < 5 else one for one in BETTER[:-7]]
    found = compare(WORSE, failed, options=FAST)
    assert found.left_out == {"not in every file": 7, "failed in at least one": 5}
    assert found.utterances == 228
    assert "left out: 7 utterances, not in every file" in found.lines()


def test_ids_that_are_there_twice_go_by_their_place() -> None:
    twice_a, twice_b = ([replace(one, id="same") for one in rows] for rows in (WORSE, BETTER))
    assert compare(twice_a, twice_b, options=FAST).a == compare(WORSE, BETTER, options=FAST).a


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"normalizer": "unicode@12345678"}, "utterance u3: different normalizer in the files"),
        ({"normalized_text": "something else"}, "utterance u3: different reference in the files"),
    ],
)
def test_rows_that_were_not_scored_alike_are_refused(changed: dict[str, str], message: str) -> None:
    other = [replace(one, **changed) if one.row == 3 else one for one in BETTER]  # type: ignore[arg-type]
    with pytest.raises(OptionError, match=message):
        compare(WORSE, other)


def test_compounds_are_no_change_where_the_protocol_merges_them() -> None:
    pytest.importorskip("kaldialign", reason="kaldialign is of the extra leaderboard")
    rows = [row(0, "the icecream cone", "the ice cream"), row(1, "a b", "a c")]
    other = [row(0, "the icecream cone", "the icecream cone"), row(1, "a b", "a c")]
    a, b = (list(rescore(one, Normalizers("none"), "open-asr")) for one in (rows, other))
    found = compare(a, b, options=FAST)
    assert found.label.startswith("open-asr, none@")
    assert [change.word for change in found.changes.words] == ["cone"]
    with pytest.raises(OptionError, match="utterance u0: different protocol in the files"):
        compare(a, list(rescore(other, Normalizers("none"))))


def test_rows_of_two_protocols_make_no_common_score() -> None:
    mixed = [WORSE[0], replace(WORSE[1], protocol="open-asr")]
    with pytest.raises(OptionError, match="scored by open-asr and by plain"):
        compare(mixed, mixed)
    with pytest.raises(OptionError, match="scored by open-asr and by plain"):
        score_rows(mixed)


def test_levels_of_noise_are_parts_where_they_are_known() -> None:
    a, b = ([replace(one, snr=float(one.row % 30 - 5)) for one in rows] for rows in (WORSE, BETTER))
    values = [part.value for part in compare(a, b, options=FAST).strata if part.field == "noise"]
    assert values == ["below 0 dB", "0 to 10 dB", "10 to 20 dB", "20 to 30 dB"]


def test_files_of_other_utterances_are_refused() -> None:
    with pytest.raises(OptionError, match=r"no utterance is scored in all files .*240 not in every file"):
        compare(WORSE[:120], [replace(one, id=f"v{one.row}") for one in BETTER[:120]])


def test_without_speakers_it_says_that_it_may_be_too_sure() -> None:
    found = compare(*([replace(one, speaker=None) for one in rows] for rows in (WORSE, BETTER)), options=FAST)
    assert found.difference is not None
    assert found.difference.interval.unit == "utterances"
    assert any("too narrow" in line for line in found.lines())


def test_where_the_difference_lies() -> None:
    """B is better where utterances are German, and nowhere else."""
    a, b = system(0.2, seed=1), system(lambda number: 0.05 if number % 3 else 0.2, seed=2)
    strata = {(one.field, one.value): one for one in compare(a, b, options=FAST).strata}
    german, english = strata["language", "de"], strata["language", "en"]
    assert (german.utterances, english.utterances) == (160, 80)
    assert german.a.errors + english.a.errors == sum(one.counts.errors for one in a)
    assert (german.p_value or 1) < 0.01 < (english.p_value or 0)
    assert {value for field, value in strata if field == "duration"} == {
        "below 2 s", "2 to 5 s", "5 to 10 s", "10 to 30 s",
    }  # fmt: skip
    assert sum(field == "speaker" for field, _ in strata) == 24
    assert not any(field == "noise" for field, _ in strata)  # unknown for all
    assert all(one.difference is not None for one in strata.values())
    assert strata["speaker", "s0"].difference.interval.unit == "utterances"  # type: ignore[union-attr]


def test_parts_are_adjusted_for_their_number() -> None:
    clusters = ResamplingClusters.of("speakers", [one.speaker or "" for one in WORSE])
    parts = stratify("speaker", WORSE, BETTER, clusters, level=0.95, seed=0)
    raw = [part.difference.p_value for part in parts if part.difference is not None]
    assert [part.p_value for part in parts] == holm(raw)


def test_many_speakers_are_told_apart_up_to_a_limit() -> None:
    a, b = (system(0.2, seed=seed, count=120, speakers=60) for seed in (1, 2))
    parts = stratify(
        "speaker", a, b, ResamplingClusters.of("speakers", [one.speaker or "" for one in a]), level=0.95, seed=0
    )
    assert [part.value for part in parts][-1] == f"{OTHERS}: 10"
    assert sum(part.utterances for part in parts) == 120


def test_bins_by_hand() -> None:
    assert [binned(value, (0.0, 10.0), "dB") for value in (None, -1, 0, 9.9, 10)] == [
        None,
        "below 0 dB",
        "0 to 10 dB",
        "0 to 10 dB",
        "10 dB and more",
    ]


def test_the_words_that_changed() -> None:
    a = [row(0, "the cat sat", "a cat sat"), row(1, "the cat", "the hat"), row(2, "a dog", "a dog uh")]
    b = [row(0, "the cat sat", "the cat"), row(1, "the cat", "the cat"), row(2, "a dog", "a dog")]
    found, alignments = find_changes(a, b)
    assert len(alignments) == 3
    assert (found.fixed, found.broken) == (2, 1)
    assert {(one.word, one.fixed, one.broken, tuple(one.as_a), tuple(one.as_b)) for one in found.words} == {
        ("the", 1, 0, (("a", 1),), ()),
        ("cat", 1, 0, (("hat", 1),), ()),
        ("sat", 0, 1, (), (("(nothing)", 1),)),
    }
    assert [(one.word, one.a, one.b) for one in found.inserted] == [("uh", 1, 0)]
    assert [(one.id, one.errors_a, one.errors_b) for one in found.utterances] == [("u1", 1, 0), ("u2", 1, 0)]


def test_changed_words_are_the_same_by_a_slow_count() -> None:
    found, _ = find_changes(WORSE, BETTER)
    better = worse = 0
    for one, other in zip(WORSE, BETTER, strict=True):  # all errors are substitutions here
        texts = zip(one.text.split(), (one.hypothesis or "").split(), (other.hypothesis or "").split(), strict=True)
        for said, by_a, by_b in texts:
            better += by_a != said == by_b
            worse += by_a == said != by_b
    assert (found.fixed, found.broken) == (better, worse)
    assert len(found.utterances) == MOST


def runs(*wrong: float, seed: int) -> list[list[ScoredRow]]:
    return [system(chance, seed=seed + number) for number, chance in enumerate(wrong)]


def test_several_runs_widen_the_interval() -> None:
    a, b = runs(0.14, 0.2, 0.26, seed=1), runs(0.1, 0.14, 0.18, seed=11)
    single, several = compare(a[1], b[1], options=FAST), compare_runs(a, b, options=FAST)
    assert single.winner == "B"
    assert several.winner is None
    assert several.runs == (3, 3)
    assert single.difference is not None
    assert several.difference is not None
    assert several.difference.error > 2 * single.difference.error
    assert "the interval includes the variation between seeds: 3 and 3 runs" in several.lines()
    with pytest.raises(OptionError, match="at least one run of each system"):
        compare_runs([], b)


def test_many_systems_are_adjusted_by_holm() -> None:
    systems = {"a": WORSE, "b": BETTER, "c": system(0.18, seed=3)}
    runs = {name: [rows] for name, rows in systems.items()}
    found = compare_all(runs, options=FAST)
    alone = [compare(systems[x], systems[y], options=FAST).p_value or 1 for x, y in (one.names for one in found)]
    assert [one.names for one in found] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert [one.p_value for one in found] == holm(alone)
    assert "p is adjusted for 3 comparisons (Holm)" in found[0].lines()
    assert [one.names for one in compare_all(runs, baseline="c", options=FAST)] == [("c", "a"), ("c", "b")]
    with pytest.raises(OptionError, match="two systems or more, and a baseline among them: got a"):
        compare_all({"a": [WORSE]})


def shown(found: Comparison) -> Sequence[str]:
    return found.lines()


def test_the_lines_tell_it_all() -> None:
    text = "\n".join(shown(compare(WORSE, BETTER, names=("small", "large"), options=FAST)))
    for part in (
        "large is better than small by ",
        "small  WER ",
        "small minus large: +",
        "over 24 speakers",
        "MAPSSWE: p = below 0.001 over ",
        "it agrees",
        "scored by: plain, none@00000000",
        "compared on 240 utterances, 2400 words",
        "language",
        "words that only large has right: ",
        "utterances that changed most (errors of small, of large):",
    ):
        assert part in text


def test_two_tests_that_disagree_are_said_to() -> None:
    """One speaker makes all the difference: word for word it is certain, speaker by speaker it is not."""
    a = system(lambda number: 0.9 if number % 24 == 0 else 0.1, seed=5)
    found = compare(a, system(0.1, seed=6), options=FAST)
    assert found.winner is None
    assert found.matched_pairs.p_value < 0.05
    assert any("it DISAGREES: significant" in line for line in found.lines())
    assert found.lines()[0].startswith("no significant difference between A and B: B is ahead of A by ")


def test_options_that_cannot_be_are_refused() -> None:
    with pytest.raises(OptionError, match="stratified by 'shoe size': use language, speaker, duration, noise"):
        CompareOptions(fields=("shoe size",))
    with pytest.raises(OptionError, match="level 95"):
        CompareOptions(level=95)


def test_too_little_to_tell() -> None:
    found = compare([row(0, "a b", "a b")], [row(0, "a b", "a c")])
    assert (found.difference, found.winner) == (None, None)
    assert found.lines()[0] == "A and B: too few utterances or words to establish a difference"


def test_it_is_plain_data_for_json() -> None:
    data = json.loads(json.dumps(compare(WORSE, BETTER, options=FAST).to_dict(), allow_nan=False))
    assert data["winner"] == "B"
    assert data["difference"]["interval"]["units"] == 24
    assert data["changes"]["words"][0]["word"] in VOCABULARY
