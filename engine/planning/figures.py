"""Sizes and counts in the words of a plan, each with its unit."""

from __future__ import annotations

GIB = 1 << 30
MIB = 1 << 20


def gib(size_bytes: float, digits: int = 1) -> str:
    """Bytes as ``2.5 GiB``; what is too small for the digits as ``84 MiB`` or ``3.7 MiB``."""
    if abs(size_bytes) < MIB:
        return small(size_bytes)
    if abs(size_bytes) < GIB * (0.5 if digits == 1 else 0.1):
        tenths = 1 if abs(size_bytes) < 9.95 * MIB else 0
        return f"{size_bytes / MIB:.{tenths}f} MiB"
    return f"{size_bytes / GIB:.{digits}f} GiB"


def small(size_bytes: float) -> str:
    """Bytes as ``229 KiB`` or ``12 B``, for what comes a token or a weight."""
    if abs(size_bytes) < 1024:
        return f"{size_bytes:.4g} B"
    if abs(size_bytes) < MIB:
        return f"{size_bytes / 1024:.4g} KiB"
    return f"{size_bytes / MIB:.4g} MiB" if abs(size_bytes) < GIB else gib(size_bytes, 2)


def count(number: float) -> str:
    """A number with thin groups: ``6 738 415 616``."""
    return f"{number:,.0f}".replace(",", " ")


def percent(share: float) -> str:
    """A share as ``18 %``."""
    return f"{share * 100:.0f} %"


def file_size(size_bytes: float) -> str:
    """A file's size, in the units of memory: ``68 KiB``, ``80 MiB``, ``2.1 GiB``."""
    if size_bytes >= GIB:
        return f"{size_bytes / GIB:.1f} GiB"
    return f"{size_bytes / MIB:.0f} MiB" if size_bytes >= MIB else f"{size_bytes / 1024:.0f} KiB"
