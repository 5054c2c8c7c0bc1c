import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnet.curation.phonemes.backends import PhonemeOptions, Phonemizers
from linnet.curation.phonemes.graphemes import clusters
from linnet.curation.phonemes.inventory import Inventory
from linnet.curation.spoken import (
    TextRow,
    finish_shards,
    renumbered,
    shard_paths,
    speak_shard,
    spoken_table,
    tally,
)
from linnet.curation.words import read_text, word_hash
from linnet.errors import OptionError

pa = pytest.importorskip("pyarrow", reason="the extra curate is not installed")
import pyarrow.parquet as pq  # noqa: E402

LETTERS = PhonemeOptions(backends=("graphemes",))
TEXTS = [
    ("de", "Drei Vögel, drei!"),
    ("de", "vier"),
    ("en", "three don't"),
    ("hi", "नमस्ते दुनिया"),
    ("zh", "你好 ok"),
    ("und", "привет, ok"),
    ("de", ""),
    ("de", None),
    ("sr", "zdravo"),
    ("sr", "здраво"),
    ("en", "3 5 7"),
    ("en", "word " * 10_000),
]


def rows_of(texts):
    return [TextRow(row, text, language) for row, (language, text) in enumerate(texts)]


def speak(parts, options=LETTERS):
    """Rows shared out in parts -> the rows of the final tables, in order, and their inventory."""
    with Phonemizers(options) as phonemizers:
        tables = [spoken_table(part, phonemizers) for part in parts]
    inventory = Inventory.of(tally(table.schema.metadata) for table in tables)
    rows = [row for table in tables for row in renumbered(table, inventory).to_pylist()]
    return sorted(rows, key=lambda row: row["row"]), inventory


def test_every_row_against_a_slow_twin():
    rows, inventory = speak([rows_of(TEXTS)])

    for row, (language, text) in zip(rows, TEXTS, strict=True):
        words = read_text(text or "", language)
        symbols = inventory.symbols.get((language, "graphemes"), ())
        assert row["words"] == [word_hash(unit) for unit in words.units]
        assert [symbols[number] for number in row["phones"]] == [one for word in words.words for one in clusters(word)]
        assert row["characters"] == words.characters
        assert row["error"] == ("no transcript" if text is None else None)
    assert rows[8]["script"] == "Latn"
    assert rows[9]["script"] == "Cyrl"


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 5))
def test_the_result_does_not_depend_on_who_spoke_what(seed, count):
    rows = rows_of(TEXTS[:11])
    random.Random(seed).shuffle(rows)
    parts = [rows[place::count] for place in range(count)]

    assert speak(parts) == speak([rows_of(TEXTS[:11])])


def test_words_without_phones_are_counted(tmp_path):
    path = tmp_path / "de.dict"
    path.write_text("eins A\nzwei B\n")
    options = PhonemeOptions(backends=("lexicon",), lexicons=(("de", str(path)),), coverage=0.5)

    rows, _ = speak([[TextRow(0, "eins zwei elf", "de")]], options)

    assert (rows[0]["unknown"], len(rows[0]["phones"])) == (1, 2)


@pytest.fixture
def measured(tmp_path):
    for shard in range(2):
        part = TEXTS[shard * 6 : shard * 6 + 6]
        languages, texts = zip(*part, strict=True)
        table = pa.table(
            {
                "row": pa.array(range(shard * 6, shard * 6 + 6), pa.int64()),
                "text": pa.array(texts, pa.string()),
                "language": pa.array(languages, pa.string()),
                "duration": pa.array([1.0] * 6),
            }
        )
        pq.write_table(table, tmp_path / f"measured-{shard:05}.parquet")
    return tmp_path


def test_shards_on_disk_are_the_same_as_rows_in_memory(measured):
    for path, heard in reversed(shard_paths(measured)):
        assert speak_shard(path, heard, LETTERS) == 6
    inventory = finish_shards(measured)

    tables = [pq.read_table(measured / f"spoken-{shard:05}.parquet") for shard in range(2)]
    assert [row for table in tables for row in table.to_pylist()] == speak([rows_of(TEXTS)])[0]
    assert Inventory.load(measured / "phones.json") == inventory
    assert tables[0].schema.field("phones").type == pa.list_(pa.uint16())
    assert tables[0].schema.field("words").type == pa.list_(pa.uint32())


def test_a_shard_that_is_there_is_not_spoken_again(measured):
    (first, heard), _ = shard_paths(measured)
    speak_shard(first, heard, LETTERS)
    before = heard.stat().st_mtime_ns

    assert speak_shard(first, heard, LETTERS) == 6
    assert heard.stat().st_mtime_ns == before


def test_a_shard_of_other_options_is_spoken_anew(measured):
    (first, heard), _ = shard_paths(measured)
    speak_shard(first, heard, PhonemeOptions(backends=()))
    before = heard.stat().st_mtime_ns

    speak_shard(first, heard, LETTERS)
    assert heard.stat().st_mtime_ns > before


def test_a_shard_that_is_missing_is_named(measured):
    with pytest.raises(OptionError, match=r"heard-00000\.parquet"):
        finish_shards(measured)
