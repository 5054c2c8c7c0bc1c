"""What several tests of the evaluation share."""

from __future__ import annotations

import pytest

from tests.support.sctk import find_sctk


@pytest.fixture
def sctk() -> str:
    """The folder of NIST's scoring toolkit."""
    folder = find_sctk()
    if folder is None:
        pytest.skip("sclite is not installed (Debian: apt-get install sctk)")
    return folder
