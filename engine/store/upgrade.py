"""Versions of stored JSON: older shapes are lifted step by step, newer ones refused in a sentence.

A step is a pure function from one version's raw object to the next one's. Files of every version
ever written live on in the tests as a museum.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

RUN_FORMAT = 1
"""Version of ``run.json`` and, with it, of the whole run folder."""
STATUS_FORMAT = 1
"""Version of ``status.json``. It can always be built again from the rest."""

Step = Callable[[dict[str, Any]], dict[str, Any]]

RUN_STEPS: Mapping[int, Step] = {}
"""``RUN_STEPS[n]`` lifts a ``run.json`` from version n to n + 1."""


class StoreError(Exception):
    """Something in the store cannot be used; the text is a sentence for people."""


class NotWhole(StoreError):
    """A file is not what was once written there."""


def read_versioned(
    data: bytes, what: str, current: int, steps: Mapping[int, Step]
) -> dict[str, Any]:
    """The JSON object in ``data``, lifted to version ``current``. Raises :class:`StoreError`."""
    try:
        raw = msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise NotWhole(f"{what} is damaged: {error}.") from None
    version = raw.get("format")
    if not isinstance(version, int) or version < 1:
        raise StoreError(f"{what} does not say which format it has.")
    if version > current:
        raise StoreError(
            f"{what} has format {version}, made by a newer Fettle; this one reads up to {current}. "
            "Update Fettle to open it."
        )
    for lifted in range(version, current):
        raw = {**steps[lifted](raw), "format": lifted + 1}
    return raw
