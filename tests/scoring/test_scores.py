"""Word and character errors against jiwer, kaldialign, sclite, a slow twin, and by hand."""

from __future__ import annotations

import random

import jiwer
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnet.errors import OptionError
from linnet.scoring.scores import (
    PROTOCOLS,
    Score,
    Silence,
    WordErrors,
    count_characters,
    count_errors,
    edits,
    find_protocol,
    mean_over_sets,
    set_rate,
    total,
)
from tests.support.sctk import sclite

VOCABULARY = ["one", "two", "three", "four"]
COMPOUNDS = ["ice", "cream", "icecream", "white", "paper", "whitepaper", "a", "the", "cone"]
WORDS = st.lists(st.sampled_from(VOCABULARY), max_size=7).map(" ".join)


def slow_distance(reference: list[str], hypothesis: list[str]) -> int:
    """Levenshtein's recursion as it is written down, without a table."""
    if not reference or not hypothesis:
        return len(reference) + len(hypothesis)
    if reference[0] == hypothesis[0]:
        return slow_distance(reference[1:], hypothesis[1:])
    return 1 + min(
        slow_distance(reference[1:], hypothesis[1:]),
        slow_distance(reference[1:], hypothesis),
        slow_distance(reference, hypothesis[1:]),
    )


def pairs(count: int, vocabulary: list[str], *, wrong: float = 1.0, seed: int = 0) -> list[tuple[str, str]]:
    """References and hypotheses of 0 to 12 words; a word is replaced by chance `wrong`, so are gaps and ends."""
    rng = random.Random(seed)

    def spoilt(words: list[str]) -> list[str]:
        heard = []
        for word in words:
            if rng.random() >= wrong:
                heard.append(word)
            else:
                heard += rng.choices(vocabulary, k=rng.choice([0, 1, 1, 2]))
        return heard

    said = [rng.choices(vocabulary, k=rng.randint(0, 12)) for _ in range(count)]
    return [(" ".join(words), " ".join(spoilt(words))) for words in said]


@given(WORDS, WORDS)
def test_counts_are_those_of_a_slow_twin(reference: str, hypothesis: str) -> None:
    counts = count_errors(reference, hypothesis)
    words, heard = reference.split(), hypothesis.split()
    assert counts.errors == slow_distance(words, heard)
    assert counts.words == len(words)
    assert counts.insertions - counts.deletions == len(heard) - len(words)


@pytest.mark.parametrize("wrong", [1.0, 0.2])
def test_words_and_characters_of_10000_pairs_are_jiwers(wrong: float) -> None:
    texts = pairs(5000, VOCABULARY + COMPOUNDS, wrong=wrong)
    references, hypotheses = map(list, zip(*texts, strict=True))
    by_word, by_character = (
        jiwer.process_words(references, hypotheses),
        jiwer.process_characters(references, hypotheses),
    )
    for count, expected, rate in (
        (count_errors, by_word, by_word.wer),
        (count_characters, by_character, by_character.cer),
    ):
        found = total(count(*pair) for pair in texts)
        assert found.rate == pytest.approx(rate, rel=1e-12)
        assert (found.substitutions, found.deletions, found.insertions) == (
            expected.substitutions,
            expected.deletions,
            expected.insertions,
        )


def test_each_pair_is_counted_as_jiwer_does() -> None:
    for reference, hypothesis in pairs(500, VOCABULARY, seed=1):
        found, expected = count_errors(reference, hypothesis), jiwer.process_words(reference, hypothesis)
        assert (found.substitutions, found.deletions, found.insertions) == (
            expected.substitutions,
            expected.deletions,
            expected.insertions,
        )


@pytest.mark.parametrize("wrong", [1.0, 0.2])
def test_10000_pairs_with_and_without_compounds_are_kaldialigns(wrong: float) -> None:
    kaldialign = pytest.importorskip("kaldialign", reason="kaldialign is of the extra leaderboard")
    texts = pairs(5000, COMPOUNDS, wrong=wrong, seed=2)
    split = [[text.split() for text in column] for column in zip(*texts, strict=True)]
    merged = kaldialign.batch_error_rate(*split, merge_compounds=True)
    found = total(count_errors(*pair, protocol="open-asr") for pair in texts)
    assert (found.words, found.substitutions, found.deletions, found.insertions) == (
        merged["ref_len"],
        merged["sub"],
        merged["del"],
        merged["ins"],
    )
    plain = total(count_errors(*pair) for pair in texts)
    assert plain.errors == kaldialign.batch_error_rate(*split)["total"]
    assert found.errors < plain.errors


def test_totals_are_sclites(sctk: str) -> None:
    """sclite prefers other alignments among the equally short ones, so only the totals must be the same."""
    texts = [pair for pair in pairs(400, VOCABULARY + COMPOUNDS, wrong=0.1, seed=3) if pair[0]]
    aligned = sclite(sctk, [("speaker", *pair) for pair in texts])
    steps = [step for utterance in aligned.values() for step, _, _ in utterance]
    found = total(count_errors(*pair) for pair in texts)
    assert found.errors == len(steps) - steps.count("C") > 100
    assert found.words == len(steps) - steps.count("I")


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("", "", WordErrors(0, 0, 0, 0)),
        ("", "two words", WordErrors(0, 0, 0, 2)),
        (" \t", "two words", WordErrors(0, 0, 0, 2)),
        ("two words", "", WordErrors(2, 0, 2, 0)),
        ("a  b\tc\n", " a b c ", WordErrors(3, 0, 0, 0)),
        ("a b c", "a x c d", WordErrors(3, 1, 0, 1)),
    ],
)
@pytest.mark.parametrize("protocol", ["plain", "open-asr"])
def test_counts_by_hand(reference: str, hypothesis: str, expected: WordErrors, protocol: str) -> None:
    if protocol == "open-asr":
        pytest.importorskip("kaldialign", reason="kaldialign is of the extra leaderboard")
    assert count_errors(reference, hypothesis, protocol) == expected


def test_joined_and_split_compounds_are_errors_of_one_protocol_only() -> None:
    pytest.importorskip("kaldialign", reason="kaldialign is of the extra leaderboard")
    texts = "the white paper on icecream", "the whitepaper on ice cream"
    assert count_errors(*texts).errors == 4
    assert count_errors(*texts, protocol="open-asr") == WordErrors(5)


def test_characters_by_hand() -> None:
    assert count_characters("a  cat", "a chat ") == WordErrors(5, 0, 0, 1)
    assert count_characters("", "ab") == WordErrors(0, 0, 0, 2)
    assert edits("नमस्ते", "नमसते") == (0, 1, 0)  # the virama counts


def test_the_corpus_rate_is_no_mean_over_utterances() -> None:
    texts = [("a", "b"), ("a b c d e f g h i", "a b c d e f g h i")]
    assert total(count_errors(*pair) for pair in texts).rate == 0.1  # the mean of the two rates is 0.5


def test_no_words_have_no_rate() -> None:
    assert count_errors("", "noise").rate is None
    assert total([]).rate is None
    assert total([count_errors("", "noise"), count_errors("a b", "a b")]).rate == 0.5  # the insertion counts


def test_an_unknown_protocol_is_refused() -> None:
    with pytest.raises(OptionError, match="protocol 'fair' is unknown: use plain or open-asr"):
        find_protocol("fair")


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "kaldialign", None)
    PROTOCOLS["open-asr"].align.cache_clear()  # type: ignore[attr-defined]
    with pytest.raises(ImportError, match=r'kaldialign.*pip install "linnet\[leaderboard\]"'):
        count_errors("a", "b", "open-asr")


def score(words: WordErrors, silence: Silence | None = None) -> Score:
    return Score("plain", "rapidfuzz 3", {"unicode@00000000": 2}, 2, words, WordErrors(), silence or Silence())


def test_a_score_says_what_it_was_made_with() -> None:
    found = score(WordErrors(200, 3, 2, 1), Silence(4, 1, 5))
    assert found.label == "plain, unicode@00000000"
    assert dict(found.lines()) == {
        "WER": "3.00% (3 substituted, 2 deleted, 1 inserted, 200 words) [plain, unicode@00000000]",
        "CER": "not defined: the references have no characters (0 inserted) [plain, unicode@00000000]",
        "words on silence": "5 words in 1 of 4 utterances without speech (25.0%)",
    }
    assert found.to_dict()["wer"] == 0.03
    assert found.to_dict()["words"]["deletions"] == 2


def test_silence_without_any_is_said() -> None:
    assert Silence().hallucination_rate is None
    assert str(Silence()) == "not measured: every reference has words"


def test_sets_are_rounded_and_averaged_as_the_leaderboard_does() -> None:
    rates = [set_rate(score(WordErrors(7, wrong))) for wrong in (1, 2)]
    assert rates == [14.29, 28.57]
    assert mean_over_sets(rates) == 21.43
    with pytest.raises(OptionError, match="without reference words"):
        set_rate(score(WordErrors()))
    assert mean_over_sets(rates, [3, 1]) == round((3 * 14.29 + 28.57) / 4, 2)
    assert mean_over_sets([]) is None


# Published: the Open ASR Leaderboard's English table of 26 March 2026 (its repository, scripts/data/en_shortform.csv).
# AMI, Earnings22, GigaSpeech, LibriSpeech clean and other, SPGISpeech, TED-LIUM, VoxPopuli; then the average.
PUBLISHED = {
    "CohereLabs/cohere-transcribe-03-2026": ([8.13, 10.86, 9.34, 1.25, 2.37, 3.08, 2.49, 5.87], 5.42),
    "nvidia/canary-qwen-2.5b": ([10.19, 10.45, 9.43, 1.61, 3.1, 1.9, 2.71, 5.66], 5.63),
    "nvidia/parakeet-tdt-0.6b-v2": ([11.16, 11.15, 9.74, 1.69, 3.19, 2.17, 3.38, 5.95], 6.05),
    "openai/whisper-large-v3": ([15.95, 11.29, 10.02, 2.01, 3.91, 2.94, 3.86, 9.54], 7.44),
    "facebook/wav2vec2-base-960h": ([45.56, 48.47, 30.85, 12.53, 16.72, 27.56, 21.05, 32.48], 29.40),
}


@pytest.mark.parametrize("system", PUBLISHED)
def test_published_averages_are_recomputed_from_their_sets(system: str) -> None:
    rates, average = PUBLISHED[system]
    assert mean_over_sets(rates) == average
