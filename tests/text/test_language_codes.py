"""Codes of languages: one spelling for each, near names for what is none, and the published lists."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langcodes import tag_distance
from transformers.models.nllb.tokenization_nllb import FAIRSEQ_LANGUAGE_CODES
from transformers.models.whisper.tokenization_whisper import LANGUAGES

from linnet.errors import OptionError
from linnet.models.vocabulary import LANGUAGE_TOKEN
from linnet.text.language_codes import canonical, listed_languages, parse_languages, same_language
from linnet.text.language_lists import LISTS


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        ("de", "de"),
        ("DEU", "de"),
        (" ckb ", "ckb"),
        ("ckb-Arab-IQ", "ckb-iq"),
        ("zh-Hans", "zh"),
        ("cmn_Hant", "zh-hant"),
        ("jw", "jv"),
        ("npi", "ne"),
        ("eng_Latn", "en"),
        ("sr-Latn", "sr-latn"),
        ("prs", "fa-af"),
        ("yue", "yue"),
    ],
)
def test_one_spelling_for_each_language(code: str, wanted: str) -> None:
    assert canonical(code) == wanted
    assert canonical(wanted) == wanted


@given(st.sampled_from([code for codes in LISTS.values() for code in codes] + list(LANGUAGES)))
def test_the_spelling_is_the_same_language_and_fits_into_a_token(code: str) -> None:
    found = canonical(code)
    assert canonical(found) == found == canonical(code.upper())
    assert tag_distance(code, found) <= 4  # nothing, or a language that cannot be told from it by CLDR
    match = LANGUAGE_TOKEN.fullmatch(f"<|{found}|>")
    assert match is not None
    assert match[1] == found


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("germn", r"'germn' is not a BCP-47 language code: did you mean de \(german\)"),
        ("ckbb", "did you mean ckb"),
        ("xx", "'xx' is not a BCP-47 language code"),
        ("", "'' is not a BCP-47 language code"),
        ("und", "'und' is not a BCP-47 language code"),
        ("de-", "'de-' is not a BCP-47 language code"),
        ("<|de|>", "is not a BCP-47 language code"),
        ("en-x-foo", "'en-x-foo' cannot be written as a token: use language, script and region only"),
    ],
)
def test_what_is_no_language(code: str, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        canonical(code)


def test_what_a_command_line_asks_for() -> None:
    assert parse_languages(["ckb=fa", "deu", "zho_Hant=zh"]) == {"ckb": "fa", "de": None, "zh-hant": "zh"}
    with pytest.raises(OptionError, match="'deu' is given twice"):
        parse_languages(["de", "deu=nl"])
    with pytest.raises(OptionError, match="unknown list of languages 'nllb': use heep or flores200"):
        listed_languages("nllb")


def test_the_lists_hold_what_was_published() -> None:
    assert {name: len(set(codes)) for name, codes in LISTS.items()} == {"heep": 204, "flores200": 204}
    assert set(LISTS["flores200"]) - set(FAIRSEQ_LANGUAGE_CODES) == {"arb_Latn", "min_Arab"}  # translated, not learned
    assert set(FAIRSEQ_LANGUAGE_CODES) <= set(LISTS["flores200"])


def test_listed_languages_by_bcp_47() -> None:
    heep, flores = listed_languages("heep"), listed_languages("flores200")
    assert (len(heep), len(flores)) == (198, 203)  # zh and cmn, ak and twi, and others are one language
    assert {"de", "zh", "ckb", "fa-af", "tzm"} <= set(heep)
    assert {"de", "zh", "zh-hant", "ace", "ace-arab", "ko", "acm", "taq-tfng"} <= set(flores)
    assert {code for code in flores if "-" in code} == {
        *("ace-arab", "ar-latn", "bjn-arab", "fa-af", "kr-arab", "ks-deva", "min-arab", "taq-tfng", "zh-hant")
    }


def test_a_model_may_spell_a_language_in_its_own_way() -> None:
    known = ["en", "jw", "tl", "he", "klingon"]
    assert same_language("jv", known) == "jw"
    assert same_language("fil", known) == "tl"
    assert same_language("iw", known) == "he"
    assert same_language("yue", known) is None
