"""What is said of rows and answers that are like others, and of what fixes did. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from engine.contract.dataset_fixes import FIELD, without_fix
from engine.contract.dataset_report import RowFinding
from engine.worker import large
from engine.worker.finding_parts import MAX_ROWS, fix, rows_at, rows_of
from engine.worker.fixes import outcome
from engine.worker.near_copies import NEAR, RUN
from engine.worker.row_words import sentence
from engine.worker.same_answers import OTHER_COLUMN, SAYS_ONE, same_answers

if TYPE_CHECKING:
    from engine.worker.inspection import Counted, Look

Ints = npt.NDArray[np.int64]
_MANY = 0.5
"""Share of copies from which the data is mostly the same."""


def _fixed(look: Look, counted: Counted) -> list[RowFinding]:
    """What each fix did; undone at one click."""
    chosen = look.spec.dataset.fixes
    return [
        RowFinding(
            code=f"fixed_{done.fix}",
            severity="info",
            title=outcome(done),
            cause=f"dataset.fixes has {done.fix}; the file is as it was.",
            row_count=done.count,
            rows=done.rows,
            patch={FIELD: without_fix(chosen, done.fix)},
            action="Undo",
            is_done=True,
        )
        for done in look.encoding.fixed
    ]


def _copies(look: Look, counted: Counted) -> list[RowFinding]:
    mask = large.moved(counted.first_copy)
    if not mask.any():
        return []
    share, many = _share(mask)
    return [
        RowFinding(
            code="duplicates",
            severity="warning" if many else "info",
            title=_title(mask, f"is the same as an earlier one ({share})",
                         f"are the same as an earlier one ({share})"),
            cause="They are kept: each is learnt as often as it is there.",
            remedy="Most of the data says the same; leave the copies out." if many else "",
            **_like(look, mask, counted.first_copy),
            **fix(look.spec, "drop_duplicates"),
        )
    ]  # fmt: skip


def _near(look: Look, counted: Counted) -> list[RowFinding]:
    mask = large.moved(counted.near)
    if not mask.any():
        return _uncompared(counted)
    share, many = _share(mask)
    beyond = f" {counted.uncompared}" if counted.uncompared else ""
    return [
        RowFinding(
            code="near_duplicates",
            severity="warning" if many else "info",
            title=_title(mask, f"is nearly the same as an earlier one ({share})",
                         f"are nearly the same as an earlier one ({share})"),
            cause=f"At least {NEAR:.0%} of what they say stands in another row, {RUN} tokens at a "
            f"time; what many rows ask alike does not count.{beyond}",
            remedy="Look at the pairs: what is learnt twice weighs twice.",
            **_like(look, mask, counted.near),
            **fix(look.spec, "drop_near_duplicates"),
        )
    ]  # fmt: skip


def _uncompared(counted: Counted) -> list[RowFinding]:
    """That none is nearly the same holds of the rows that were compared."""
    if not counted.uncompared:
        return []
    return [
        RowFinding(
            code="not_all_compared",
            severity="info",
            title=counted.uncompared,
            cause="None of them is nearly the same as an earlier one. Of those behind them it is "
            "not known, but those that are exactly the same were looked for among all.",
        )
    ]


def _leak(look: Look, counted: Counted) -> list[RowFinding]:
    if not len(counted.held):
        return []
    mask = large.empty(len(counted.near), np.bool_)
    mask[:] = False
    mask[counted.held] = True
    exact = counted.first_copy
    # The first of several that are the same is one of them too.
    copies = large.moved(exact)
    is_copied = large.empty(len(exact), np.bool_)
    is_copied[:] = False
    for part in large.parts(copies, exact):
        is_copied[exact[part][copies[part]]] = True
    alike = copies[counted.held] | is_copied[counted.held]
    name = "drop_duplicates" if alike.all() else "drop_near_duplicates"
    total, rows = rows_at(look, mask)
    return [
        RowFinding(
            code="eval_leak",
            severity="warning",
            title=_title(mask, "is held back, and a copy of it is trained on",
                         "are held back, and copies of them are trained on"),
            cause="The loss there shows what was learnt by heart, so it looks better than it is.",
            remedy="Leave the copies out.",
            row_count=total,
            rows=rows,
            **fix(look.spec, name),
        )
    ]  # fmt: skip


def _answers(look: Look, counted: Counted) -> list[RowFinding]:
    if look.spec.method == "pretrain" or look.nothing is not None:
        return []
    found = same_answers(look.encoding, counted.first_copy)
    if found is None:
        return []
    return [
        RowFinding(
            code="same_answers",
            severity="warning",
            title=found.words,
            cause=SAYS_ONE,
            remedy=OTHER_COLUMN,
            row_count=len(found.places),
            rows=rows_of(look, found.places[:MAX_ROWS]),
        )
    ]


def _title(mask: np.ndarray, of_one: str, of_many: str) -> str:
    return sentence(large.total(mask), of_one, of_many)


def _share(mask: np.ndarray) -> tuple[str, bool]:
    share = large.total(mask) / len(mask)
    return f"{share:.1%}", share >= _MANY


def _like(look: Look, mask: np.ndarray, first: Ints) -> dict[str, Any]:
    """Fields that name the rows, and those that they are like."""
    total, rows = rows_at(look, mask)
    places = large.places_of(mask)[:MAX_ROWS]
    heads = rows_of(look, first[places].tolist())
    groups: dict[int, list[int]] = {}
    for head, row in zip(heads, rows, strict=True):
        groups.setdefault(head, [head]).append(row)
    return {"row_count": total, "rows": rows, "groups": list(groups.values())}


JUDGES: tuple[Callable[[Look, Counted], list[RowFinding]], ...] = (
    _copies, _near, _leak, _answers, _fixed,
)  # fmt: skip
