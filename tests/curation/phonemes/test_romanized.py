import pytest

from linnet.curation.phonemes import romanized
from linnet.curation.phonemes.romanized import Romanized


@pytest.mark.skipif(not romanized.is_installed(), reason="the extra phonemes is not installed")
def test_letters_of_any_script_become_latin_ones():
    assert Romanized("ka").phones(["მშვიდობა", "2020年", "..."]) == [tuple("mshvidoba"), tuple("2020nian"), None]
