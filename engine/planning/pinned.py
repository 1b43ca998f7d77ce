"""Pinned memory: how much of it a machine lets a process have, and what a run may count on.

Copies between card and RAM are quick only from pinned memory. Windows limits it, and hands WSL far
less than it has; reports go from 210 MB to half the computer's memory, so it is measured, by
:mod:`engine.planning.pinned_probe` in a process that is thrown away.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from engine.store.files import write_atomic

FILE = "pinned.json"
_MIB = 1 << 20
USABLE_SHARE = 0.8
"""Of what was measured: the limit moves with what else runs."""
CAP_SHARE = 0.25
"""Of the computer's memory: the probe asks for no more, so it cannot harm it."""
ASSUMED_WSL_BYTES = 200 * _MIB
"""Without a measurement: the least that was ever reported of WSL, rounded down."""
ASSUMED_WINDOWS_BYTES = 1024 * _MIB


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What the probe found."""

    pinned_bytes: int | None = None
    """What a process got before it was refused, or the cap; None if it was not measured."""
    cap_bytes: int | None = None
    """Where the probe stops by itself; what it got, if nothing was refused."""
    largest_block_bytes: int | None = None
    """The largest piece that was granted at once."""
    why: str = ""
    """Why nothing was measured, or what refused; for people."""

    @property
    def is_capped(self) -> bool:
        """Nothing was refused: there is at least this much."""
        known = self.pinned_bytes is not None and self.cap_bytes is not None
        return known and (self.pinned_bytes or 0) >= (self.cap_bytes or 0)


def budget_bytes(measured: Measured | None, platform: str, ram_bytes: int | None) -> int | None:
    """What a run may pin; None where nothing limits it but the computer's memory."""
    if measured is not None and measured.pinned_bytes is not None:
        if measured.is_capped and platform == "linux":
            return None
        return int(USABLE_SHARE * measured.pinned_bytes)
    if platform == "linux":
        return None
    if platform == "wsl":
        return ASSUMED_WSL_BYTES
    return int(CAP_SHARE * ram_bytes) if ram_bytes else ASSUMED_WINDOWS_BYTES


# ---------------------------------------------------------------- what was measured is kept


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    """The file ``pinned.json`` of the home."""

    key: str
    """Driver, cards and start of the computer."""
    measured: Measured


def read(home: Path, key: str) -> Measured | None:
    """The measurement that was kept; None if there is none of this very machine and start."""
    try:
        kept = msgspec.json.decode((home / FILE).read_bytes(), type=_Kept)
    except (OSError, msgspec.MsgspecError):
        return None
    return kept.measured if kept.key == key else None


def keep(home: Path, key: str, measured: Measured) -> None:
    """Keep a measurement. Raises OSError."""
    write_atomic(home / FILE, msgspec.json.encode(_Kept(key=key, measured=measured)), durable=False)
