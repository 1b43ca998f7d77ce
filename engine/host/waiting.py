"""What a queued run waits for."""

from __future__ import annotations

from collections.abc import Mapping

from engine.contract.lifecycle import LIVE, State
from engine.contract.queue_words import in_line
from engine.store.tally import Tally


def at_work(tallies: Mapping[str, Tally]) -> tuple[str, float | None]:
    """Name of the run that has the card, and the seconds that it will still take; empty if none
    has it, None if that is not known."""
    for known in tallies.values():
        if known.state in LIVE or known.state is State.RECOVERING:
            return known.name, known.seconds_left()
    return "", None


def sentence_for(run: str, queue: list[str], tallies: Mapping[str, Tally]) -> str:
    """What a run waits for that is about to join the queue; empty if nothing."""
    place = queue.index(run) + 1 if run in queue else len(queue) + 1
    behind, seconds = at_work(tallies)
    if place == 1 and not behind:
        return ""
    text = in_line(place, behind, seconds)
    return f"{text[:1].upper()}{text[1:]}."
