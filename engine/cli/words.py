"""Numbers as people read them, each with its unit."""

from __future__ import annotations

_SIZES = ("B", "KiB", "MiB", "GiB", "TiB")


def size(count: float) -> str:
    """Bytes as ``512 B``, ``1.5 GiB``."""
    for unit in _SIZES:
        if count < 1024 or unit == _SIZES[-1]:
            break
        count /= 1024
    digits = 0 if unit == "B" or count >= 100 else 1
    return f"{count:.{digits}f} {unit}"


def duration(seconds: float) -> str:
    """Seconds as ``42 s``, ``3 min 05 s``, ``2 h 04 min``, ``3 d 02 h``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 86400} d {whole % 86400 // 3600:02} h"


def count(number: float) -> str:
    """A number with thin groups: ``1 234``; a measured one below 10 with one decimal."""
    is_small = isinstance(number, float) and 0 < number < 10
    return f"{number:.1f}" if is_small else f"{number:,.0f}".replace(",", " ")


def kept_besides(saves: int, limit: int) -> str:
    """Why there are more saves than ``save_total_limit``; empty where there are not."""
    return f"The best one stays beside the newest {limit}." if saves > limit else ""


def loss(value: float | None) -> str:
    """A loss, or what stands in its place."""
    return "not a number" if value is None else f"{value:.4f}"
