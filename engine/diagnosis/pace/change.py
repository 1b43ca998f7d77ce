"""Whether a share has changed for good: a cumulative sum over yes and no.

Each step says yes or no ("it was slow"). A yes counts for the change as much as it is likelier
after it than before, a no as much against it; what is left below 0 is forgotten. One wild step
counts no more than one that is barely slow, so only many, with few others between, are enough.
"""

from __future__ import annotations

import math

ENOUGH = 14.0
"""In natural logarithms: before the change, this comes up about once in a million steps."""
_ROOM = 8.0
"""What goes beyond enough, so that an end is seen soon."""
_MOST = 2.2
"""Of one yes, so that no few of them are enough."""


class Evidence:
    """For a change from ``before`` to ``after``, two shares of yes."""

    def __init__(self, before: float, after: float) -> None:
        before = min(max(before, 0.02), 0.5)
        after = max(after, min(before + 0.35, 0.95))
        self._yes = min(math.log(after / before), _MOST)
        self._no = math.log((1 - after) / (1 - before))
        self.weight = 0.0
        self.count = 0
        """Steps since there last was none; the first of them is where the change is, if it is."""

    def add(self, says_yes: bool) -> None:
        """Take in one step."""
        self.weight = min(self.weight + (self._yes if says_yes else self._no), ENOUGH + _ROOM)
        self.count += 1
        if self.weight <= 0:
            self.weight, self.count = 0.0, 0

    @property
    def is_enough(self) -> bool:
        """Whether it hardly is chance."""
        return self.weight >= ENOUGH
