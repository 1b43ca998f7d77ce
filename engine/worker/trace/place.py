"""Where in a step something happens."""

from __future__ import annotations

from typing import NamedTuple

EVALUATION = 3
"""The turn after those of the step."""


class Place(NamedTuple):
    """A stretch of a step: ``turn`` is 1 for the first micro-batch, 2 for the next, 3 for the
    evaluation, 0 else."""

    turn: int
    stage: str
    layer: int | None = None
