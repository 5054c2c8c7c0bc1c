"""Texts that are not of the corpus, such as hypotheses on held-out data, in the words and phones of the corpus."""

from __future__ import annotations

from pathlib import Path

from linnet.curation.errors import Reader, SpokenText
from linnet.curation.phonemes.backends import PhonemeOptions, Phonemizers
from linnet.curation.phonemes.inventory import INVENTORY, LARGEST, Inventory
from linnet.curation.words import read_text


def text_reader(folder: Path, options: PhonemeOptions) -> Reader:
    """A function that reads a text as the work folder's texts were read. Raises `OptionError` without an inventory.

    A phone that the corpus does not have gets the last number there is.
    """
    inventory = Inventory.load(folder / INVENTORY)
    phonemizers = Phonemizers(options)
    places = {key: {symbol: at for at, symbol in enumerate(symbols)} for key, symbols in inventory.symbols.items()}

    def read(text: str, language: str) -> SpokenText:
        found = read_text(text, None if language == "und" else language)
        said = phonemizers.speak(language, found.script, [found.words])[0]
        known = places.get((language, said.backend), {})
        phones = [known.get(phone, LARGEST) for word in said.words if word is not None for phone in word]
        return SpokenText(found.units, [int(one) for one in found.hashes], phones)

    return read
