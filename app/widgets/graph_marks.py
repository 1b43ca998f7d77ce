"""The marks of events in the graphs, never more of them than a screen can show."""

from __future__ import annotations

import msgspec
import numpy as np

from app.pyramid import Floats
from app.series import Axis, RunSeries
from app.widgets.stretch import Stretch

MOST_MARKS = 600
"""Of one kind; further ones would lie on the same pixels."""


class Marks(msgspec.Struct, frozen=True, kw_only=True):
    """Places of events on the axis in force."""

    saves: Floats
    evaluations: Floats
    losses: Floats
    """Of the evaluations."""
    resumes: list[float]


def marks_of(series: RunSeries, axis: Axis, stretch: Stretch) -> Marks:
    """The marks in a stretch of the axis, evenly thinned where there are too many."""
    saves = series.save_places(axis)
    places, losses = series.evaluation_places(axis)
    shown = _shown(places, stretch)
    return Marks(
        saves=saves[_shown(saves, stretch)],
        evaluations=places[shown],
        losses=losses[shown],
        resumes=series.resumes(axis),
    )


def _shown(places: Floats, stretch: Stretch) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    inside = np.flatnonzero((places >= stretch.x0) & (places <= stretch.x1))
    if len(inside) > MOST_MARKS:
        inside = inside[np.linspace(0, len(inside) - 1, MOST_MARKS).astype(np.intp)]
    return inside
