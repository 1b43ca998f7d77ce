"""Prompt and completion: ``prompt`` and ``completion``, each text or each a list of messages.

Text stays as it is, without a chat template. Two lists become one conversation.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.formats import columns
from engine.formats.example import Conversation, Guess, PromptCompletion, RawRow, RowError
from engine.formats.messages import turns_of
from engine.formats.sharegpt import must_have_answer


def sniff(rows: Sequence[object]) -> Guess:
    """How well the rows fit."""
    return columns.guess(rows, _fits, to_example, "prompt and completion")


def _fits(row: RawRow) -> bool:
    return "prompt" in row and "completion" in row


def to_example(row: object) -> PromptCompletion | Conversation:
    """The row as text, or as a conversation if it holds messages. Raises RowError."""
    row = columns.as_row(row)
    for name in ("prompt", "completion"):
        columns.column(row, (name,))
    prompt, completion = row["prompt"], row["completion"]
    if isinstance(prompt, list) != isinstance(completion, list):
        raise RowError(
            "One of `prompt` and `completion` is a list, the other is not.",
            "Make both text, or both a list of messages.",
        )
    if isinstance(prompt, list):
        answer = turns_of(completion, "completion")
        must_have_answer(answer, "completion")
        return Conversation(
            messages=turns_of(prompt, "prompt") + answer, tools=columns.tools_of(row)
        )
    return PromptCompletion(
        prompt=columns.text_at(row, "prompt"), completion=columns.text_at(row, "completion")
    )
