"""Alpaca: ``instruction``, ``input``, ``output``; optionally ``system`` and ``history``.

Becomes a conversation: system, the earlier rounds, instruction and input as the user's turn, output
as the assistant's. Dolly's ``context`` and ``response`` are taken for input and output, and of rows
that have no instruction other usual names of a question and an answer (:data:`PAIRS`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from engine.formats import columns
from engine.formats.example import Conversation, Guess, RawRow, RowError, Turn

INSTRUCTION = ("instruction",)
SYSTEM = ("system",)
INPUT = ("input", "context")
OUTPUT = ("output", "response")
PAIRS = (
    ("question", "answer"), ("question", "response"), ("question", "output"), ("query", "answer"),
    ("query", "response"), ("query", "reply"), ("prompt", "response"), ("prompt", "answer"),
    ("prompt", "output"), ("prompt", "reply"), ("input", "target"),
)  # fmt: skip
"""What a question and its answer are called in many files. Not ``input`` and ``output``: that is
rather a row that lacks its instruction."""
_INPUT_BESIDE_ITSELF = INPUT[1:]
_VERDICTS = ("label", "chosen", "rejected")
"""A comparison must not be taken for plain answers."""
_BY_PAIR = 0.8
"""How sure that is."""


def sniff(rows: Sequence[object]) -> Guess:
    """How well the rows fit."""
    named = columns.guess(rows, _fits, to_example, "instruction and output")
    if named.score > 0:
        return named
    asked, answer = next(filter(None, map(_pair, rows)), INSTRUCTION + OUTPUT[:1])
    return columns.guess(rows, _is_pair, to_example, f"{asked} and {answer}", _BY_PAIR)


def _pair(row: object) -> tuple[str, str] | None:
    """The usual names by which it has question and answer, if it has no instruction."""
    if not isinstance(row, Mapping) or "instruction" in row:
        return None
    return next((pair for pair in PAIRS if pair[0] in row and pair[1] in row), None)


def _is_pair(row: RawRow) -> bool:
    pair = _pair(row)
    if pair is None or any(name in row for name in _VERDICTS):
        return False
    return not any(isinstance(row[name], list | dict) for name in pair)


def _fits(row: RawRow) -> bool:
    return "instruction" in row and columns.first_present(row, OUTPUT) is not None


def to_example(row: object) -> Conversation:
    """The row as a conversation. Raises RowError."""
    if type(row) is dict and (plain := _plain(row)):
        return plain
    row = columns.as_row(row)
    first, second = _pair(row) or (columns.column(row, INSTRUCTION), columns.column(row, OUTPUT))
    instruction, output = columns.text_at(row, first), columns.text_at(row, second)
    given = columns.optional_text(row, _INPUT_BESIDE_ITSELF if first == "input" else INPUT)
    system = columns.optional_text(row, SYSTEM)
    begin = [Turn(role="system", content=system)] if system else []
    return Conversation(messages=[*begin, *_history(row), *_round(instruction, given, output)])


def _plain(row: RawRow) -> Conversation | None:
    """The same of a row with three texts, as nearly all of millions are, more quickly; None of any
    other."""
    instruction, given, output = row.get("instruction"), row.get("input"), row.get("output")
    if not (type(instruction) is type(given) is type(output) is str):
        return None
    if "system" in row or "history" in row:
        return None
    is_ascii = instruction.isascii() and given.isascii() and output.isascii()
    if not is_ascii and not columns.is_unicode(instruction, given, output):
        return None
    return Conversation(messages=_round(instruction, given, output))


def _round(instruction: str, given: str, output: str) -> list[Turn]:
    question = f"{instruction}\n{given}" if instruction and given else instruction or given
    return [Turn(role="user", content=question), Turn(role="assistant", content=output)]


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
