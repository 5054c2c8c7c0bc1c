"""Corpora scored in chunks and processes: as each pair by itself."""

from __future__ import annotations

import random
from collections.abc import Iterator

import jiwer
import pytest

from linnet.errors import OptionError
from linnet.scoring import corpus as module
from linnet.scoring.corpus import Pair, Scorer
from linnet.scoring.scores import WordErrors, count_characters, count_errors, edits, total
from linnet.text.normalizers import Normalizers

WORDS = ["Ice", "cream", "icecream,", "it's", "been", "twenty", "one", "Größe", "नमस्ते", "color", "uh", "(noise)"]


def corpus(count: int, seed: int = 0) -> list[Pair]:
    rng = random.Random(seed)
    return [
        Pair(
            " ".join(rng.choices(WORDS, k=rng.randint(0, 6))),
            " ".join(rng.choices(WORDS, k=rng.randint(0, 6))),
            rng.choice(["en", "de", "hi", None]),
        )
        for _ in range(count)
    ]


@pytest.mark.parametrize("protocol", ["plain", "open-asr"])
@pytest.mark.parametrize("choice", ["auto", "cased", "none"])
def test_a_corpus_is_the_sum_of_its_pairs(protocol: str, choice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if protocol == "open-asr":
        pytest.importorskip("kaldialign", reason="kaldialign is of the extra leaderboard")
    monkeypatch.setattr(module, "CHUNK", 7)
    normalizers, pairs = Normalizers(choice), corpus(60)
    found = Scorer(protocol, normalizers).score(pairs)
    texts = [[normalizers.normalize(text, pair.language) for text in pair[:2]] for pair in pairs]
    by_word = [count_errors(*text, protocol=protocol) for text in texts]
    by_character = [count_characters(*text) for text in texts]
    assert [WordErrors(*row) for row in found.words.tolist()] == by_word
    assert [WordErrors(*row) for row in found.characters.tolist()] == by_character
    assert (found.score.words, found.score.characters) == (total(by_word), total(by_character))
    silent = [one for one in by_word if not one.words]
    assert found.score.silence.utterances == len(silent)
    assert found.score.silence.words == sum(one.insertions for one in silent) > 0
    assert sum(found.score.normalizers.values()) == found.score.utterances == 60


def test_processes_give_the_same_counts_in_the_same_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 50)
    pairs = corpus(500, seed=2)
    one, two = (Scorer("plain", Normalizers("unicode"), workers).score(pairs) for workers in (1, 2))
    assert one.words.tolist() == two.words.tolist()
    assert one.characters.tolist() == two.characters.tolist()
    assert one.score == two.score


def test_texts_are_read_as_they_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 10)
    aligned: list[object] = []
    ahead = []

    def counted(said: str, heard: str) -> tuple[int, int, int]:
        aligned.append(said)
        return edits(said, heard)

    def watched() -> Iterator[Pair]:
        for number in range(40):
            ahead.append(number + 1 - len(aligned))
            yield Pair(f"word {number}", "other")

    monkeypatch.setattr(module, "edits", counted)
    found = Scorer(normalizers=Normalizers("none")).score(watched())
    assert (found.score.utterances, len(aligned), max(ahead)) == (40, 40, 10)


def test_plain_verbatim_scores_are_jiwers() -> None:
    pairs = corpus(200, seed=3)
    score = Scorer(normalizers=Normalizers("none")).score(pairs).score
    references, hypotheses = ([pair[place] for pair in pairs] for place in (0, 1))
    assert score.wer == pytest.approx(jiwer.wer(references, hypotheses))
    assert score.cer == pytest.approx(jiwer.cer(references, hypotheses))


def test_case_and_punctuation_count_where_they_are_asked_for() -> None:
    pairs = [Pair("Hello, World.", "hello world", "en"), Pair("Yes!", "Yes!", "en")]
    rates = {name: Scorer(normalizers=Normalizers(name)).score(pairs).score for name in ("unicode", "cased", "none")}
    assert {name: (score.words.errors, score.words.words) for name, score in rates.items()} == {
        "unicode": (0, 3),
        "cased": (4, 6),
        "none": (2, 3),
    }
    assert rates["cased"].label == f"plain, {Normalizers('cased').id(None)}"


def test_hindi_keeps_its_vowels() -> None:
    """Whisper's normalizer makes "की" (of) and "का" the same word; ours does not."""
    pairs = [Pair("राम की किताब", "राम का किताब", "hi")]
    basic, marks = (Scorer(normalizers=Normalizers(name)).score(pairs).score for name in ("basic", "auto"))
    assert basic.words.errors == 0
    assert marks.words == WordErrors(3, substitutions=1)
    assert marks.normalizers == {Normalizers("unicode").id(None): 1}


def test_nothing_is_a_corpus_too() -> None:
    found = Scorer().score([])
    assert (found.score.wer, found.score.cer, found.words.shape, found.score.label) == (None, None, (0, 4), "plain")


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(OptionError, match="protocol 'x' is unknown"):
        Scorer("x")
    with pytest.raises(OptionError, match="workers 0 is not possible"):
        Scorer(workers=0)
