"""The first rows of a dataset as they stand in the file, in lines that can be read. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from app import words
from app.form_words import choice

_MILLION = 1_000_000
EMPTY = "(empty)"
_SPEAKER = ("role", "from")
"""Keys of who says a turn."""


class Line(NamedTuple):
    """A value of a row, with its name before it."""

    depth: int
    name: str
    text: str


def lines_of(row: object) -> list[Line]:
    """A row, each value with its name: no quotes, no marks, texts with their own line breaks."""
    if isinstance(row, dict):
        return list(_fields(row, 0))
    return [Line(0, "", _shown(row))]


def _fields(held: dict[Any, Any], depth: int) -> Iterator[Line]:
    for name, value in held.items():
        if isinstance(value, dict) and value:
            yield Line(depth, str(name), "")
            yield from _item(value, depth + 1)
        elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
            yield Line(depth, str(name), "")
            for item in value:
                yield from _item(item, depth + 1)
        else:
            yield Line(depth, str(name), _shown(value) or EMPTY)


def _item(item: object, depth: int) -> Iterator[Line]:
    """Of a list: a turn is one line, ``human  Well then``; all else has its fields below it."""
    if not isinstance(item, dict):
        yield Line(depth, "", _shown(item))
        return
    if (turn := _turn(item)) is not None:
        yield Line(depth, *turn)
    else:
        yield from _fields(item, depth)


def _turn(item: dict[Any, Any]) -> tuple[str, str] | None:
    """Who says it and what, in whichever order they stand; None for what has more to it."""
    speaker = next((key for key in _SPEAKER if key in item), None)
    said = [value for key, value in item.items() if key != speaker]
    if speaker is None or len(said) != 1:
        return None
    name, text = item[speaker], said[0]
    is_turn = isinstance(name, str) and isinstance(text, str) and len(name) <= 20
    return (name, text.strip("\n") or EMPTY) if is_turn else None


def _shown(value: object) -> str:
    if isinstance(value, str):
        return value.strip("\n")
    return json.dumps(value, ensure_ascii=False)


# ---------------------------------------------------------------- what is known of them


def how_many(facts: dict[str, Any]) -> str:
    """``9 412 rows``, or ``About 11.5 million rows`` where it is an estimate."""
    rows, about = facts.get("row_count"), facts.get("row_estimate")
    if rows is not None:
        return words.counted(rows, "row")
    if about is None:
        return "Rows not counted"
    many = f"{about / _MILLION:.3g} million" if about >= _MILLION else words.count(about)
    return f"About {many} rows"


def extent(facts: dict[str, Any]) -> str:
    """How much of it there is: ``9 412 rows · 3 files · 4.1 MiB``."""
    files = int(facts.get("files") or 1)
    bytes_ = facts.get("bytes") or 0
    parts = [how_many(facts)]
    if files > 1:
        parts.append(words.counted(files, "file"))
    if bytes_ >= words.KIB:
        parts.append(words.size(bytes_))
    return " · ".join(parts)


def format_of(facts: dict[str, Any], chosen: str = "auto") -> tuple[str, str]:
    """What shape the rows have, for a chip, and its tone; how sure that is where it was guessed."""
    name = facts.get("format")
    if name == "unknown":
        return "No known format", "danger"
    sure = float(facts.get("confidence") or 0.0)
    title = choice("dataset.format", name)
    if chosen != "auto":
        return title, "good" if sure > 0 else "danger"
    return f"{title}, {100 * sure:.0f}{words.SPACE}% sure", "good" if sure >= 0.9 else "warning"


def wrong_rows(facts: dict[str, Any]) -> dict[int, str]:
    """What is wrong with some of the first rows; nothing where no format fits any of them."""
    if facts.get("format") == "unknown":
        return {}
    return {
        place: f"{example.get('problem', '')} {example.get('remedy', '')}".strip()
        for place, example in enumerate(facts.get("examples") or [])
        if isinstance(example, dict) and example.get("kind") == "error"
    }
