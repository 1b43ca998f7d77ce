"""What is odd about a row, seen while it is read: before the template and the tokenizer hide it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from engine.formats.example import Conversation, Example, PromptCompletion, Text
from engine.worker.tokenise import AnyTokenizer

CONTROL_TOKENS = "control_tokens"
EMPTY_ANSWERS = "empty_answers"
BROKEN_TEXT = "broken_text"
ROLE_ORDER = "role_order"
KINDS = (CONTROL_TOKENS, EMPTY_ANSWERS, BROKEN_TEXT, ROLE_ORDER)
MAX_ROWS = 100_000
"""Remembered of a kind."""
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_MOJIBAKE = re.compile("Ã[\\u0080-\\u00bf]|â€[\\u0080-\\u00bf™œ˜¦“”]|Â[\\u00a0-\\u00bf]")
"""UTF-8 that was read as Latin-1 or Windows-1252 and saved again."""


class Suspects:
    """Rows to look at, by kind; the first row is 0."""

    def __init__(self, tokenizer: AnyTokenizer) -> None:
        self.found: dict[str, list[int]] = {}
        names = sorted(
            token.content for token in tokenizer.added_tokens_decoder.values() if token.special
        )
        pattern = "|".join(re.escape(name) for name in names if len(name) > 2)
        self._control = re.compile(pattern) if pattern else None

    def look(self, row: int, example: Example) -> None:
        """Look at one row."""
        texts = list(_texts(example))
        if self._control and any(self._control.search(text) for text in texts):
            self._note(CONTROL_TOKENS, row)
        if any(_REPLACEMENT in text or _MOJIBAKE.search(text) for text in texts):
            self._note(BROKEN_TEXT, row)
        if _is_without_answer(example):
            self._note(EMPTY_ANSWERS, row)
        if isinstance(example, Conversation) and not _alternates(example):
            self._note(ROLE_ORDER, row)

    def _note(self, kind: str, row: int) -> None:
        rows = self.found.setdefault(kind, [])
        if len(rows) < MAX_ROWS:
            rows.append(row)


def _texts(example: Example) -> Iterator[str]:
    match example:
        case Conversation(messages=messages):
            yield from (turn.content for turn in messages)
        case PromptCompletion(prompt=prompt, completion=completion):
            yield prompt
            yield completion
        case Text(text=text):
            yield text


def _is_without_answer(example: Example) -> bool:
    """Whether an answer that is to be learnt is empty."""
    match example:
        case Conversation(messages=messages):
            answers = (turn for turn in messages if turn.role == "assistant")
            return any(not (turn.content.strip() or turn.tool_calls) for turn in answers)
        case PromptCompletion(completion=completion):
            return not completion.strip()
    return False


def _alternates(conversation: Conversation) -> bool:
    """Whether nobody speaks twice in a row, and a question comes before the first answer. Calls and
    what functions answer come as they come."""
    before = ""
    for turn in conversation.messages:
        if turn.role in ("user", "assistant"):
            if turn.role == before or (turn.role == "assistant" and not before):
                return False
            before = turn.role
        elif turn.role == "tool":
            before = "tool"
    return True
