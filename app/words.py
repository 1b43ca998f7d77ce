"""Numbers as people read them: always with a unit, groups of three kept apart, never too exact.

``None`` is shown as an en dash everywhere.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta

NONE = "–"
GROUP = "\N{NARROW NO-BREAK SPACE}"
SPACE = "\N{NO-BREAK SPACE}"
GIB = 1 << 30
MIB = 1 << 20
KIB = 1 << 10


def count(number: float | None) -> str:
    """A whole number: ``1 200``."""
    if number is None or not math.isfinite(number):
        return NONE
    return f"{round(number):,}".replace(",", GROUP)


def loss(number: float | None) -> str:
    """A loss or another number near 1, with four figures: ``1.148``, ``0.03412``, ``12.31``."""
    if number is None or not math.isfinite(number):
        return NONE
    size = abs(number)
    if size != 0 and (size < 1e-3 or size >= 1e5):
        return f"{number:.2e}"
    decimals = 5 if size < 0.1 else 4 if size < 0.5 else 3 if size < 10 else 2 if size < 100 else 1
    return f"{number:.{decimals}f}"


def rate(number: float | None) -> str:
    """A learning rate: ``2e-4``, ``1.31e-4``."""
    if number is None or not math.isfinite(number):
        return NONE
    if number == 0:
        return "0"
    mantissa, exponent = f"{number:.2e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def size(number: float | None) -> str:
    """Bytes: ``9.4 GiB``, ``52 MiB``, ``3 KiB``."""
    if number is None or not math.isfinite(number):
        return NONE
    if number >= GIB:
        return f"{number / GIB:.1f}{SPACE}GiB"
    if number >= 10 * MIB:
        return f"{number / MIB:.0f}{SPACE}MiB"
    if number >= MIB:
        return f"{number / MIB:.1f}{SPACE}MiB"
    return f"{number / KIB:.0f}{SPACE}KiB"


def size_of(used: float | None, total: float | None) -> str:
    """Bytes of a limit, in the limit's unit: ``9.4 / 11.0 GiB``."""
    if used is None or total is None or not total:
        return size(used)
    whole, unit = size(total).split(SPACE)
    scale = {"GiB": GIB, "MiB": MIB, "KiB": KIB}[unit]
    decimals = 1 if unit == "GiB" else 0
    return f"{used / scale:.{decimals}f} / {whole}{SPACE}{unit}"


def seconds(number: float | None) -> str:
    """A short span: ``12.3 s``, ``0.41 s``, ``38 ms``."""
    if number is None or not math.isfinite(number):
        return NONE
    if number < 0.1:
        return f"{number * 1000:.{0 if number >= 0.01 else 1}f}{SPACE}ms"
    return f"{number:.{2 if number < 1 else 1}f}{SPACE}s" if number < 60 else span(number)


def span(number: float | None) -> str:
    """A stretch of time: ``38 s``, ``14 m``, ``2 h 41 m``, ``3 d 4 h``."""
    if number is None or not math.isfinite(number):
        return NONE
    whole = max(0, round(number))
    if whole < 60:
        return f"{whole}{SPACE}s"
    minutes = round(whole / 60)
    if minutes < 60:
        return f"{minutes}{SPACE}m"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours}{SPACE}h{SPACE}{minutes:02d}{SPACE}m"
    days, hours = divmod(hours, 24)
    return f"{days}{SPACE}d{SPACE}{hours}{SPACE}h"


def taken(number: float | None) -> str:
    """How long something took, exact to the second below an hour: ``1 m 35 s``, ``2 h 41 m``."""
    if number is None or not math.isfinite(number) or not 60 <= round(number) < 3600:
        return span(number)
    minutes, rest = divmod(round(number), 60)
    return f"{minutes}{SPACE}m{SPACE}{rest:02d}{SPACE}s"


def ago(number: float) -> str:
    """How long ago: ``just now``, ``38 s ago``."""
    return "just now" if number < 2 else f"{span(number)} ago"


def clock(at: float) -> str:
    """Local time of day: ``18:20``."""
    return _local(at).strftime("%H:%M")


def when(at: float, now: float) -> str:
    """Local day and time: ``18:20``, ``yesterday 03:12``, ``Thu 22:15``, ``3 Nov 2026``."""
    then, today = _local(at), _local(now)
    days = (today.date() - then.date()).days
    if days == 0:
        return then.strftime("%H:%M")
    if days == 1:
        return then.strftime("yesterday %H:%M")
    if -1 <= days < 7:
        return then.strftime("%a %H:%M") if days > 0 else then.strftime("tomorrow %H:%M")
    return f"{then.day} {then.strftime('%b %Y')}"


def dated(at: float, now: float) -> str:
    """As :func:`when`, for a list of many days: ``today 18:20``."""
    text = when(at, now)
    return f"today {text}" if ":" in text and " " not in text else text


def _local(at: float) -> datetime:
    return datetime.fromtimestamp(0).astimezone() + timedelta(seconds=at)


def counted(number: int, noun: str) -> str:
    """A number of things: ``1 run``, ``12 runs``."""
    return f"{count(number)} {noun}" + ("" if number == 1 else "s")
