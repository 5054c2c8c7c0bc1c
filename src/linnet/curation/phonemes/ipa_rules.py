"""epitran: letters to IPA by rules, for languages with phonemic spelling (Mortensen et al. 2018)."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any

from linnet.curation.phonemes.base import Kept, Phones, interned, spelled_digits
from linnet.errors import MissingExtra
from linnet.text.language_codes import canonical
from linnet.text.scripts import script_group, scripts_of

# The maps of epitran 1.35, one per language and script. Excluded are its maps of kana, which lack the Han characters
# of most Japanese text, and variants of a map (narrow, reduced, reversed). English, Chinese characters
# and Japanese it does not map but looks up: they need Flite's lex_lookup (a process for each word) or CC-CEDICT, which
# its wheel does not have.
_MAPS = """
aar-Latn afr-Latn aii-Syrc amh-Ethi ara-Arab ava-Cyrl aze-Cyrl aze-Latn ben-Beng bho-Deva bxk-Latn cat-Latn ceb-Latn
ces-Latn cjy-Latn ckb-Arab cmn-Latn csb-Latn cym-Latn deu-Latn epo-Latn est-Latn fas-Arab fin-Latn fra-Latn fry-Latn
ful-Latn gan-Latn gle-Latn glg-Latn got-Goth got-Latn hak-Latn hat-Latn-bab hau-Latn hin-Deva hrv-Latn hsn-Latn
hun-Latn ile-Latn ilo-Latn ind-Latn ita-Latn jam-Latn jav-Latn kab-Latn kan-Knda kat-Geor kaz-Cyrl kaz-Latn kbd-Cyrl
khm-Khmr kin-Latn kir-Arab kir-Cyrl kir-Latn kmr-Latn kor-Hang lao-Laoo lav-Latn lez-Cyrl lij-Latn lit-Latn lsm-Latn
lug-Latn mal-Mlym mar-Deva mlt-Latn mon-Cyrl-bab mri-Latn msa-Latn mya-Mymr nan-Latn nhi-Latn nld-Latn nno-Latn
npi-Deva nya-Latn oci-Latn ori-Orya orm-Latn pan-Guru pbu-Arab pol-Latn por-Latn quy-Latn ron-Latn run-Latn rus-Cyrl
sag-Latn sin-Sinh slv-Latn sna-Latn som-Latn spa-Latn sqi-Latn sro-Latn srp-Cyrl srp-Latn swa-Latn swe-Latn tam-Taml
tel-Telu tgk-Cyrl tgl-Latn tha-Thai tir-Ethi tpi-Latn tsn-Latn tuk-Cyrl tuk-Latn tur-Latn uig-Arab ukr-Cyrl urd-Arab
uzb-Cyrl uzb-Latn vie-Latn wuu-Latn xho-Latn xty-Latn yor-Latn yue-Latn zha-Latn zul-Latn
"""
_ALSO = {"pbu": "ps"}  # the map of one language for another form of it


def is_installed() -> bool:
    """Whether epitran can be imported."""
    return find_spec("epitran") is not None


@cache
def maps() -> dict[tuple[str, str], str]:
    """The map for each language (canonical) in each script (group)."""
    found: dict[tuple[str, str], str] = {}
    for name in _MAPS.split():
        language, script = name.split("-")[:2]
        for code in (language, _ALSO.get(language, language)):
            found.setdefault((canonical(code), script_group(script)), name)
    return found


class IpaRules:
    """The phones of words by one of epitran's maps: IPA without tones; numbers stay digits.

    A word with letters of another script than the map's is unknown.
    """

    def __init__(self, name: str) -> None:
        self.name = f"epitran:{name}"
        self._map = name
        self._scripts = {script_group(name.split("-")[1])}
        self._kept = Kept(self.name, self._speak)

    def phones(self, words: Sequence[str]) -> list[Phones | None]:
        """The phones of each word."""
        return self._kept.phones(words)

    def _speak(self, words: Sequence[str]) -> list[Phones | None]:
        return [spelled_digits(word) or self._word(word) for word in words]

    def _word(self, word: str) -> Phones | None:
        if not scripts_of([word]) <= self._scripts:
            return None
        rules = _rules(self._map)
        if rules is None:
            return None
        # not `strict_trans`: it drops what epitran's first rules have already made IPA, as Polish "dź"
        return interned(rules.ft.ipa_segs(rules.transliterate(unicodedata.normalize("NFC", word))))


@cache
def _rules(name: str) -> Any:
    """The rules of a map; None if the installed epitran lacks it or it is damaged."""
    try:
        from epitran.exceptions import DatafileError, MappingError
        from epitran.simple import SimpleEpitran  # without the second feature table of `Epitran`
    except ImportError as error:
        raise MissingExtra("phones by epitran", extra="phonemes") from error
    try:
        return SimpleEpitran(name)
    except (DatafileError, MappingError):
        return None
