import pytest

from linnet.curation.phonemes import espeak
from linnet.curation.phonemes.backends import PhonemeOptions, Phonemizers, candidates
from linnet.errors import OptionError


def names(language, script, **options):
    return [(one.backend, one.setting) for one in candidates(language, script, PhonemeOptions(**options))]


def test_the_order_is_lexicon_rules_voice_romanization_letters():
    assert names("de", "Latn", lexicons=(("deu", "de.dict"),)) == [
        ("lexicon", "de.dict"),
        ("epitran", "deu-Latn"),
        ("espeak-ng", "de"),
        ("uroman", ""),
        ("graphemes", ""),
    ]


def test_the_script_of_the_text_decides():
    assert names("sr", "Latn")[0] == ("epitran", "srp-Latn")
    assert names("sr", "Cyrl")[0] == ("epitran", "srp-Cyrl")
    assert names("ja", "Jpan")[0] == ("uroman", "")
    assert names("ko", "Hang")[0] == ("epitran", "kor-Hang")
    assert names("zh-hant", "Hani")[0] == ("espeak-ng", "cmn")
    assert names("zh", "Latn")[0] == ("epitran", "cmn-Latn")  # pinyin
    assert names("hi", "Latn") == [("uroman", ""), ("graphemes", "")]


def test_a_text_without_letters_goes_by_its_language():
    assert names("ru", "Zyyy") == names("ru", "Cyrl")


def test_a_languages_own_voice_comes_before_the_rules_of_its_macrolanguage():
    assert names("ltg", "Latn")[:2] == [("espeak-ng", "ltg"), ("epitran", "lav-Latn")]
    assert names("arz", "Arab")[:2] == [("epitran", "ara-Arab"), ("espeak-ng", "ar")]
    assert names("hak", "Hani") == [("uroman", ""), ("graphemes", "")]  # Hakka is not read as Mandarin


@pytest.mark.parametrize("language", ["und", "nv", "qaa"])
def test_a_language_that_nothing_knows_is_romanized_or_its_own_letters(language):
    assert names(language, "Latn") == [("uroman", ""), ("graphemes", "")]


def test_only_what_is_allowed_is_asked_and_letters_are_always_left():
    assert names("de", "Latn", backends=("espeak-ng",)) == [("espeak-ng", "de"), ("graphemes", "")]


def test_a_backend_that_is_unknown_names_the_nearest():
    with pytest.raises(OptionError, match="espeak-ng"):
        PhonemeOptions(backends=("espeak",))


@pytest.fixture
def lexicon(tmp_path):
    path = tmp_path / "de.dict"
    path.write_text("eins A\nzwei B\ndrei C\nvier D\n")
    return PhonemeOptions(backends=("lexicon",), lexicons=(("de", str(path)),), coverage=0.75)


def test_a_row_goes_to_the_first_backend_that_knows_enough_of_it(lexicon):
    rows = [["eins", "zwei", "drei", "elf"], ["eins", "elf"], []]
    with Phonemizers(lexicon) as phonemizers:
        most, half, empty = phonemizers.speak("de", "Latn", rows)

    assert most.backend.startswith("lexicon:")
    assert most.words == (("A",), ("B",), ("C",), None)
    assert half.backend == "graphemes"
    assert half.words == (tuple("eins"), tuple("elf"))
    assert empty.words == ()


def test_a_row_does_not_depend_on_its_neighbors(lexicon):
    rows = [["eins", "elf"], ["zwei", "drei"], ["elf", "elf"], ["vier"]]
    with Phonemizers(lexicon) as phonemizers, Phonemizers(lexicon) as others:
        together = phonemizers.speak("de", "Latn", rows)
        alone = [others.speak("de", "Latn", [row])[0] for row in reversed(rows)]

    assert together == alone[::-1]


@pytest.mark.skipif(not espeak.is_installed(), reason="the extra espeak is not installed")
def test_a_text_in_another_script_than_the_voices_goes_past_it():
    with Phonemizers(PhonemeOptions(backends=("espeak-ng",))) as phonemizers:
        most, foreign = phonemizers.speak("ru", "Cyrl", [["раз", "два"], ["раз", "שלום"]])

    assert (most.backend, foreign.backend) == ("espeak-ng:ru", "graphemes")


def test_a_fingerprint_follows_the_options_and_the_lexicons_content(lexicon, tmp_path):
    before = lexicon.fingerprint

    assert before == PhonemeOptions(**vars(lexicon)).fingerprint
    assert before != PhonemeOptions(backends=("lexicon",)).fingerprint
    (tmp_path / "de.dict").write_text("eins X\n")
    assert lexicon.fingerprint != before
