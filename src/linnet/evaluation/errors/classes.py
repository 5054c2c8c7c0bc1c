"""Numbers and names among the words of a reference, by simple rules."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cache, lru_cache
from itertools import pairwise
from typing import Literal

from linnet.evaluation.log import ScoredRow
from linnet.text.language_codes import base_language

WordClass = Literal["numbers", "names", "other"]

RULES: dict[WordClass, str] = {
    "numbers": "words with a digit of any script, and cardinal number words of English, German, French, Spanish, "
    "Italian, Portuguese and Dutch (English where no language is given); spelled-out ordinals do not count",
    "names": "words capitalized within a sentence and never lowercase in the same reference; not in German, nor where "
    "nearly all words or all letters are capital",
    "other": "all other words",
}

# The parts of number words; a word is a number if it consists of these alone.
_PIECES = {
    "en": "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million "
    "billion trillion",
    "de": "null eins zwei zwo drei vier fünf sechs sieben acht neun zehn elf zwölf sech sieb zwanzig dreißig dreissig "
    "vierzig fünfzig sechzig siebzig achtzig neunzig hundert tausend million millionen milliarde milliarden "
    "einhundert eintausend einund",
    "fr": "zéro deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze seize vingt vingts "
    "trente quarante cinquante soixante septante huitante nonante cent cents mille million millions milliard milliards",
    "es": "cero uno dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince dieci dieciséis "
    "veinte veinti veintidós veintitrés veintiséis treinta cuarenta cincuenta sesenta setenta ochenta noventa cien "
    "ciento cientos cientas quinientos setecientos novecientos mil millón millones",
    "it": "zero uno due tre tré quattro cinque sei sette otto nove dieci undici dodici tredici quattordici quindici "
    "sedici diciassette diciotto diciannove venti vent trenta trent quaranta quarant cinquanta cinquant sessanta "
    "sessant settanta settant ottanta ottant novanta novant cento mille mila milione milioni miliardo miliardi",
    "pt": "zero dois duas três quatro cinco seis sete oito nove dez onze doze treze catorze quatorze quinze dezesseis "
    "dezasseis dezessete dezassete dezoito dezenove dezanove vinte trinta quarenta cinquenta sessenta setenta oitenta "
    "noventa cem cento duzentos duzentas trezentos trezentas quatrocentos quinhentos seiscentos setecentos oitocentos "
    "novecentos mil milhão milhões",
    "nl": "nul twee drie vier vijf zes zeven acht negen tien elf twaalf dertien veertien vijftien zestien zeventien "
    "achttien negentien twintig dertig veertig vijftig zestig zeventig tachtig negentig honderd duizend miljoen "
    "miljoenen miljard eenen",
}
_JOINERS = {"de": "und", "nl": "en|ën", "fr": "et"}
_NO_NAMES = ("de", "lb")  # every noun is capitalized
_CODES = {"eng": "en", "english": "en", "deu": "de", "ger": "de", "german": "de", "fra": "fr", "french": "fr"}
_TOKEN = re.compile(r"\S+")
_PART = re.compile(r"[^\W_]+")
_SENTENCE_END = re.compile(r"[.!?…:;。！？][\"'’”»)\]]*$")
_MARKS = ".,;:!?…'\"’”»)]}([{«“‘"
_MOST = 0.75  # share of capitalized words within sentences above which capitals mean nothing


def classify(row: ScoredRow, words: Sequence[str]) -> list[WordClass]:
    """The class of each word of a normalized reference.

    >>> row = ScoredRow(0, "a", "a.wav", "Then Anna bought 20 apples.", language="en")
    >>> classify(row, ["then", "anna", "bought", "20", "apples"])
    ['other', 'names', 'other', 'numbers', 'other']
    """
    language = _main(row.language)
    names = find_names(row.text, language)
    return ["numbers" if is_number(word, language) else "names" if word in names else "other" for word in words]


@lru_cache(maxsize=2**16)
def is_number(word: str, language: str | None = None) -> bool:
    """Whether a word is a number by `RULES`.

    >>> [is_number(word) for word in ("20th", "twentyone", "twenty-one", "often", "四十")]
    [True, True, True, False, True]
    >>> is_number("achtundvierzig", "de")
    True
    """
    if any(char.isdecimal() for char in word):
        return True
    if word and all(unicodedata.numeric(char, None) is not None for char in word):
        return True
    pattern = _pattern(_main(language) or "en")
    return pattern is not None and pattern.fullmatch(unicodedata.normalize("NFC", word.casefold())) is not None


@cache
def _pattern(language: str) -> re.Pattern[str] | None:
    if language not in _PIECES:
        return None
    pieces = "|".join(sorted((piece.casefold() for piece in _PIECES[language].split()), key=len, reverse=True))
    joiner = f"(?:-|{_JOINERS[language]})" if language in _JOINERS else "-"
    return re.compile(f"(?:{pieces})(?:{joiner}?(?:{pieces}))*")


@lru_cache(maxsize=1024)
def _main(language: str | None) -> str | None:
    if language is None:
        return None
    main = base_language(language)
    return _CODES.get(main, main)


def find_names(text: str, language: str | None = None) -> frozenset[str]:
    """Names in a raw reference by `RULES`, as a normalized text spells them.

    >>> sorted(find_names("Yes, Mary met O'Neill. But mary-jane? I'm sure: Bob."))
    ['neill', "o'neill"]
    """
    if language in _NO_NAMES or text[1:].islower() or text.isupper():
        return frozenset()
    words = _TOKEN.findall(text)
    inside = [word for before, word in pairwise(words) if not _SENTENCE_END.search(before)]
    capital = [word for word in inside if _is_capital(word)]
    if not capital or (len(inside) > 3 and len(capital) > _MOST * len(inside)):
        return frozenset()
    names = {part.casefold() for word in capital for part in _parts(word)}
    return frozenset(names - {part for word in words if not _is_capital(word) for part in _PART.findall(word)})


def _is_capital(word: str) -> bool:
    first = _PART.search(word)
    return first is not None and first[0][0].isupper()


def _parts(word: str) -> list[str]:
    """A capitalized word and its parts; "I", "I'm", initials and the s of "Anna's" are not names."""
    parts = _PART.findall(word)
    return [] if parts[0] == "I" else [part for part in [*parts, word.strip(_MARKS)] if len(part) > 1]
