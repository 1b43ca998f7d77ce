"""The parts of a host, as the requests see them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from engine.contract.lifecycle import LIVE
from engine.host.book import Book
from engine.host.hub import Hub
from engine.host.inspecting import Inspector
from engine.host.pool import Pool
from engine.host.recovery import Recovery
from engine.host.rehearsal import Rehearsals
from engine.host.scheduler import Scheduler
from engine.host.tracing import Tracer


class Parts(NamedTuple):
    """Put together by :mod:`engine.host.server`."""

    token: str
    book: Book
    hub: Hub
    pool: Pool
    scheduler: Scheduler
    recovery: Recovery
    rehearsals: Rehearsals
    tracer: Tracer
    inspector: Inspector
    keep_warm: Callable[[], None]
    """Look, soon, whether an idle worker should be there."""
    leave: Callable[[], None]
    """End the host."""

    def computes(self) -> bool:
        """Whether a run or a rehearsal is at work now; what only waits takes nothing yet."""
        is_live = any(known.state in LIVE for known in self.book.tallies.values())
        return is_live or self.rehearsals.is_busy or bool(self.recovery.lost)

    def is_busy(self) -> bool:
        """Whether a run is live or waits, a spec is tried, or an earlier host's worker still
        saves."""
        return self.scheduler.is_busy or self.rehearsals.is_busy or bool(self.recovery.lost)
