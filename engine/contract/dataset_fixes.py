"""What may be done about rows of a dataset when it is read; its files are never changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

FixName = Literal[
    "reencode", "drop_empty", "drop_placeholders", "drop_echoes", "drop_control_tokens",
    "drop_broken_text", "drop_overlong", "drop_duplicates", "drop_near_duplicates",
]  # fmt: skip


class Fix(msgspec.Struct, frozen=True, kw_only=True):
    """One of them, in words."""

    name: str
    action: str
    """What a button says."""
    of_one: str
    """What was done, of one row; of several in ``of_many``."""
    of_many: str
    answers_only: bool = False
    """Whether it is about answers, which plain text has none of."""


def _dropped(name: str, action: str, has: str, have: str, *, answers_only: bool = False) -> Fix:
    return Fix(
        name=name, action=action, of_one=f"{has} and is left out",
        of_many=f"{have} and are left out", answers_only=answers_only,
    )  # fmt: skip


FIXES: dict[str, Fix] = {
    fix.name: fix
    for fix in (
        Fix(
            name="reencode", action="Repair them",
            of_one="was read in the wrong encoding and is repaired",
            of_many="were read in the wrong encoding and are repaired",
        ),
        _dropped(
            "drop_empty", "Leave them out", "has an empty answer", "have an empty answer",
            answers_only=True,
        ),
        _dropped(
            "drop_placeholders", "Leave them out", "has a placeholder for an answer",
            "have a placeholder for an answer", answers_only=True,
        ),
        _dropped(
            "drop_echoes", "Leave them out", "only repeats its question",
            "only repeat their question", answers_only=True,
        ),
        _dropped(
            "drop_control_tokens", "Leave them out", "has a control token in its text",
            "have a control token in their text",
        ),
        _dropped(
            "drop_broken_text", "Leave them out", "has lost characters", "have lost characters"
        ),
        _dropped(
            "drop_overlong", "Leave out, not cut", "is longer than max_length",
            "are longer than max_length", answers_only=True,
        ),
        _dropped(
            "drop_duplicates", "Leave copies out", "is the same as an earlier one",
            "are the same as an earlier one",
        ),
        _dropped(
            "drop_near_duplicates", "Leave them out", "is nearly the same as an earlier one",
            "are nearly the same as an earlier one",
        ),
    )
}  # fmt: skip
"""By name, in the order in which they are applied."""

FIELD = "dataset.fixes"
DROPS = "drop_"
"""How the names of those begin that leave rows out."""


def with_fix(fixes: Sequence[str], name: str) -> list[str]:
    """The fixes with one more."""
    return in_order([*fixes, name])


def without_fix(fixes: Sequence[str], name: str) -> list[str]:
    """The fixes without one."""
    return in_order([fix for fix in fixes if fix != name])


def in_order(fixes: Sequence[str]) -> list[str]:
    """Each once, as they are applied: what two people mean by the same fixes is the same run."""
    return [name for name in FIXES if name in fixes]
