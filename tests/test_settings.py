"""Settings: what a mapping becomes, and what is said of one that fits no dataclass."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from linnet.errors import OptionError
from linnet.settings import POSITIVE, SHARE, ValueRule, build, did_you_mean, read_yaml, require, unknown


@dataclass(frozen=True)
class Inner:
    """A part."""

    size: int = 1
    share: float | None = None

    def __post_init__(self) -> None:
        require(self, POSITIVE, "size")


@dataclass(frozen=True)
class Outer:
    """A whole."""

    name: str
    inner: Inner = field(default_factory=Inner)
    extra: Inner | None = None
    several: tuple[Inner, ...] = ()
    rates: dict[str, float] = field(default_factory=dict)
    switch: bool = False


def made(text: str) -> Outer:
    return build(Outer, read_yaml(text, "file"), "file")


@pytest.mark.parametrize("value", ["1", None, [1]])
def test_what_cannot_be_compared_is_not_allowed(value: object) -> None:
    with pytest.raises(OptionError, match="size must be more than 0, got"):
        POSITIVE.check("size", value)


def test_a_mapping_becomes_a_dataclass() -> None:
    assert made("{name: no, inner: {size: 2e0}, several: [{share: 1}], rates: {a: 1e-3}, switch: yes}") == Outer(
        "no", Inner(2), None, (Inner(share=1.0),), {"a": 0.001}, True
    )
    assert made("{name: 010, extra: on}").extra == Inner()
    assert made("{name: 2026-11-29, extra: off}") == Outer("2026-11-29")
    assert made("{name: a, extra: null}").extra is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{}", "file: the key 'name' is missing"),
        ("[]", "file: expected keys and values, got []"),
        ("{name: a, iner: {}}", "file: unknown key 'iner'; did you mean 'inner'? Known: name, inner, extra"),
        ("{name: a, 3: {}}", "file: unknown key 3; did you mean"),
        ("{name: 3}", "file: name: expected str, got 3"),
        ("{name: a, inner: {size: big}}", "file: inner: size: expected int, got 'big'"),
        ("{name: a, inner: {size: 0}}", "file: inner: size must be more than 0, got 0"),
        ("{name: a, inner: {size: 1e300}}", "file: inner: size must be below 2**63"),
        ("{name: a, inner: {share: half}}", "file: inner: share: expected float or nothing, got 'half'"),
        ("{name: a, extra: 3}", "file: extra: expected keys and values, got 3"),
        ("{name: a, several: {}}", "file: several: expected a list, got {}"),
        ("{name: a, several: [{size: x}]}", "file: several: size: expected int, got 'x'"),
        ("{name: a, rates: [1]}", "file: rates: expected keys and values, got [1]"),
        ("{name: a, rates: {a: x}}", "file: rates: a: expected float, got 'x'"),
        ("{name: a, name: b}", "file: the key 'name' is given twice"),
        ("{name", "file: not YAML: "),
        ("[" * 900 + "]" * 900, "file: not YAML: "),
    ],
)
def test_what_does_not_fit_is_named(text: str, says: str) -> None:
    with pytest.raises(OptionError) as caught:
        made(text)
    assert says in str(caught.value)


def test_a_word_that_looks_like_a_known_one() -> None:
    assert did_you_mean("Digts", ["digits", "base"]) == " (did you mean 'digits'?)"
    assert did_you_mean("larg", {"large": "Large", "larger": "Larger"}, most=2) == " (did you mean Large or Larger?)"
    assert did_you_mean("digits", ["digits", "digit"]) == ""
    assert did_you_mean("zzz", ["digits"]) == ""
    assert unknown("model", "zzz", ["digits"]) == "unknown model 'zzz'; did you mean 'digits'? Known: digits"


def test_rules_are_put_together_in_words_and_as_a_test() -> None:
    rule = ValueRule("None", lambda value: value is None) | SHARE
    rule.check("x", None)
    rule.check("x", 0.5)
    with pytest.raises(OptionError, match="x must be None or from 0 to 1, got 2"):
        rule.check("x", 2)
