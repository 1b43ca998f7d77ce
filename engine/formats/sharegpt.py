"""ShareGPT: ``conversations``, a list of ``from`` and ``value``; optionally ``system``, ``tools``.
The list may be called ``messages``, too.

A function call stays the text that the file has (the model learns to write it), what the function
answered becomes a ``tool`` turn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from engine.formats import columns
from engine.formats.example import Conversation, Guess, RawRow, Role, RowError, Turn

COLUMN = ("conversations", "conversation", "messages")
ROLES: dict[str, Role] = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "function_call": "assistant",
    "observation": "tool",
    "tool": "tool",
    "function_response": "tool",
}


def sniff(rows: Sequence[object]) -> Guess:
    """How well the rows fit."""
    return columns.guess(rows, _fits, to_example, "conversations of from and value")


def _fits(row: RawRow) -> bool:
    name = columns.first_present(row, COLUMN)
    turns = row[name] if name else None
    if isinstance(turns, str):  # As CSV files have them.
        return turns.startswith("[{") and '"from"' in turns
    if not isinstance(turns, list) or not turns:
        return False
    return isinstance(turns[0], Mapping) and "from" in turns[0]


def to_example(row: object) -> Conversation:
    """The row as a conversation. Raises RowError."""
    row = columns.as_row(row)
    name = columns.column(row, COLUMN)
    turns = columns.decoded_list(row[name], f"`{name}`")
    messages = [turn_of(turn, index) for index, turn in enumerate(turns, start=1)]
    system = columns.optional_text(row, ("system",))
    if system and (not messages or messages[0].role != "system"):
        messages.insert(0, Turn(role="system", content=system))
    must_have_answer(messages, name)
    return Conversation(messages=messages, tools=columns.tools_of(row))


def turn_of(turn: object, index: int) -> Turn:
    """One turn of ``from`` and ``value``. Raises RowError."""
    what = f"Turn {index}"
    if not isinstance(turn, Mapping):
        raise RowError(
            f"{what} is {columns.kind_of(turn)}, not an object.",
            'Write {"from": "human", "value": "…"}.',
        )
    for name in ("from", "value"):
        if name not in turn:
            raise RowError(f"{what} has no `{name}`.", 'Write {"from": "human", "value": "…"}.')
    speaker = columns.text(turn["from"], f"`from` of turn {index}")
    role = ROLES.get(speaker.lower())
    if role is None:
        raise RowError(
            f"{what} is from {speaker[:40]!r}, which is no known speaker.",
            "Write human, gpt, system, function_call or observation.",
        )
    return Turn(role=role, content=columns.text(turn["value"], f"`value` of turn {index}"))


def must_have_answer(messages: Sequence[Turn], name: str) -> None:
    """Raises RowError if there is nothing to learn from."""
    if not any(turn.role == "assistant" for turn in messages):
        what = "is empty" if not messages else "has no turn of the assistant"
        raise RowError(
            f"`{name}` {what}, so there is nothing to learn from it.",
            "Add an answer, or remove the row.",
        )
