"""Real hosts with fake workers, for whoever asks for ``hosts``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.host_driver import HostUnderTest


@pytest.fixture
def hosts(fettle_home: Path) -> Iterator[HostUnderTest]:
    """Hosts of the test's own home; ended with the test."""
    if sys.platform == "win32":
        pytest.skip("the fake worker waits for its stdin with select")
    driver = HostUnderTest(fettle_home)
    yield driver
    driver.close()
