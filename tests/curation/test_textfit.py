"""Texts of another language are found among those of a pool, and texts of the own one stay."""

from __future__ import annotations

import numpy as np
import pytest

from linnet.curation.textfit import ForeignText, language_fits
from tests.support.pools import pool_of

WORDS = {
    "de": "der die und ein nicht von mit auf dass sich auch eine werden haben über nach noch schon zwischen straße",
    "fr": "le la les des est une dans que pour pas qui sur avec plus tout être faire comme leur même jamais",
    "fi": "ja on ei se että hän oli mutta kun niin vain myös kanssa sitten jälkeen ennen vielä paljon täällä",
}


def sentences(language: str, count: int, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    words = WORDS[language].split()
    return [" ".join(rng.choice(words, size=rng.integers(5, 12))) for _ in range(count)]


def mixed(share: float) -> tuple[list[str], list[str], np.ndarray]:
    """Texts, the languages that they are said to be, and which of these are wrong."""
    rng = np.random.default_rng(9)
    said = np.repeat(["de", "fr", "fi"], 150)
    texts = [*sentences("de", 150, 1), *sentences("fr", 150, 2), *sentences("fi", 150, 3)]
    wrong = rng.random(450) < share
    others = {"de": "fr", "fr": "fi", "fi": "de"}
    for at in np.flatnonzero(wrong):
        texts[at] = sentences(others[str(said[at])], 1, 100 + int(at))[0]
    return texts, said.tolist(), wrong


@pytest.mark.parametrize("share", [0.0, 0.08])
def test_texts_of_another_language_are_found(share: float) -> None:
    texts, said, wrong = mixed(share)
    verdict = ForeignText().check(pool_of(texts, language=said), np.ones(450, bool))
    assert verdict.failed[wrong].all()
    assert not verdict.failed[~wrong].any()


def test_the_fit_is_that_of_a_plain_count() -> None:
    texts, said, _ = mixed(0.05)
    pool = pool_of(texts, language=said)
    fits, _ = language_fits(pool, np.ones(450, bool))
    row = 7
    mine = [f" {texts[row]} "[at : at + 3] for at in range(len(texts[row]))]
    counts: dict[str, dict[str, int]] = {}
    for text, language in zip(texts, said, strict=True):
        for at in range(len(text)):
            held = counts.setdefault(language, {})
            piece = f" {text} "[at : at + 3]
            held[piece] = held.get(piece, 0) + 1
    totals = {language: sum(held.values()) for language, held in counts.items()}
    logs = []
    for piece in mine:
        lent = 0.99 * np.mean([counts[name].get(piece, 0) / totals[name] for name in totals]) + 0.01 / 2**14
        others = counts["de"][piece] - mine.count(piece)
        logs.append(np.log2((others + 200 * lent) / (totals["de"] - len(mine) + 200)))
    assert fits[row] == pytest.approx(np.mean(logs), abs=0.05)  # a few trigrams share a bucket


def test_what_cannot_be_judged_passes() -> None:
    texts, said, _ = mixed(0.0)
    short = pool_of(["le la", *texts[1:]], language=said)
    assert not ForeignText().check(short, np.ones(450, bool)).failed.any()
    for labels in (["de"] * 450, ["und"] * 450, [None] * 450, ["de"] * 430 + ["fr"] * 20):
        assert not ForeignText().check(pool_of(texts, language=labels), np.ones(450, bool)).failed.any()
    assert not ForeignText().check(pool_of([None, ""], language=["de", "fr"]), np.ones(2, bool)).failed.any()
    assert "by 0.8 bits per letter" in ForeignText().reason(0.8)
