"""What is said in a column: text as it is, or turns in OpenAI's or ShareGPT's shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from engine.formats import columns, messages, sharegpt
from engine.formats.example import RawRow, RowError, Said, Turn

TURNS = ("messages", "conversations", "conversation")
QUESTION = ("instruction", "question")


def said(value: object, what: str) -> Said:
    """Text, or turns: a list of them, a single one, or such a list as JSON. Raises RowError."""
    if isinstance(value, str):
        return turns_of(found, what) if (found := _as_turns(value)) else columns.text(value, what)
    if isinstance(value, Mapping):
        return turns_of([value], what)
    if isinstance(value, list):
        return turns_of(value, what)
    raise RowError(f"{what} is {columns.kind_of(value)}.", "Write text, or a list of messages.")


def _as_turns(text: str) -> list[object]:
    """As CSV files have them; empty if the text is a text."""
    if not text.startswith("[{"):
        return []
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return []
    is_talk = all(isinstance(t, dict) and ("role" in t or "from" in t) for t in found)
    return found if is_talk else []


def turns_of(value: object, what: str) -> list[Turn]:
    """The turns of a list. Raises RowError."""
    turns = columns.decoded_list(value, what)
    if turns and isinstance(turns[0], Mapping) and "from" in turns[0]:
        return [sharegpt.turn_of(turn, index) for index, turn in enumerate(turns, start=1)]
    return messages.turns_of(turns, what.strip("`"))


def question(row: RawRow) -> Said | None:
    """What the row asks, with its system text in front; None if it has no column for that."""
    found = _question(row)
    system = columns.optional_text(row, ("system",))
    if isinstance(found, list) and system and not (found and found[0].role == "system"):
        found = [Turn(role="system", content=system), *found]
    return found


def _question(row: RawRow) -> Said | None:
    if "prompt" in row:
        return said(row["prompt"], "`prompt`")
    if (name := columns.first_present(row, TURNS)) is not None:
        return turns_of(row[name], f"`{name}`")
    if (name := columns.first_present(row, QUESTION)) is not None:
        asked, given = columns.text_at(row, name), columns.optional_text(row, ("input",))
        content = f"{asked}\n{given}" if asked and given else asked or given
        return [Turn(role="user", content=content)]
    return None


def same_kind(question: Said, *answers: Said) -> tuple[Said, ...]:
    """All as text if all are text, else all as turns."""
    if all(isinstance(part, str) for part in (question, *answers)):
        return (question, *answers)
    asked = [Turn(role="user", content=question)] if isinstance(question, str) else question
    return (
        asked,
        *([Turn(role="assistant", content=a)] if isinstance(a, str) else a for a in answers),
    )


def must_answer(answer: Said, name: str) -> None:
    """Raises RowError if turns hold nothing that the assistant says."""
    if isinstance(answer, list):
        sharegpt.must_have_answer(answer, name)


def parted(turns: Sequence[Turn]) -> tuple[list[Turn], list[Turn]]:
    """A conversation up to the last question, and the answer to it."""
    last = max((n for n, turn in enumerate(turns) if turn.role != "assistant"), default=-1)
    return list(turns[: last + 1]), list(turns[last + 1 :])
