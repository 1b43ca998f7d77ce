"""What of a row is to be learnt, and whether there is anything in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from engine.contract.dataset_fixes import DROPS, FIELD, with_fix
from engine.contract.dataset_spec import DatasetSpec
from engine.contract.messages import Complaint
from engine.formats.example import Conversation, Example, PromptCompletion

WASTED = 0.5
"""Share of rows without an answer from which a model learns above all to say nothing."""
_BLANK = re.compile("[\\s\\u00ad\\u200b-\\u200f\\u2060\\ufeff]*")
"""Text that nobody sees."""


def answers(example: Example) -> Iterator[tuple[str, str, bool]]:
    """What is to be learnt: the question before it, the answer, and whether it calls a function."""
    match example:
        case Conversation(messages=messages):
            question = ""
            for turn in messages:
                if turn.role == "assistant":
                    yield question, turn.content, bool(turn.tool_calls)
                elif turn.role == "user":
                    question = turn.content
        case PromptCompletion(prompt=prompt, completion=completion):
            yield prompt, completion, False


def is_blank(text: str) -> bool:
    """Whether nobody sees anything of it."""
    return _BLANK.fullmatch(text) is not None


def has_empty_answer(example: Example) -> bool:
    """Whether one of its answers says nothing, and calls no function."""
    return any(not calls and is_blank(answer) for _, answer, calls in answers(example))


# ---------------------------------------------------------------- too many of them

SAYS_NOTHING = "The model would learn to say nothing, and to stop at once."
_DROP = "drop_empty"


def is_wasted(dataset: DatasetSpec, empty: int, rows: int) -> bool:
    """Whether a run is wasted on so many rows, of which so many have an empty answer."""
    return dataset.loss_on != "everything" and empty > WASTED * rows


def way_out(dataset: DatasetSpec, empty: int, rows: int) -> tuple[str, dict[str, Any]]:
    """What to do about it, in words and as a patch of the spec."""
    if empty >= rows:
        return "Write the answers, or choose the column that holds them.", {}
    remedy = (
        "Write the answers, choose the column that holds them, or leave those rows out with the "
        f"fix {_DROP}."
    )
    return remedy, {FIELD: with_fix(dataset.fixes, _DROP)}


def wasted_on(dataset: DatasetSpec, empty: int, rows: int, first: str) -> list[Complaint]:
    """What keeps a run from being made of rows that were read to their end; ``first`` is where the
    first of them is that has an empty answer."""
    if not is_wasted(dataset, empty, rows) or (_drops_some(dataset) and empty < rows):
        return []
    remedy, patch = way_out(dataset, empty, rows)
    why = f"and {_DROP} leaves them out" if _DROP in dataset.fixes else SAYS_NOTHING
    told = f"{empty} of {rows} rows have an empty answer, the first is {first}"
    problem = f"{told}, {why}." if _DROP in dataset.fixes else f"{told}. {why}"
    field = FIELD if _DROP in dataset.fixes else dataset.field_of(0).partition("[")[0]
    field = f"{field}.path" if field == "dataset" else field
    return [Complaint(field=field, problem=problem, remedy=remedy, patch=patch)]


def _drops_some(dataset: DatasetSpec) -> bool:
    """Whether rows are left out, so that only the worker knows how many empty ones stay."""
    return any(fix.startswith(DROPS) for fix in dataset.fixes)
