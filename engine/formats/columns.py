"""Small helpers that all formats share: looking into a row and saying what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from engine.formats.example import Guess, RawRow, RowError, Sample

_KINDS: tuple[tuple[type, str], ...] = (
    (bool, "true or false"),
    (int, "a number"),
    (float, "a number"),
    (str, "text"),
    (Mapping, "an object"),
    (Sequence, "a list"),
)


def kind_of(value: object) -> str:
    """What a value is, in plain words."""
    if value is None:
        return "null"
    for kind, words in _KINDS:
        if isinstance(value, kind):
            return words
    return type(value).__name__


def as_row(row: object) -> RawRow:
    """The row as a mapping. Raises RowError if it is anything else."""
    # What is looked at in each row is looked at in the quickest way: most rows are dicts.
    if type(row) is dict or isinstance(row, Mapping):
        return row
    raise RowError(
        f"This is {kind_of(row)}, not an object with named fields.",
        'Write rows such as {"instruction": "…", "output": "…"}.',
    )


def first_present(row: RawRow, names: Sequence[str]) -> str | None:
    """The first of ``names`` that the row has, or None."""
    for name in names:
        if name in row:
            return name
    return None


def column(row: RawRow, names: Sequence[str]) -> str:
    """The name under which the row has a column that it must have. Raises RowError."""
    for name in names:
        if name in row:
            return name
    known = ", ".join(str(key)[:40] for key in list(row)[:12]) or "nothing"
    raise RowError(
        f"`{names[0]}` is missing; the row has: {known}.",
        f"Add `{names[0]}`, or choose the format that fits.",
    )


def text_at(row: RawRow, name: str) -> str:
    """The text in a column that the row has. Raises RowError if it is not text."""
    value = row[name]
    if type(value) is str and value.isascii():
        return value
    return text(value, f"`{name}`")


def optional_text(row: RawRow, names: Sequence[str]) -> str:
    """The text in a column; empty where there is none or it is null. Raises RowError."""
    for name in names:
        if name in row:
            return "" if row[name] is None else text_at(row, name)
    return ""


def text(value: object, what: str) -> str:
    """The value, which must be text that can be written as UTF-8. Raises RowError."""
    if not isinstance(value, str):
        raise RowError(f"{what} is {kind_of(value)}, not text.", "Write text in quotes.")
    if not is_unicode(value):
        raise RowError(
            f"{what} holds half of a character pair (a lone surrogate).",
            "Write the file again as UTF-8.",
        )
    return value


def is_unicode(*values: str) -> bool:
    """Whether these can be written as UTF-8: they hold no lone surrogates."""
    try:
        return all(map(str.isascii, values)) or bool("".join(values).encode())
    except UnicodeEncodeError:
        return False


def decoded_list(value: object, what: str) -> list[Any]:
    """A list, given as such or as JSON text (as CSV files have it). Raises RowError."""
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            raise RowError(f"{what} is text, not a list.", "Write a JSON list.") from None
    if not isinstance(value, list):
        raise RowError(f"{what} is {kind_of(value)}, not a list.", "Write a JSON list.")
    return value


def tools_of(row: RawRow) -> list[dict[str, Any]] | None:
    """The functions in the row's ``tools`` column, None if there are none. Raises RowError."""
    value = row.get("tools")
    if value is None or value == "":
        return None
    tools = decoded_list(value, "`tools`")
    if any(not isinstance(tool, dict) for tool in tools):
        raise RowError(
            "`tools` holds something that is no function description.",
            "Write a list of objects with name and parameters.",
        )
    return tools or None


def guess(
    rows: Sequence[object],
    fits: Callable[[RawRow], bool],
    to_example: Callable[[object], Sample],
    what: str,
    full_score: float = 1.0,
) -> Guess:
    """The share of rows that have the columns of a format, counting for half where the rest fails.

    ``what`` names the columns; ``full_score`` below 1 lets a more telling format win.
    """
    good = fitting = 0
    problem = ""
    for row in rows:
        if not (isinstance(row, Mapping) and fits(row)):
            continue
        fitting += 1
        try:
            to_example(row)
            good += 1
        except RowError as error:
            problem = problem or error.problem
    if not fitting:
        return Guess(score=0.0, reason=f"No row has {what}.")
    score = full_score * (good + fitting) / (2 * len(rows))
    counted = "Every row" if fitting == len(rows) else f"{fitting} of {len(rows)} rows"
    has = f"{counted} looked at {'has' if fitting == len(rows) else 'have'} {what}."
    return Guess(score=score, reason=f"{has} {problem}".rstrip())
