"""The languages of the published lists and their phoneme backends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from linnet.curation.language_names import language_name
from linnet.curation.phonemes.backends import (
    EPITRAN,
    ESPEAK,
    EXTRAS,
    GRAPHEMES,
    LEXICON,
    UROMAN,
    Candidate,
    PhonemeOptions,
    candidates,
    expected_script,
)
from linnet.errors import OptionError
from linnet.text.language_codes import canonical
from linnet.text.language_lists import LISTS


@dataclass(frozen=True)
class LanguageRow:
    """One language of a list: its code in the list, its BCP-47 code, and the backend for its texts on this machine.

    `setting` is the backend's own name for the language, `best` the backend with all extras installed, `why` an
    explanation.
    """

    listed: str
    code: str
    name: str
    script: str
    backend: str
    setting: str
    best: str
    why: str


def language_table(list_name: str, options: PhonemeOptions | None = None) -> list[LanguageRow]:
    """A row for each language of a published list (`heep` or `flores200`), in its order; 204 rows each.

    Several codes of a list may mean one language (`pes` and `fa`); each has its own row. Raises `OptionError` for an
    unknown list.
    """
    if list_name not in LISTS:
        raise OptionError(f"unknown list of languages {list_name!r}: use {' or '.join(LISTS)}")
    options = options or PhonemeOptions()
    return [_row(listed, options) for listed in LISTS[list_name]]


def backend_counts(rows: Iterable[LanguageRow]) -> dict[str, int]:
    """The number of languages per backend, in descending order."""
    return dict(Counter(row.backend for row in rows).most_common())


def _row(listed: str, options: PhonemeOptions) -> LanguageRow:
    code = canonical(listed)
    script = listed.partition("_")[2] or _script(code)
    found = candidates(code, script, options)
    here = next(one for one in found if one.installed)
    return LanguageRow(
        listed=listed,
        code=code,
        name=language_name(code),
        script=script,
        backend=here.backend,
        setting=here.setting,
        best=found[0].backend,
        why=_why(here, found),
    )


def _script(code: str) -> str:
    from langcodes import Language

    return Language.get(code).maximize().script or expected_script(code)


def _why(here: Candidate, found: Sequence[Candidate]) -> str:
    best = found[0]
    borrowed = f" of its macrolanguage {language_name(here.borrowed)}" if here.borrowed else ""
    nothing = "" if any(one.setting for one in found) else "no rules and no voice exist: "
    told = {
        LEXICON: f"your lexicon {here.setting}",
        EPITRAN: f"epitran has the rules {here.setting}{borrowed}",
        ESPEAK: f"espeak-ng has the voice {here.setting}{borrowed}",
        UROMAN: f"{nothing}its letters in Latin script",
        GRAPHEMES: f"{nothing}its own letters",
    }[here.backend]
    if best == here:
        return told
    return f'{told}; {best.backend} would come first: pip install "linnet[{EXTRAS[best.backend]}]"'
