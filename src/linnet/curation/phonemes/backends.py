"""Choose the backend of a text: the first suitable one of a user's lexicon, epitran, espeak-ng, uroman, graphemes.

The choice depends on the language and the script of a row, so Serbian in Latin and Cyrillic letters get different ones.
A row has one backend, whose name is recorded with it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from linnet.closing import Closing
from linnet.curation.phonemes import espeak, ipa_rules, romanized
from linnet.curation.phonemes.base import PhonemeBackend, Phones
from linnet.curation.phonemes.espeak import Espeak, EspeakProcess
from linnet.curation.phonemes.graphemes import Graphemes
from linnet.curation.phonemes.ipa_rules import IpaRules
from linnet.curation.phonemes.lexicon import Lexicon
from linnet.curation.phonemes.romanized import Romanized
from linnet.errors import OptionError
from linnet.settings import SHARE, require, unknown
from linnet.text.language_codes import base_language, canonical
from linnet.text.scripts import NONE, script_group

LEXICON, EPITRAN, ESPEAK, UROMAN, GRAPHEMES = "lexicon", "epitran", "espeak-ng", "uroman", "graphemes"
ORDER: Final = (LEXICON, EPITRAN, ESPEAK, UROMAN, GRAPHEMES)
EXTRAS: Final = {EPITRAN: "phonemes", ESPEAK: "espeak", UROMAN: "phonemes"}
UNKNOWN: Final = "und"

_LIBRARIES = ("epitran", "panphon", "espeakng-loader", "uroman", "regex")
_UNSPACED = frozenset({"Hani", "Jpan", "Thai", "Laoo", "Khmr", "Mymr"})
_APART = frozenset({"zh"})  # macrolanguages whose members differ in spelling or pronunciation


@dataclass(frozen=True)
class PhonemeOptions:
    """Options of phoneme backends.

    `backends` are the allowed ones: a lexicon first, then epitran and espeak-ng in the given order, uroman, and always
    graphemes as the last resort. `lexicons` are pairs of a language and the path of its lexicon. A backend is used for
    a row if it knows at least `coverage` of the row's words.
    """

    backends: tuple[str, ...] = ORDER
    lexicons: tuple[tuple[str, str], ...] = ()
    coverage: float = 0.8

    def __post_init__(self) -> None:
        require(self, SHARE, "coverage")
        for name in self.backends:
            if name not in ORDER:
                raise OptionError(unknown("phoneme backend", name, ORDER))

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits of everything that affects phones: these options, lexicons, installed
        libraries."""
        lexicons = [hashlib.sha256(_bytes(path)).hexdigest() for _, path in self.lexicons]
        told = json.dumps([asdict(self), lexicons, {name: _version(name) for name in _LIBRARIES}])
        return hashlib.sha256(told.encode(errors="backslashreplace")).hexdigest()[:16]


def _bytes(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise OptionError(f"{path}: cannot read the lexicon: {error.strerror}") from error


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


@dataclass(frozen=True)
class Candidate:
    """A possible backend for a language: its setting, the language it is borrowed from, and whether it is installed."""

    backend: str
    setting: str = ""
    borrowed: str = ""  # the macrolanguage of the setting
    installed: bool = True


@dataclass(frozen=True)
class SpokenRow:
    """The phones of one row, word by word (None: unknown to the backend), and their source."""

    backend: str
    words: tuple[Phones | None, ...]


def expected_script(language: str) -> str:
    """The usual script (group) of a language; `Zyyy` if unknown.

    >>> [expected_script(code) for code in ("de", "zh-hant", "sr", "sr-latn", "und")]
    ['Latn', 'Hani', 'Cyrl', 'Latn', 'Zyyy']
    """
    from langcodes import Language

    if language == UNKNOWN:
        return NONE
    return script_group(Language.get(language).maximize().script or NONE)


def candidates(language: str, script: str, options: PhonemeOptions | None = None) -> list[Candidate]:
    """All backends for a language (canonical BCP-47) in a script, in the order of preference."""
    options = options or PhonemeOptions()
    script = expected_script(language) if script == NONE else script_group(script)
    found: list[Candidate] = []
    if LEXICON in options.backends:
        lexicons = {canonical(code): path for code, path in options.lexicons}
        key = next((one for one in (language, base_language(language)) if one in lexicons), None)
        found += [Candidate(LEXICON, lexicons[key])] if key else []
    tables = [backend for backend in options.backends if backend in (EPITRAN, ESPEAK)]
    macro = _macrolanguage(language)
    found += [one for backend in tables for one in _by_table(backend, _names(language), script)]
    if macro:
        found += [one for backend in tables for one in _by_table(backend, [macro], script, macro)]
    if UROMAN in options.backends:
        found.append(Candidate(UROMAN, installed=romanized.is_installed()))
    return [*found, Candidate(GRAPHEMES)]


def _by_table(backend: str, names: Sequence[str], script: str, borrowed: str = "") -> list[Candidate]:
    room = ipa_rules if backend == EPITRAN else espeak
    table = ipa_rules.maps() if backend == EPITRAN else espeak.voices()
    setting = next((table[name, script] for name in names if (name, script) in table), None)
    return [Candidate(backend, setting, borrowed, room.is_installed())] if setting else []


def _names(language: str) -> list[str]:
    """The possible names of a language in lists: with and without its region."""
    from langcodes import Language

    base, region = base_language(language), Language.get(language).territory
    return [f"{base}-{region.lower()}", base] if region else [base]


def _macrolanguage(language: str) -> str | None:
    """The macrolanguage (ISO 639-3) of a language, if its members are pronounced alike."""
    from langcodes.data_dicts import MACROLANGUAGES

    macro = MACROLANGUAGES.get(base_language(language))
    return None if macro in _APART else macro


class Phonemizers(Closing):
    """The backends of all requested languages, and one process of espeak-ng; close it, or use `with`.

    >>> with Phonemizers(PhonemeOptions(backends=("graphemes",))) as phonemizers:
    ...     phonemizers.speak("de", "Latn", [["drei", "vier"]])[0].words
    (('d', 'r', 'e', 'i'), ('v', 'i', 'e', 'r'))
    """

    def __init__(self, options: PhonemeOptions | None = None) -> None:
        self.options = options or PhonemeOptions()
        self._espeak = EspeakProcess()
        self._chains: dict[tuple[str, str], list[PhonemeBackend]] = {}
        self._made: dict[tuple[str, str, str], PhonemeBackend] = {}

    def close(self) -> None:
        """End the process of espeak-ng."""
        self._espeak.close()

    @property
    def ended(self) -> int:
        """The number of words that crashed the process of espeak-ng, and so have no phones."""
        return self._espeak.ended

    def chain(self, language: str, script: str) -> list[PhonemeBackend]:
        """The installed backends for a language and script, in order; the last one knows every word.

        Raises `OptionError` for a lexicon that cannot be read.
        """
        key = language, script
        if key not in self._chains:
            group = expected_script(language) if script == NONE else script_group(script)
            usable = [one for one in candidates(language, script, self.options) if one.installed]
            self._chains[key] = [self._backend(one, language, group) for one in usable]
        return self._chains[key]

    def speak(self, language: str, script: str, rows: Sequence[Sequence[str]]) -> list[SpokenRow]:
        """The phones of the words of rows in one language and script.

        A row goes to the first backend that knows at least `coverage` of its words.
        """
        found: dict[int, SpokenRow] = {}
        waiting = list(range(len(rows)))
        chain = self.chain(language, script)
        for backend in chain:
            words = list(dict.fromkeys(word for row in waiting for word in rows[row]))
            known = dict(zip(words, backend.phones(words), strict=True))
            for row in waiting:
                phones = tuple(known[word] for word in rows[row])
                enough = self.options.coverage * len(phones)
                if backend is chain[-1] or len(phones) - phones.count(None) >= enough:
                    found[row] = SpokenRow(backend.name, phones)
            waiting = [row for row in waiting if row not in found]
        return [found[row] for row in range(len(rows))]

    def _backend(self, one: Candidate, language: str, script: str) -> PhonemeBackend:
        key = one.backend, one.setting, script if one.backend in (LEXICON, ESPEAK) else language
        if key not in self._made:
            self._made[key] = self._make(one, language, script)
        return self._made[key]

    def _make(self, one: Candidate, language: str, script: str) -> PhonemeBackend:
        if one.backend == LEXICON:
            return Lexicon.read(Path(one.setting), language, joined=script in _UNSPACED)
        if one.backend == EPITRAN:
            return IpaRules(one.setting)
        if one.backend == ESPEAK:
            return Espeak(self._espeak, one.setting, script)
        return Romanized(language) if one.backend == UROMAN else Graphemes()
