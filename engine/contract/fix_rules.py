"""The check of a spec's fixes against its method. Yields what it finds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from engine.contract.dataset_fixes import FIELD, FIXES, without_fix
from engine.contract.messages import Complaint

if TYPE_CHECKING:
    from engine.contract.spec import Spec


def fixes_suit_method(spec: Spec) -> Iterator[Complaint]:
    """Plain text has no answers, and nothing of it is cut."""
    if spec.method != "pretrain":
        return
    for name in spec.dataset.fixes:
        if FIXES[name].answers_only:
            yield Complaint(
                field=FIELD,
                problem=f"{name} is about answers and where they are cut; pretrain learns from "
                "plain text, of which nothing is cut.",
                remedy='Take it out of the list, or write method = "sft".',
                patch={FIELD: without_fix(spec.dataset.fixes, name)},
            )
