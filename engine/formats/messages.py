"""Messages: OpenAI's shape, a list of ``role`` and ``content``; optionally ``tools``.

``conversations`` with ``role`` and ``content`` is taken too. Calls stay structures for the chat
template; :func:`engine.formats.rendering.without_tools` writes them out for templates that know
none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.formats import columns
from engine.formats.example import Conversation, Guess, RawRow, Role, RowError, Turn
from engine.formats.sharegpt import must_have_answer

COLUMN = ("messages", "conversations", "conversation")
ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
_SHAPE = 'Write {"role": "user", "content": "…"}.'


def sniff(rows: Sequence[object]) -> Guess:
    """How well the rows fit."""
    return columns.guess(rows, _fits, to_example, "messages of role and content")


def _fits(row: RawRow) -> bool:
    name = columns.first_present(row, COLUMN)
    turns = row[name] if name else None
    if isinstance(turns, str):  # As CSV files have them.
        return name == "messages" or (turns.startswith("[{") and '"role"' in turns)
    if not isinstance(turns, list) or not turns:
        return False
    return isinstance(turns[0], Mapping) and "role" in turns[0]


def to_example(row: object) -> Conversation:
    """The row as a conversation. Raises RowError."""
    row = columns.as_row(row)
    name = columns.column(row, COLUMN)
    turns = columns.decoded_list(row[name], f"`{name}`")
    messages = [_turn(turn, index) for index, turn in enumerate(turns, start=1)]
    must_have_answer(messages, name)
    return Conversation(messages=messages, tools=columns.tools_of(row))


def turns_of(value: object, name: str) -> list[Turn]:
    """The turns in a column that holds a list of messages. Raises RowError."""
    turns = columns.decoded_list(value, f"`{name}`")
    return [_turn(turn, index) for index, turn in enumerate(turns, start=1)]


def _turn(turn: object, index: int) -> Turn:
    if not isinstance(turn, Mapping):
        raise RowError(f"Message {index} is {columns.kind_of(turn)}, not an object.", _SHAPE)
    if "role" not in turn:
        raise RowError(f"Message {index} has no `role`.", _SHAPE)
    said = columns.text(turn["role"], f"`role` of message {index}")
    role = ROLES.get(said.lower())
    if role is None:
        raise RowError(
            f"Message {index} has the role {said[:40]!r}, which is not known.",
            "Write system, user, assistant or tool.",
        )
    calls = _calls(turn, index)
    return Turn(
        role=role,
        content=_content(turn, index, optional=bool(calls)),
        tool_calls=calls,
        name=_optional(turn, "name"),
        tool_call_id=_optional(turn, "tool_call_id"),
    )


def _content(turn: Mapping[str, Any], index: int, *, optional: bool) -> str:
    value = turn.get("content")
    if value is None and optional:
        return ""
    if "content" not in turn:
        raise RowError(f"Message {index} has no `content`.", _SHAPE)
    if isinstance(value, list):
        return "".join(_part(part, index) for part in value)
    return columns.text(value, f"`content` of message {index}")


def _part(part: object, index: int) -> str:
    if isinstance(part, Mapping) and part.get("type") == "text" and "text" in part:
        return columns.text(part["text"], f"`text` in message {index}")
    raise RowError(
        f"Message {index} holds a part that is not text.",
        "Pictures and sound cannot be learnt from yet; leave them out.",
    )


def _calls(turn: Mapping[str, Any], index: int) -> list[dict[str, Any]] | None:
    value = turn.get("tool_calls")
    if not value:
        return None
    calls = columns.decoded_list(value, f"`tool_calls` of message {index}")
    if any(not isinstance(call, dict) for call in calls):
        raise RowError(
            f"`tool_calls` of message {index} holds something that is no call.",
            'Write [{"function": {"name": "…", "arguments": {}}}].',
        )
    return calls


def _optional(turn: Mapping[str, Any], name: str) -> str | None:
    value = turn.get(name)
    return value if isinstance(value, str) else None
