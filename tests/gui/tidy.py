"""Every window test ends with its Qt objects gone, and none goes in the middle of another test."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from PySide6.QtCore import QCoreApplication, QEvent


@pytest.fixture(scope="session")
def _what_stays() -> None:
    """What the imports made is not looked through after every test."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def collected_between_tests(_what_stays: None) -> Iterator[None]:
    """As in the app, the collector only runs where no Qt call is under way (``app.collector``)."""
    gc.disable()
    yield
    # ``deleteLater`` counts on an event loop, and a test without one would leave it to the next.
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
    gc.collect()
    gc.enable()
