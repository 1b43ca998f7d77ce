"""Alpaca: ``instruction``, ``input``, ``output``; optionally ``system`` and ``history``.

Becomes a conversation: system, the earlier rounds, instruction and input as the user's turn, output
as the assistant's. Dolly's ``context`` and ``response`` are taken for input and output.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.formats import columns
from engine.formats.example import Conversation, Guess, RawRow, RowError, Turn

INSTRUCTION = ("instruction",)
SYSTEM = ("system",)
INPUT = ("input", "context")
OUTPUT = ("output", "response")


def sniff(rows: Sequence[object]) -> Guess:
    """How well the rows fit."""
    return columns.guess(rows, _fits, to_example, "instruction and output")


def _fits(row: RawRow) -> bool:
    return "instruction" in row and columns.first_present(row, OUTPUT) is not None


def to_example(row: object) -> Conversation:
    """The row as a conversation. Raises RowError."""
    row = columns.as_row(row)
    instruction = columns.text_at(row, columns.column(row, INSTRUCTION))
    output = columns.text_at(row, columns.column(row, OUTPUT))
    given = columns.optional_text(row, INPUT)
    question = f"{instruction}\n{given}" if instruction and given else instruction or given
    asked, told = Turn(role="user", content=question), Turn(role="assistant", content=output)
    system = columns.optional_text(row, SYSTEM)
    begin = [Turn(role="system", content=system)] if system else []
    return Conversation(messages=[*begin, *_history(row), asked, told])


def _history(row: RawRow) -> list[Turn]:
    """Earlier rounds: a list of [question, answer]."""
    if not row.get("history"):
        return []
    turns: list[Turn] = []
    for index, pair in enumerate(columns.decoded_list(row["history"], "`history`"), start=1):
        if not (isinstance(pair, list | tuple) and len(pair) == 2):
            raise RowError(
                f"`history` entry {index} is not a pair.", "Write [[question, answer], …]."
            )
        question, answer = (columns.text(part, f"`history` entry {index}") for part in pair)
        turns += [Turn(role="user", content=question), Turn(role="assistant", content=answer)]
    return turns
