"""Parts that findings about rows are made of. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.contract.dataset_fixes import FIELD, FIXES, with_fix
from engine.contract.spec import Spec
from engine.worker import large

if TYPE_CHECKING:
    from engine.worker.inspection import Look

MAX_ROWS = 200
"""Named of a finding."""


def rows_of(look: Look, places: Iterable[int]) -> list[int]:
    """Rows of the dataset at these places among the samples."""
    origins = look.encoding.samples.origins
    assert origins is not None
    return [int(origins[place]) for place in places]


def rows_at(look: Look, mask: np.ndarray) -> tuple[int, list[int]]:
    """How many samples the mask takes, and the rows of the first of them."""
    places = large.places_of(mask)
    return len(places), rows_of(look, places[:MAX_ROWS].tolist())


def fix(spec: Spec, name: str) -> dict[str, Any]:
    """Fields of a finding that has a fix; none where it does not suit the method."""
    if spec.method == "pretrain" and FIXES[name].answers_only:
        return {}
    patch = {FIELD: with_fix(spec.dataset.fixes, name)}
    return {"patch": patch, "action": FIXES[name].action}
