"""Which settings make the trained weights others than those of the save."""

from __future__ import annotations

from typing import Any, NamedTuple

from engine.diagnosis.certificate.facts import Facts
from engine.diagnosis.certificate.settings import differing, shapes_weights, shown


class OtherWeights(NamedTuple):
    """Why a save does not fit, for somebody who wanted to go on."""

    title: str
    cause: str
    remedy: str
    patch: dict[str, Any]
    """Makes it fit again."""


def why_other_weights(before: Facts, now: Facts) -> OtherWeights | None:
    """The settings that were changed; None if none of them shapes what is trained."""
    if not before.settings or not now.settings:
        return None
    old, new = before.settings, now.settings
    blamed = [field for field in differing(old, new) if shapes_weights(field)]
    if not blamed:
        return None
    changes = ", ".join(
        f"{field} {shown(old.get(field))} → {shown(new.get(field))}" for field in blamed
    )
    patch = {field: old.get(field) for field in blamed}
    values = " and ".join(f"{field} = {shown(value)}" for field, value in patch.items())
    return OtherWeights(
        "With these settings other weights are trained than at the last save.",
        f"Changed since: {changes}. What was saved has other names or sizes.",
        f"Go on with {values}, as it was, or start a new run.",
        # A whole table cannot be put back by its fields.
        patch if all(value is not None for value in patch.values()) else {},
    )
