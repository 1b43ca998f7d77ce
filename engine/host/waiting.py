"""What a queued run waits for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from engine.contract.lifecycle import LIVE, State
from engine.contract.queue_words import in_line
from engine.store.tally import Tally


class Ahead(NamedTuple):
    """The run that others wait for."""

    name: str = ""
    """Empty: there is none."""
    seconds: float | None = None
    """That it will still take; None if that is not known."""
    is_paused: bool = False
    """It has no worker, and keeps the card free."""


def ahead_of(run: str, tallies: Mapping[str, Tally]) -> Ahead:
    """The other run that has the card, or is paused and keeps it free."""
    others = [known for other, known in tallies.items() if other != run]
    for known in others:
        if known.state in LIVE or known.state is State.RECOVERING:
            return Ahead(known.name, known.seconds_left())
    paused = [known for known in others if known.state is State.PAUSED]
    return Ahead(paused[0].name, is_paused=True) if paused else Ahead()


def sentence_for(run: str, queue: list[str], tallies: Mapping[str, Tally]) -> str:
    """What a run waits for that is about to join the queue; empty if nothing."""
    place = queue.index(run) + 1 if run in queue else len(queue) + 1
    ahead = ahead_of(run, tallies)
    if place == 1 and not ahead.name:
        return ""
    text = in_line(place, ahead.name, ahead.seconds, is_paused=ahead.is_paused)
    return f"{text[:1].upper()}{text[1:]}."
