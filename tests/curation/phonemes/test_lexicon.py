import pytest

from linnet.curation.phonemes.lexicon import Lexicon
from linnet.errors import OptionError


def test_a_dictionary_in_the_usual_forms(tmp_path):
    path = tmp_path / "words.dict"
    path.write_text(";;; remark\nTHREE  TH R IY1\nthree(2)  T R IY1\n\nStraße\tʃ t ʁ a s ə\n", encoding="utf-8")

    lexicon = Lexicon.read(path)

    assert lexicon.phones(["three", "straße", "four"]) == [("TH", "R", "IY1"), tuple("ʃtʁasə"), None]


def test_its_name_follows_its_content(tmp_path):
    one, same, other = (Lexicon({"a": (phone,)}).name for phone in "xxy")

    assert one == same != other


def test_words_without_spaces_are_put_together_from_the_longest_entries():
    lexicon = Lexicon({"中": ("a",), "国": ("b",), "中国": ("c",), "人": ("d",)}, joined=True)

    assert lexicon.phones(["中国人", "国中", "中国话"]) == [("c", "d"), ("b", "a"), None]
    assert Lexicon({"a": ("x",)}).phones(["aa"]) == [None]


@pytest.mark.parametrize(("content", "expected"), [("three\n", "line 1"), ("# nothing\n", "has no words")])
def test_a_bad_lexicon_is_named(tmp_path, content, expected):
    path = tmp_path / "bad.dict"
    path.write_text(content)

    with pytest.raises(OptionError, match=rf"bad\.dict.*{expected}"):
        Lexicon.read(path)


def test_a_missing_lexicon_is_named(tmp_path):
    with pytest.raises(OptionError, match=r"nowhere\.dict"):
        Lexicon.read(tmp_path / "nowhere.dict")
