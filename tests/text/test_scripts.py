"""Scripts of texts."""

from __future__ import annotations

import pytest

from linnet.text.scripts import scripts_of, text_script


@pytest.mark.parametrize(
    ("text", "script"),
    [("hello", "Latn"), ("ｈｅｌｌｏ", "Latn"), ("カタカナ", "Jpan"), ("漢字", "Hani"), ("12 %", "Zyyy"), ("", "Zyyy")],
)
def test_the_script_of_a_text(text: str, script: str) -> None:
    assert text_script(text) == (script, float(script != "Zyyy"))


def test_the_share_of_the_script_with_most_letters() -> None:
    assert text_script("ok привет") == ("Cyrl", 6 / 8)
    assert text_script("今日は ok") == ("Jpan", 3 / 5)


def test_each_script_of_some_words() -> None:
    assert scripts_of(["今日は", "ok 12"]) == {"Hani", "Jpan", "Latn"}
