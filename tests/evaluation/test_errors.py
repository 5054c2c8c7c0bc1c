"""The error analysis against slow twins, and each of its rules by hand."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import jiwer
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnet.evaluation.errors import align, analyze
from linnet.evaluation.errors import analysis as passes
from linnet.evaluation.errors.analysis import AnalysisLimits
from linnet.evaluation.errors.classes import classify, find_names, is_number
from linnet.evaluation.errors.kinds import KINDS, Loop, find_loop, kinds_of
from linnet.evaluation.errors.steps import AlignedRow
from linnet.evaluation.errors.tally import Tally
from linnet.evaluation.log import ScoredRow
from linnet.evaluation.rows import rescore
from linnet.scoring.scores import total
from linnet.text.normalizers import Normalizers

WORDS = st.lists(st.sampled_from(["one", "two", "three", "four"]), max_size=7).map(" ".join)
PAIRS = st.lists(st.tuples(WORDS, WORDS), max_size=8)
MANY = AnalysisLimits(rows=1000, examples=1, worst=1000)


def row(said: str, heard: str | None, number: int = 0, **more: object) -> ScoredRow:
    """A row whose normalized texts are its raw ones in lower case without marks."""
    made = ScoredRow(number, f"u{number}", "a.wav", said, "en", hypothesis=heard, duration=3.0)
    plain = (
        " ".join("".join(c for c in text if c.isalnum() or c == " ").lower().split()) for text in (said, heard or "")
    )
    normal, other = plain
    return replace(made, **{"normalized_text": normal, "normalized_hypothesis": other, **more})


def rows(pairs: list[tuple[str, str]]) -> list[ScoredRow]:
    return [row(said, heard, number) for number, (said, heard) in enumerate(pairs)]


def aligned(said: str, heard: str) -> AlignedRow:
    return next(align([row(said, heard)]))


# Alignments and the tables of words


@given(PAIRS)
def test_an_alignment_holds_both_texts_and_jiwers_errors(pairs: list[tuple[str, str]]) -> None:
    found = list(align(rows(pairs)))
    assert len(found) == len(pairs)
    for (said, heard), one in zip(pairs, found, strict=True):
        steps = list(one.steps())
        assert " ".join(step.reference for step in steps if step.reference is not None) == said
        assert " ".join(step.hypothesis for step in steps if step.hypothesis is not None) == heard
        assert all((step.reference == step.hypothesis) == (step.kind == "equal") for step in steps)
        if said and heard:
            wanted = jiwer.process_words(said, heard)
            assert (one.counts.substitutions, one.counts.deletions, one.counts.insertions) == (
                wanted.substitutions,
                wanted.deletions,
                wanted.insertions,
            )
        else:
            assert one.counts.errors == len(said.split()) + len(heard.split())


def test_without_normalized_texts_the_raw_ones_are_compared() -> None:
    bare = ScoredRow(0, "a", "a.wav", "Ice cream", hypothesis="ice cream")
    assert [tuple(step) for step in next(align([bare])).steps()] == [
        ("substitute", "Ice", "ice"),
        ("equal", "cream", "cream"),
    ]


@given(PAIRS)
def test_tables_of_words_are_those_of_a_slow_twin(pairs: list[tuple[str, str]]) -> None:
    found = analyze(rows(pairs), MANY)
    steps = [step for said, heard in pairs for step in aligned(said, heard).steps()]
    spoken = Counter(word for said, _ in pairs for word in said.split())
    for name, table in (
        ("substitute", found.substitutions),
        ("delete", found.deletions),
        ("insert", found.insertions),
    ):
        wanted = Counter((step.reference, step.hypothesis) for step in steps if step.kind == name)
        assert {(one.reference, one.hypothesis): one.count for one in table} == wanted
        assert [one.count for one in table] == sorted(wanted.values(), reverse=True)
        assert all(one.occurrences == (spoken[one.reference] if one.reference else None) for one in table)
    assert found.total.words == sum(spoken.values())
    assert found.total.errors == sum(step.kind != "equal" for step in steps)


def test_an_example_shows_the_place() -> None:
    said = "a b c d e f g h i"
    found = analyze(rows([(said, said.replace("e", "x"))]))
    (example,) = found.substitutions.rows[0].examples
    assert (example.id, example.reference, example.hypothesis) == ("u0", "b c d e f g h", "b c d x f g h")


def test_compounds_are_found_within_utterances() -> None:
    found = analyze(rows([("the ice cream was bad", "the icecream is bad"), ("a lake side", "a lakeside")]))
    assert [(one.reference, one.hypothesis, one.count) for one in found.compounds] == [("lake side", "lakeside", 1)]
    found = analyze(rows([("the ice cream is bad", "the icecream is mad"), ("an icecream", "an ice cream")]))
    assert {(one.reference, one.hypothesis) for one in found.compounds} == {
        ("ice cream", "icecream"),
        ("icecream", "ice cream"),
    }


COMPOUNDS = st.lists(st.sampled_from(["ice", "cream", "icecream", "a"]), max_size=7).map(" ".join)


@settings(deadline=None)  # the first one imports what aligns
@given(st.lists(st.tuples(COMPOUNDS, COMPOUNDS), max_size=6))
def test_errors_are_those_that_the_rows_were_counted_by(pairs: list[tuple[str, str]]) -> None:
    pytest.importorskip("kaldialign", reason="kaldialign is of the extra leaderboard")
    for protocol in ("plain", "open-asr"):
        made = list(rescore(rows(pairs), Normalizers("unicode"), protocol))
        counted = total(one.counts for one in made)
        found = analyze(made, MANY).total
        assert (found.words, found.substitutions, found.deletions, found.insertions) == (
            counted.words,
            counted.substitutions,
            counted.deletions,
            counted.insertions,
        )


def test_a_compound_that_the_protocol_takes_for_right() -> None:
    pytest.importorskip("kaldialign", reason="kaldialign is of the extra leaderboard")
    (one,) = align(rescore([row("an ice cream", "an icecream")], Normalizers("basic"), "open-asr"))
    assert [tuple(step) for step in one.steps()] == [("equal", "an", "an"), ("equal", "ice cream", "icecream")]
    assert one.counts.errors == 0
    assert [kind.key for kind in kinds_of(one)] == ["compound"]
    found = analyze([one.row])
    assert [(pair.reference, pair.hypothesis, pair.count) for pair in found.compounds] == [("ice cream", "icecream", 1)]
    assert found.worst.total == 0


# Counting in bounded memory


@given(st.lists(st.sampled_from("abcdefgh"), max_size=60), st.integers(1, 9))
def test_a_tally_is_a_counter_up_to_what_it_missed(keys: list[str], capacity: int) -> None:
    tally = Tally[str, int](capacity)
    for key in keys:
        tally.add(key)
        assert len(tally) <= capacity
    true = Counter(keys)
    assert all(true[key] - tally.missed <= tally[key] <= true[key] for key in "abcdefgh")
    assert capacity < 8 or tally.missed == 0


def test_forgotten_words_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "PAIRS", 10)
    rare = [("x", f"w{number}") for number in range(100)]
    found = analyze(rows([("x", "y"), *rare] * 2 + [("x", "y")] * 50))
    assert found.substitutions.rows[0].hypothesis == "y"
    assert found.substitutions.missed > 0
    assert 52 - found.substitutions.missed <= found.substitutions.rows[0].count <= 52
    assert found.total.errors == 252


def test_rows_are_read_once_and_not_kept() -> None:
    made = 0

    def lazily() -> Iterator[ScoredRow]:
        nonlocal made
        for number in range(3000):
            made += 1
            yield row("one two", "one too", number)

    stream = align(lazily())
    next(stream)
    assert made < 3000
    assert analyze(lazily()).total.utterances == 3000


# Classes of words


@pytest.mark.parametrize(
    ("word", "language", "answer"),
    [
        ("7", None, True),
        ("20th", "en", True),
        ("$5", "en", True),
        ("٣", "ar", True),
        ("三百", "zh", True),
        ("seventeen", None, True),
        ("Seventeen", "en-GB", True),
        ("twenty-one", "en", True),
        ("often", "en", False),
        ("none", "en", False),
        ("weight", "en", False),
        ("first", "en", False),
        ("", "en", False),
        ("achtundvierzig", "de", True),
        ("zweitausenddreihundert", "german", True),
        ("neunt", "de", False),
        ("ein", "de", False),
        ("quatre-vingt-dix", "fr", True),
        ("ventotto", "it", True),
        ("trentadue", "it", True),
        ("veintidós", "es", True),
        ("achtenveertig", "nl", True),
        ("dezesseis", "pt", True),
        ("seven", "xx", False),
        ("7", "xx", True),
    ],
)
def test_numbers(word: str, language: str | None, answer: bool) -> None:
    assert is_number(word, language) is answer


@pytest.mark.parametrize(
    ("text", "language", "names"),
    [
        ("We met Anna in Paris. Then Bob came.", "en", {"anna", "paris", "bob"}),
        ("Anna came", "en", set()),
        ("He said I'm sure I am", "en", set()),
        ("I saw Anna's dog", "en", {"anna", "anna's"}),
        ("the mark that Mark made", "en", set()),
        ("The Cat Sat On A Mat", "en", set()),
        ("WE MET ANNA", "en", set()),
        ("we met anna", "en", set()),
        ("wir sahen den Hund von Anna", "de", set()),
        ("мы видели Анну", "ru", {"анну"}),
        ("", "en", set()),
    ],
)
def test_names(text: str, language: str, names: set[str]) -> None:
    assert find_names(text, language) == names


def test_classes_add_up() -> None:
    found = analyze(rows([("So Anna bought 20 apples", "so hannah bought 21 apple s")]))
    numbers, names, other = found.classes
    assert (numbers.words, numbers.errors, names.words, names.errors) == (1, 1, 1, 1)
    assert numbers.words + names.words + other.words == found.total.words
    assert sum(one.errors for one in found.classes) == found.total.substitutions + found.total.deletions
    assert [(one.reference, one.hypothesis) for one in names.confusions] == [("anna", "hannah")]
    assert numbers.share == pytest.approx(1 / found.total.errors)
    assert classify(row("So Anna", ""), []) == []


# Kinds of utterances


def slow_loop(words: list[str], longest: int) -> int:
    """The most words that any phrase fills by being repeated at once, by trying every place."""
    best = 0
    for size in range(1, longest + 1):
        for start in range(len(words)):
            times = 1
            while words[start + times * size : start + (times + 1) * size] == words[start : start + size]:
                times += 1
                if start + times * size >= len(words):
                    break
            if times >= (4 if size == 1 else 3):
                best = max(best, times * size)
    return best


@given(st.lists(st.sampled_from("abc"), max_size=24), st.integers(1, 5))
def test_loops_are_those_of_a_slow_twin(words: list[str], longest: int) -> None:
    found = find_loop(words, longest)
    assert found.words == slow_loop(words, longest)
    assert " ".join(found.phrase * found.times) in " ".join(words)


def test_a_loop_has_its_phrase() -> None:
    assert find_loop(["a", "b", "c", "b", "c", "b", "c", "d"]) == Loop(("b", "c"), 3)
    assert find_loop(["a", "a", "a"]) == Loop()
    assert find_loop(["a"] * 6) == Loop(("a",), 6)


@pytest.mark.parametrize(
    ("said", "heard", "kinds"),
    [
        ("one two", "one two", set()),
        ("one two", "one too", set()),
        ("one two", "", {"empty"}),
        ("", "you", {"silence"}),
        ("", "", set()),
        ("yes", "yes it is", set()),
        ("yes", "yes it is so", {"long"}),
        ("no", "no no no no", {"long", "loop"}),
        ("no no no no", "no no no no", set()),
        ("no no no no", "no no no yes", set()),
        ("so thank you", "so thank you thank you thank you", {"loop", "run"}),
        ("one two three", "one a b c two three", set()),
        ("one two three", "one a b c d two three", {"run"}),
        ("a b c d e", "a b", {"length"}),
        ("a b c d e f", "a b c", set()),
        ("a b c d e", "a b c d e f g h i j", {"run"}),
        ("a b c d e", "a b c d e f g h i j k", {"run", "length"}),
        ("привет мир", "privet mir", {"script"}),
        ("привет world", "privet world", set()),
        ("こんにちは", "今日は", set()),
        ("今日は", "hello", {"script"}),
        ("ice cream", "icecream", {"compound"}),
        ("an ice cream", "a nice cream", {"compound"}),
        ("an ice cream", "an icecreams", set()),
        ("Hello, World!", "hello world", {"case"}),
        ("Hello,  world", "Hello, world", set()),
        ("哈哈", "哈" * 40, {"loop"}),
    ],
)
def test_kinds(said: str, heard: str, kinds: set[str]) -> None:
    assert {kind.key for kind in kinds_of(aligned(said, heard))} == kinds


def test_another_writing_of_the_same() -> None:
    made = row("three apples", "3 apples", normalized_text="3 apples", normalized_hypothesis="3 apples")
    assert [kind.key for kind in kinds_of(next(align([made])))] == ["form"]


def test_each_kind_is_counted_with_examples() -> None:
    found = analyze(rows([("", "you"), ("one", ""), ("two three", ""), ("Four.", "four")]), AnalysisLimits(examples=1))
    by_key = {one.key: one for one in found.kinds}
    assert list(by_key) == [kind.key for kind in KINDS]
    assert (by_key["empty"].group.utterances, by_key["empty"].group.errors, by_key["empty"].group.rate) == (2, 3, 1.0)
    assert by_key["silence"].group.rate is None
    assert by_key["silence"].group.share == 1 / 4
    assert [(one.id, one.reference, one.hypothesis) for one in by_key["empty"].examples] == [("u1", "one", "")]
    assert [(one.reference, one.hypothesis) for one in by_key["case"].examples] == [("Four.", "four")]


# Groups, the worst, the failed


@given(PAIRS)
def test_groups_add_up_to_the_whole(pairs: list[tuple[str, str]]) -> None:
    made = [
        replace(one, language="ab"[index % 2], speaker=None if index % 3 else "s", duration=float(index * 9))
        for index, one in enumerate(rows(pairs))
    ]
    found = analyze(made, MANY)
    for name in ("language", "speaker", "duration"):
        table = found.groups[name]
        assert sum(one.errors for one in table) == found.total.errors
        assert sum(one.words for one in table) == found.total.words
        assert sum(one.utterances for one in table) == found.total.utterances == len(pairs)
        assert sum(one.share for one in table) == pytest.approx(1.0 if found.total.errors else 0.0)
    assert "noise" not in found.groups


@pytest.mark.parametrize(
    ("duration", "name"),
    [(0.0, "unknown"), (0.1, "under 2 s"), (2.0, "2 to 5 s"), (59.9, "30 to 60 s"), (60.0, "60 s and more")],
)
def test_bins_of_the_duration(duration: float, name: str) -> None:
    found = analyze([row("one", "two", duration=duration)])
    assert [one.name for one in found.groups["duration"]] == [name]


def test_levels_of_noise_are_grouped_where_they_are_known() -> None:
    made = row("one", "two")
    object.__setattr__(made, "snr", -3.0)
    found = analyze([made, row("one", "one", 1)])
    assert [one.name for one in found.groups["noise"]] == ["under 0 dB", "unknown"]


def test_groups_beyond_the_limit_are_put_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "GROUPS", 2)
    found = analyze([row("one", "two", index, speaker=f"s{index}") for index in range(9)])
    assert {one.name: one.errors for one in found.groups["speaker"]} == {"s0": 1, "s1": 1, "more than 2, together": 7}


@given(PAIRS, st.integers(0, 4))
def test_the_worst_are_the_first_when_sorted(pairs: list[tuple[str, str]], count: int) -> None:
    found = analyze(rows(pairs), AnalysisLimits(worst=count))
    wrong = [one for one in align(rows(pairs)) if one.counts.errors]
    ordered = sorted(
        wrong, key=lambda one: (-one.counts.errors, -(float("inf") if one.counts.rate is None else one.counts.rate))
    )
    assert [one.aligned.row.row for one in found.worst] == [one.row.row for one in ordered[:count]]
    assert found.worst.total == len(wrong)


def test_failed_rows_are_listed_and_not_counted() -> None:
    found = analyze([row("one", None, 0, error="a.wav: no such file"), row("one", "one", 1)])
    assert [(one.id, one.error) for one in found.failed] == [("u0", "a.wav: no such file")]
    assert (found.total.utterances, found.total.errors) == (1, 0)
    assert "u0: a.wav: no such file" in found.text()


# What is shown


@given(PAIRS)
def test_it_is_plain_data(pairs: list[tuple[str, str]]) -> None:
    found = analyze(rows(pairs))
    data = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert data["total"]["errors"] == found.total.errors
    assert len(data["worst"]) == len(found.worst)
    assert [one["count"] for one in data["substitutions"]["rows"]] == [one.count for one in found.substitutions]
    assert [one["group"]["errors"] for one in data["kinds"]] == [one.group.errors for one in found.kinds]


def test_the_text_for_a_terminal() -> None:
    made = [row("nine one", "five one", 0, speaker="a"), row("nine", "five", 1, speaker="b"), row("ten", "", 2)]
    assert analyze(made).text().splitlines() == [
        "kind of utterance  utterances      WER  errors   share",
        "No words                    1  100.00%       1  33.33%",
        "",
        "substituted",
        "2  nine -> five  of 2",
        "",
        "deleted",
        "1  ten  of 1",
        "",
        "class of words  words   wrong  errors    share",
        "numbers             4  75.00%       3  100.00%",
        "names               0       -       0    0.00%",
        "other               0       -       0    0.00%",
        "",
        "speaker  utterances      WER  errors   share",
        "a                 1   50.00%       1  33.33%",
        "b                 1  100.00%       1  33.33%",
        "unknown           1  100.00%       1  33.33%",
    ]


def test_nothing_wrong_and_nothing_at_all() -> None:
    assert analyze([]).text() == "no word errors"
    assert analyze(rows([("so it is", "so it is")])).text().startswith("no word errors")
