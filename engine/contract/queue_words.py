"""A place in the queue, in words."""

from __future__ import annotations


def in_line(place: int, behind: str, seconds: float | None, *, is_paused: bool = False) -> str:
    """``next, behind “demo”, which has about 7 min left``: place from 1, the run that has the card
    or keeps it free (empty: none), and how long that will still take (None: not known)."""
    text = "next" if place == 1 else f"number {place} in line"
    if not behind:
        return text
    if is_paused:
        return (
            f"{text}, behind “{behind}”, which is paused: it begins once you continue or stop that"
        )
    left = f", which has {_about(seconds)} left" if seconds is not None else ""
    return f"{text}, behind “{behind}”{left}"


def _about(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return "less than a minute"
    if minutes < 60:
        return f"about {minutes} min"
    return f"about {minutes // 60} h {minutes % 60:02} min"
