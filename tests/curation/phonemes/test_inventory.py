from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnet.curation.phonemes.inventory import Inventory
from linnet.errors import OptionError

spoken = st.lists(st.tuples(st.sampled_from(["de", "fr"]), st.sampled_from("abcʃ\udc80")), max_size=60)


def tallies(parts):
    return [
        {(language, "x"): Counter(symbol for code, symbol in part if code == language) for language, _ in part}
        for part in parts
    ]


@given(spoken, st.lists(st.integers(0, 60), max_size=5))
def test_parts_in_any_order_make_the_inventory_of_the_whole(symbols, cuts):
    places = sorted({0, *(min(cut, len(symbols)) for cut in cuts), len(symbols)})
    parts = [symbols[begin:end] for begin, end in pairwise(places)]

    assert Inventory.of(tallies(reversed(parts))) == Inventory.of(tallies([symbols]))


def test_it_is_read_back_as_it_was(tmp_path):
    inventory = Inventory.of([{("de", "x"): {"ʃ": 3, "\udc80": 1}}])
    inventory.save(tmp_path / "phones.json")

    read = Inventory.load(tmp_path / "phones.json")

    assert (read, read.digest) == (inventory, inventory.digest)


def test_the_rarest_of_very_many_symbols_share_the_last_number():
    symbols = [chr(0x4E00 + number) if number < 20000 else f"s{number:05}" for number in range(70_000)]
    inventory = Inventory.of([{("zh", "x"): {symbol: 70_000 - place for place, symbol in enumerate(symbols)}}])

    assert inventory.numbers(("zh", "x"), [symbols[0], symbols[65_534], symbols[65_536], symbols[-1]]).tolist() == [
        0,
        65_534,
        65_535,
        65_535,
    ]


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "phones.json").write_text("{")

    with pytest.raises(OptionError, match=r"phones\.json"):
        Inventory.load(tmp_path / "phones.json")
