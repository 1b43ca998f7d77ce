"""Columns and roles by the names that a person says they have in the file.

A mapping goes from what Fettle calls something to what the file calls it, as in
``instruction = "Frage"``. It is applied to a row before any format looks at it.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from engine.contract.dataset_spec import Names
from engine.formats import guessing
from engine.formats.example import DatasetError

IN_TURNS = ("role", "content")
"""Fields of each message, beside the columns of a row."""
TALK = ("messages", "conversations", "conversation", "prompt", "completion", "chosen", "rejected")
_SPEAKER = ("role", "from")
Apply = Callable[[Any], Any]


def applied(columns: Names, roles: Names) -> Apply | None:
    """What makes a row of the file one with the usual names; None if there is nothing to do."""
    if not columns and not roles:
        return None
    outer = {name: theirs for name, theirs in columns.items() if name not in IN_TURNS}
    inner = {name: theirs for name, theirs in columns.items() if name in IN_TURNS}
    spoken = {theirs.lower(): name for name, theirs in roles.items()}

    def apply(value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        row = _renamed(value, outer)
        for name in TALK if inner or spoken else ():
            if name in row:
                row[name] = _talk(row[name], inner, spoken)
        return row

    return apply


def _renamed(row: Mapping[str, Any], names: Names) -> dict[str, Any]:
    gone = set(names.values())
    new = {key: value for key, value in row.items() if key not in gone}
    return new | {name: row[theirs] for name, theirs in names.items() if theirs in row}


def _talk(value: Any, inner: Names, spoken: Names) -> Any:
    if isinstance(value, str) and value.startswith("["):
        try:
            value = msgspec.json.decode(value)
        except (msgspec.DecodeError, RecursionError):
            return value
    if isinstance(value, Mapping):
        return _turn(value, inner, spoken)
    return [_turn(turn, inner, spoken) for turn in value] if isinstance(value, list) else value


def _turn(value: Any, inner: Names, spoken: Names) -> Any:
    if not isinstance(value, Mapping):
        return value
    turn = _renamed(value, inner)
    for field in _SPEAKER:
        said = turn.get(field)
        if isinstance(said, str):
            turn[field] = spoken.get(said.lower(), said)
    return turn


# ---------------------------------------------------------------- what there is to map


def names_in(rows: Sequence[object]) -> list[str]:
    """The columns of some rows, in the order in which they come up."""
    return list(dict.fromkeys(str(key) for row in rows if isinstance(row, Mapping) for key in row))


def must_be_there(columns: Names, rows: Sequence[object], file: str) -> None:
    """Raises DatasetError, with all of them, if no row has a column that is named."""
    known = names_in(rows)
    missing = {
        name: theirs
        for name, theirs in columns.items()
        if name not in IN_TURNS and theirs not in known
    }
    if not missing:
        return
    near = _meant(missing, [each for each in known if each not in columns.values()])
    guess = " and ".join(f"`{found[:40]}`" for found in near.values())
    hint = f"Did you mean {guess}? " if guess else ""
    told = [repr(theirs[:40]) for theirs in missing.values()]
    if len(missing) > 1:
        told = [f"{each} for {name}" for name, each in zip(missing, told, strict=True)]
    raise DatasetError(
        f"No row of {file} has a column {' or '.join(told)}.",
        f"{hint}It has {listed(known)}.",
        f"dataset.columns.{next(iter(missing))}" if len(missing) == 1 else "dataset.columns",
        {f"dataset.columns.{name}": found for name, found in near.items()},
    )


def _meant(missing: Names, free: list[str]) -> dict[str, str]:
    """Which of the free columns may have been meant, each for one name at most."""
    near: dict[str, str] = {}
    for name, theirs in missing.items():
        if found := _near(theirs, [each for each in free if each not in near.values()]):
            near[name] = found
    return near


def _near(name: str, known: Sequence[str]) -> str:
    """What may have been meant."""
    folded = {each.strip().casefold(): each for each in reversed(known)}
    name = name.strip().casefold()
    part = [each for each in folded if name in each or each in name] if len(name) > 3 else []
    found = difflib.get_close_matches(name, folded, 1) or (part if len(part) == 1 else [])
    return folded[found[0]] if found else ""


def listed(names: Sequence[str]) -> str:
    """Columns for people: at most a dozen, each cut."""
    return ", ".join(f"`{name[:40]}`" for name in names[:12]) or "no columns"


def suggested(rows: Sequence[object]) -> Names:
    """A mapping that may be meant, from the names and what stands there; empty if none is near."""
    talk = _lists_of_turns(rows)
    if talk and (fields := _fields_of(talk[1], is_sure=len(rows) > 1)) is not None:
        return {"messages": talk[0]} | fields
    texts = texts_in(rows)
    if len(texts) == 1:
        return {"text": texts[0]} if guessing.is_prose(rows, texts[0]) else {}
    asked, answer = guessing.pair_of(rows, texts)
    return {"instruction": asked, "output": answer} if asked and answer else {}


def _lists_of_turns(rows: Sequence[object]) -> tuple[str, Mapping[str, Any]] | None:
    for row in rows:
        for name, value in row.items() if isinstance(row, Mapping) else ():
            if isinstance(value, list) and value and isinstance(value[0], Mapping):
                return str(name), value[0]
    return None


def _fields_of(turn: Mapping[str, Any], *, is_sure: bool) -> Names | None:
    """What the fields of a message are called; None if it looks like none. A single row with a list
    in it is rather a file whose rows are in that list."""
    if {"role", "content"} <= turn.keys() or {"from", "value"} <= turn.keys():
        return {}
    if not is_sure:
        return None
    texts = [str(key) for key, value in turn.items() if isinstance(value, str)]
    who = next((key for key in texts if len(turn[key]) <= 20), "")
    what = next((key for key in texts if key != who), "")
    return {"role": who, "content": what} if who and what else None


def texts_in(rows: Sequence[object]) -> list[str]:
    """The columns in which a row has text."""
    fields = [row for row in rows if isinstance(row, Mapping)]
    return [n for n in names_in(rows) if any(isinstance(row.get(n), str) for row in fields)]


def as_words(names: Names) -> str:
    """``instruction is `Frage` and output is `Antwort```: how it is written differs by client."""
    return " and ".join(f"{name} is `{theirs[:40]}`" for name, theirs in names.items())
