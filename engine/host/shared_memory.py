"""How much of a process's card memory Windows keeps in RAM: the numbers of its Task Manager.

NVML tells nothing of it. Windows counts it for every process (performance counters of "GPU Process
Memory"), also where its driver moved what did not fit on the card. Anywhere else there is nothing
to measure: Linux never moves any, and WSL does not pass these counters on.
"""

from __future__ import annotations

import ctypes
import logging
import sys
from typing import Any

log = logging.getLogger(__name__)

_PATH = r"\GPU Process Memory(*)\Shared Usage"
_LARGE = 0x00000400
_MORE_DATA = 0x800007D2
_VALID = frozenset({0x00000000, 0x00000001})
"""A counter with a value, and one with a new value."""


class _Value(ctypes.Structure):
    """PDH_FMT_COUNTERVALUE, with the one member of its union that is asked for."""

    _fields_ = [("status", ctypes.c_uint32), ("large", ctypes.c_int64)]


class _Item(ctypes.Structure):
    """PDH_FMT_COUNTERVALUE_ITEM_W."""

    _fields_ = [("name", ctypes.c_wchar_p), ("value", _Value)]


class SharedMemory:
    """Asks Windows. ``library`` is its ``pdh.dll``; None finds it, or nothing where there is none.

    Never raises: without an answer nothing is measured.
    """

    def __init__(self, library: Any = None) -> None:
        self._pdh = library
        self._query = ctypes.c_void_p()
        self._counter = ctypes.c_void_p()
        self._is_open = False

    def open(self) -> None:
        """Begin to count. May take a moment."""
        self._pdh = self._pdh or _library()
        if self._pdh is None:
            return
        query, counter = ctypes.byref(self._query), ctypes.byref(self._counter)
        if self._call("PdhOpenQueryW", None, None, query):
            # The English name works in every language of Windows.
            self._is_open = self._call("PdhAddEnglishCounterW", self._query, _PATH, None, counter)

    def close(self) -> None:
        """Let go of the counters."""
        if self._is_open:
            self._call("PdhCloseQuery", self._query)
        self._is_open = False

    def measure(self, pids: set[int]) -> dict[str, Any]:
        """The field of :class:`Telemetry` for these processes; empty if nobody knows."""
        if not self._is_open or not self._call("PdhCollectQueryData", self._query):
            return {}
        found = [size for name, size in self._items() if pid_of(name) in pids]
        return {"shared_used_bytes": sum(found)} if found else {}

    def _items(self) -> list[tuple[str, int]]:
        """Every process's name for the counters, and its bytes."""
        size, count = ctypes.c_uint32(0), ctypes.c_uint32(0)
        ask = self._pdh.PdhGetFormattedCounterArrayW
        sizes = (ctypes.byref(size), ctypes.byref(count))
        if ask(self._counter, _LARGE, *sizes, None) & 0xFFFFFFFF != _MORE_DATA:
            return []
        room = (ctypes.c_byte * size.value)()
        if ask(self._counter, _LARGE, *sizes, ctypes.byref(room)):
            return []
        items = ctypes.cast(room, ctypes.POINTER(_Item))
        every = [items[place] for place in range(count.value)]
        return [(item.name, item.value.large) for item in every if item.value.status in _VALID]

    def _call(self, name: str, *arguments: Any) -> bool:
        status = getattr(self._pdh, name)(*arguments) & 0xFFFFFFFF
        if status:
            log.debug("%s gave %#x", name, status)
        return not status


def pid_of(name: str) -> int | None:
    """The process of a counter such as ``pid_4711_luid_0x00000000_0x0000D1A4_phys_0``."""
    parts = name.split("_")
    if len(parts) < 2 or parts[0] != "pid" or not parts[1].isdigit():
        return None
    return int(parts[1])


def _library() -> Any:
    if sys.platform == "win32":
        try:
            return ctypes.WinDLL("pdh.dll")
        except OSError as error:
            log.info("There are no counters of shared memory: %s", error)
    return None
