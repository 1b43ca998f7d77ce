"""When saves and evaluations happened, as columns: thousands of them are placed at every frame."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from app.pyramid import Column, Floats
from engine.contract.messages import CheckpointSaved, Evaluated

_FIELDS = ("step", "attempt", "at", "loss")


class Moments:
    """Step, attempt, time and, of an evaluation, loss of events in the order in which they came."""

    def __init__(self) -> None:
        self._columns = {name: Column(64) for name in _FIELDS}

    def __getitem__(self, name: str) -> Floats:
        return self._columns[name].values

    def add(self, event: CheckpointSaved | Evaluated) -> None:
        """Take one more."""
        loss = event.eval_loss if isinstance(event, Evaluated) else np.nan
        values = (event.step, event.attempt, event.at, loss)
        for name, value in zip(_FIELDS, values, strict=True):
            self._columns[name].append(value)

    def that_count(self, steps: Floats, attempts: Floats) -> NDArray[np.intp]:
        """Rows that still count, by rising step: newest of each step, none of what was undone.

        ``steps`` and ``attempts`` are those of the steps on record.
        """
        mine = self["step"]
        # The first in reverse order is the newest.
        rows = len(mine) - 1 - np.unique(mine[::-1], return_index=True)[1]
        if not len(steps):
            return rows
        places = np.minimum(np.searchsorted(steps, mine[rows]), len(steps) - 1)
        is_there = steps[places] == mine[rows]
        made_in = np.where(is_there, attempts[places], attempts[-1])
        counted: NDArray[np.intp] = rows[made_in <= self["attempt"][rows]]
        return counted
