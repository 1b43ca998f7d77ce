"""What is odd about a row, seen while it is read: before the template and the tokenizer hide it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from engine.formats.answers import answers, has_empty_answer, is_blank
from engine.formats.example import Conversation, Example, PromptCompletion, Text, Turn
from engine.formats.mojibake import REPLACEMENT, is_garbled
from engine.worker.tokenise import AnyTokenizer

CONTROL_TOKENS = "control_tokens"
EMPTY_ANSWERS = "empty_answers"
EMPTY_QUESTIONS = "empty_questions"
PLACEHOLDERS = "placeholder_answers"
ECHOES = "echoed_questions"
BROKEN_TEXT = "broken_text"
MOJIBAKE = "mojibake"
REPAIRED = "repaired"
MARKUP = "markup"
INVISIBLE = "invisible_characters"
ROLE_ORDER = "role_order"
UNFILLED = "unfilled_blanks"
LATE_SYSTEM = "late_system"
BLANK = "blank"
MAX_ROWS = 1_000_000
"""Remembered of a kind."""
_INVISIBLE = re.compile("[\\x00-\\x08\\x0b\\x0e-\\x1f\\x7f\\u200b\\u2060\\ufeff]")
"""What has no business in a text; those that join letters or emoji do."""
_PLACEHOLDER = re.compile(r"nan|none|null|n/a|#n/a|nil|undefined|\[object object\]", re.IGNORECASE)
"""What a table writes where it has nothing."""
_BLANK = re.compile(r"(?<![\\\w$^_{}`])\{\{ *[^\W\d][\w .|-]*\}\}(?![}`])")
"""Of a template in which nothing was put; not the braces of LaTeX and of code."""
_TAG = re.compile(r"</?[a-z][a-z0-9]{0,9}(?:\s[^<>]{0,300})?/?>|&(?:[a-z]{2,6}|#\d{2,5});", re.I)
_MARKUP_SHARE = 0.2
_FEWEST_TAGS = 3


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
            self.note(CONTROL_TOKENS, row)
        for kind, judge in _JUDGES:
            if any(judge(text) for text in texts):
                self.note(kind, row)
        self._look_at_answers(row, example)
        # Whole documents may well be of templates.
        if not isinstance(example, Text) and any(map(_has_blank, texts)):
            self.note(UNFILLED, row)
        if isinstance(example, Conversation):
            self._look_at_turns(row, example.messages)

    def _look_at_turns(self, row: int, turns: Sequence[Turn]) -> None:
        if any(turn.role == "system" for turn in turns[1:]):
            self.note(LATE_SYSTEM, row)
        if not _alternates(turns) or _answers_no_call(turns):
            self.note(ROLE_ORDER, row)

    def _look_at_answers(self, row: int, example: Example) -> None:
        pairs = list(answers(example))
        if _has_empty_question(example):
            self.note(EMPTY_QUESTIONS, row)
        if has_empty_answer(example):
            self.note(EMPTY_ANSWERS, row)
        if any(_PLACEHOLDER.fullmatch(answer.strip()) for _, answer, _ in pairs):
            self.note(PLACEHOLDERS, row)
        if any(_is_echo(question, answer) for question, answer, _ in pairs):
            self.note(ECHOES, row)

    def note(self, kind: str, row: int) -> None:
        """Remember a row."""
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


def _has_empty_question(example: Example) -> bool:
    match example:
        case Conversation(messages=messages):
            return any(turn.role == "user" and is_blank(turn.content) for turn in messages)
        case PromptCompletion(prompt=prompt):
            return is_blank(prompt)
    return False


def _is_echo(question: str, answer: str) -> bool:
    """Single words may well be repeated."""
    said = answer.strip()
    return " " in said and said == question.strip()


def _is_lost(text: str) -> bool:
    return REPLACEMENT in text


def _is_markup(text: str) -> bool:
    """Whether much of the text is a page's markup; a block of code may be."""
    if ("<" not in text and "&" not in text) or "```" in text:
        return False
    tags = _TAG.findall(text)
    if len(tags) < _FEWEST_TAGS:
        return False
    return sum(map(len, tags)) >= _MARKUP_SHARE * len(text)


def _has_invisible(text: str) -> bool:
    return _INVISIBLE.search(text) is not None


def _has_blank(text: str) -> bool:
    """Whether a place for a value is left; a block of code may have some."""
    return "{{" in text and "```" not in text and _BLANK.search(text) is not None


_JUDGES = (
    (BROKEN_TEXT, _is_lost), (MOJIBAKE, is_garbled), (MARKUP, _is_markup),
    (INVISIBLE, _has_invisible),
)  # fmt: skip


def _alternates(turns: Sequence[Turn]) -> bool:
    """Whether nobody speaks twice in a row, and a question comes before the first answer. Calls and
    what functions answer come as they come."""
    before = ""
    for turn in turns:
        if turn.role in ("user", "assistant"):
            if turn.role == before or (turn.role == "assistant" and not before):
                return False
            before = turn.role
        elif turn.role == "tool":
            before = "tool"
    return True


def _answers_no_call(turns: Sequence[Turn]) -> bool:
    """Whether a function answers where nobody could have called it: a call may be written in an
    assistant's text, in any notation."""
    before = ""
    for turn in turns:
        if turn.role == "tool" and before not in ("assistant", "tool"):
            return True
        before = turn.role
    return False
