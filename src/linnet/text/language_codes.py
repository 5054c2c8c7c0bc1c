"""Language codes by BCP-47: canonical forms, and which codes mean the same language."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable

from linnet.errors import OptionError
from linnet.text.language_lists import LISTS

_SPELLED = re.compile(r"[a-z]{2,3}(-[a-z0-9]{2,8})*")  # a valid language token: <|de|>, <|zh-hant|>


def canonical(code: str) -> str:
    """The canonical code of a language: BCP-47 in lower case, without the default script.

    ISO 639-3 and FLORES-200 codes (`arb_Arab`) become the shortest BCP-47 tag, and a language that dominates its
    macrolanguage becomes that (rules of Unicode CLDR, by the library langcodes): Whisper's `jw` and `jv` are one
    language, and so are `cmn` and `zh`, but not `yue` and `zh`. Raises `OptionError`, with similar codes, for a code
    that is not a registered language.

    >>> [canonical(code) for code in ("deu", "jw", "cmn_Hant", "arb_Arab", "ckb")]
    ['de', 'jv', 'zh-hant', 'ar', 'ckb']
    """
    from langcodes import Language, tag_is_valid
    from langcodes.tag_parser import LanguageTagError

    try:
        language = Language.get(code.strip()).prefer_macrolanguage() if tag_is_valid(code.strip()) else None
    except LanguageTagError:
        language = None
    if language is None or language.language is None:
        raise OptionError(f"{code!r} is not a BCP-47 language code{_near(code)}")
    if language.script and language.script == language.update_dict({"script": None}).maximize().script:
        language = language.update_dict({"script": None})
    tag = language.to_tag().lower()
    if not _SPELLED.fullmatch(tag):
        raise OptionError(f"language {code!r} cannot be written as a token: use language, script and region only")
    return tag


def base_language(code: str) -> str:
    """The language without script and region, in lower case.

    >>> base_language("zh-hant"), base_language("de_AT")
    ('zh', 'de')
    """
    return code.replace("_", "-").partition("-")[0].lower()


def same_language(code: str, known: Iterable[str]) -> str | None:
    """The model's own code for the same language; None if it has none."""
    wanted = canonical(code)
    return next((one for one in known if one == wanted or _canonical_or_self(one) == wanted), None)


def parse_languages(words: Iterable[str]) -> dict[str, str | None]:
    """Parse `CODE` and `CODE=RELATED`: canonical codes, each with its related language or None.

    Raises `OptionError` for a code that is not a language, and for a language given twice.

    >>> parse_languages(["ckb=fa", "ast"])
    {'ckb': 'fa', 'ast': None}
    """
    wanted: dict[str, str | None] = {}
    for word in words:
        code, _, related = word.partition("=")
        if (key := canonical(code)) in wanted:
            raise OptionError(f"language {code!r} is given twice")
        wanted[key] = related.strip() or None
    return wanted


def listed_languages(name: str) -> tuple[str, ...]:
    """The languages of a published list, canonical and unique; with a script only if the list has the language in
    several scripts.

    Raises `OptionError` for an unknown list.
    """
    if name not in LISTS:
        raise OptionError(f"unknown list of languages {name!r}: use {' or '.join(LISTS)}")
    parts = [code.partition("_") for code in LISTS[name]]  # ace_Arab
    scripts = Counter(language for language, *_ in parts)
    codes = (canonical("".join(part) if scripts[part[0]] > 1 else part[0]) for part in parts)
    return tuple(dict.fromkeys(codes))


def _canonical_or_self(code: str) -> str:
    try:
        return canonical(code)
    except OptionError:  # a model may have private language codes
        return code


def _near(code: str) -> str:
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    known = {name: f"{code} ({name})" for code, name in LANGUAGES.items()}
    known |= {listed.lower(): listed for codes in LISTS.values() for listed in codes}
    found = difflib.get_close_matches(code.strip().lower(), known, n=2, cutoff=0.6)
    return f": did you mean {' or '.join(known[one] for one in found)}?" if found else ""
