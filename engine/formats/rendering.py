"""Conversations as chat templates want them: lists of dicts."""

from __future__ import annotations

from typing import Any

import msgspec

from engine.formats.example import Conversation, Turn


def as_messages(conversation: Conversation) -> list[dict[str, Any]]:
    """The turns as dicts with ``role`` and ``content``, and the tool fields where there are any."""
    found: list[dict[str, Any]] = msgspec.to_builtins(conversation.messages)
    return found


def has_tools(conversation: Conversation) -> bool:
    """Whether a template must know of tools to render this."""
    return conversation.tools is not None or any(
        turn.role == "tool" or turn.tool_calls for turn in conversation.messages
    )


def without_tools(conversation: Conversation) -> Conversation:
    """The same for templates that know only system, user and assistant.

    Functions are listed in the system turn, a call is written as JSON by the assistant, and what
    the function answered is said by the user, so that turns still alternate.
    """
    messages = [_plain(turn) for turn in conversation.messages]
    if conversation.tools:
        listed = "You may call these functions:\n" + _json(conversation.tools)
        if messages and messages[0].role == "system":
            listed = f"{messages.pop(0).content}\n\n{listed}"
        messages.insert(0, Turn(role="system", content=listed))
    return Conversation(messages=messages)


def _plain(turn: Turn) -> Turn:
    content = turn.content
    if turn.tool_calls:
        calls = "\n".join(_json(call.get("function", call)) for call in turn.tool_calls)
        content = f"{content}\n{calls}" if content else calls
    return Turn(role="user" if turn.role == "tool" else turn.role, content=content)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
