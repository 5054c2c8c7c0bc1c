import pytest

from linnet.curation.phonemes import ipa_rules
from linnet.curation.phonemes.ipa_rules import IpaRules, maps

installed = pytest.mark.skipif(not ipa_rules.is_installed(), reason="the extra phonemes is not installed")


@installed
@pytest.mark.filterwarnings("ignore")  # panphon's pandas
def test_polish_is_read_by_its_rules_and_other_scripts_are_not():
    polish = IpaRules("pol-Latn")

    assert polish.name == "epitran:pol-Latn"
    found = polish.phones(["dziękuję", "23", "сыр", "dziękuję"])
    assert found == [("d͡ʑ", "ɛ", "ŋ", "k", "u", "j", "ɛ"), ("2", "3"), None, found[0]]


@installed
@pytest.mark.filterwarnings("ignore")
def test_a_map_that_is_missing_knows_no_word():
    assert IpaRules("xxx-Latn").phones(["a"]) == [None]


@installed
@pytest.mark.filterwarnings("ignore")
def test_every_map_of_the_table_is_in_the_package():
    from importlib.resources import files

    folder = files("epitran") / "data" / "map"
    assert [name for name in maps().values() if not (folder / f"{name}.csv").is_file()] == []


def test_maps_are_found_by_the_codes_that_are_used_here():
    table = maps()

    assert (table["az", "Latn"], table["az", "Cyrl"]) == ("aze-Latn", "aze-Cyrl")
    assert (table["ps", "Arab"], table["ku", "Latn"], table["ne", "Deva"]) == ("pbu-Arab", "kmr-Latn", "npi-Deva")
    assert table["ko", "Hang"] == "kor-Hang"
    assert ("en", "Latn") not in table
