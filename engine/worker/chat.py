"""Conversations become text, with the character spans of what the assistant says."""

from __future__ import annotations

import re
from typing import Any, Literal

import jinja2
import msgspec
from transformers import PreTrainedTokenizerBase
from transformers.utils.chat_template_utils import render_jinja_template

from engine.formats.example import Conversation, Turn
from engine.formats.rendering import as_messages, has_tools, without_tools
from engine.planning import chat_templates
from engine.worker.report import Report

Span = tuple[int, int]
_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")

PLAIN_TEMPLATE = chat_templates.text_of("plain")
"""For models that have none. It needs no new tokens, so nothing is resized."""


class Rendered(msgspec.Struct, frozen=True, kw_only=True):
    """Text for the tokenizer."""

    text: str
    spans: list[Span] | None = None
    """Characters that are learnt, from and up to; None means all."""
    special_tokens: bool = False
    """Let the tokenizer put its own first and last tokens; a chat template has written them."""


LossOn = Literal["answers", "last_answer", "everything"]
"""As ``dataset.loss_on`` has it."""
MISTAKES = (jinja2.TemplateError, ArithmeticError, AttributeError, LookupError, TypeError,
             ValueError, RecursionError, MemoryError)  # fmt: skip
"""What comes of a template that is wrong, or not made for such a conversation."""


class CannotRender(ValueError):
    """The model's chat template refuses a conversation; the text says why."""


def ensure_template(tokenizer: PreTrainedTokenizerBase, report: Report) -> None:
    """Give a tokenizer without a chat template a plain one, and say so."""
    if tokenizer.chat_template:
        return
    tokenizer.chat_template = PLAIN_TEMPLATE
    report.decided(
        "A plain chat template is used.",
        "This model brings none: it is a base model.",
        "Chats must use the same template; it is saved with the result.",
    )


class ChatRenderer:
    """Renders conversations with a tokenizer's chat template."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, loss_on: LossOn = "answers") -> None:
        self._tokenizer = tokenizer
        self.template = text_in(tokenizer.chat_template)
        self._loss_on = loss_on
        self.has_marks = bool(_GENERATION.search(self.template))
        """Whether the template says itself where answers are."""
        self._knows_tools = "tool" in self.template
        self.merged_systems = 0
        """Conversations whose system turn went into the first question."""

    def __call__(self, conversation: Conversation) -> Rendered:
        """Text and learnt spans. Raises :class:`CannotRender`."""
        conversation = self.fitting(conversation)
        try:
            return self._render(conversation)
        except MISTAKES as error:
            merged = _without_system(conversation)
            if merged is None:
                raise CannotRender(sentence_of(error)) from error
        try:
            rendered = self._render(merged)
        except MISTAKES as error:
            raise CannotRender(sentence_of(error)) from error
        self.merged_systems += 1
        return rendered

    def fitting(self, conversation: Conversation) -> Conversation:
        """The same in words, if the template knows nothing of functions."""
        if has_tools(conversation) and not self._knows_tools:
            return without_tools(conversation)
        return conversation

    def prompt(self, messages: list[dict[str, Any]]) -> str:
        """Text up to where the assistant's answer begins."""
        return self._text(messages, None, answer_next=True)

    def _render(self, conversation: Conversation) -> Rendered:
        messages = as_messages(conversation)
        if self._loss_on == "everything":
            return Rendered(text=self._text(messages, conversation.tools))
        if self.has_marks:
            text, marked = self.marked(conversation)
            if self._loss_on == "last_answer":
                marked = self._of_last(marked, messages, conversation, text)
            return Rendered(text=text, spans=marked)
        text = self._text(messages, conversation.tools)
        turns = self._turns(messages, conversation, text)
        if self._loss_on == "last_answer":
            turns = turns[-1:]
        return Rendered(text=text, spans=[span for span in turns if span])

    def marked(self, conversation: Conversation) -> tuple[str, list[Span]]:
        """The text, and what ``{% generation %}`` marks in it. Raises what a template may raise."""
        texts, marks = self._run(as_messages(conversation), conversation.tools, marks=True)
        return texts[0], [(a, b) for a, b in marks[0]]

    def by_turns(self, conversation: Conversation) -> list[Span | None]:
        """Each answer's span, found without marks by rendering up to it; None where the template
        writes earlier turns otherwise once later ones follow. Raises what a template may raise."""
        messages = as_messages(conversation)
        text = self._text(messages, conversation.tools)
        return [
            self._span(messages[: place + 1], conversation, text)
            for place, message in enumerate(messages)
            if message["role"] == "assistant"
        ]

    def _turns(
        self, messages: list[dict[str, Any]], conversation: Conversation, text: str
    ) -> list[Span | None]:
        """Where the assistant's turns are, found by rendering up to each of them, or else by their
        words; None where one is not there."""
        spans: list[Span | None] = []
        begin = 0
        for place, message in enumerate(messages):
            if message["role"] == "assistant":
                found = self._span(messages[: place + 1], conversation, text)
                found = found or _by_content(text, message["content"], begin)
                spans.append(found)
                begin = found[1] if found else begin
        return spans

    def _of_last(
        self, marked: list[Span], messages: list[dict[str, Any]], conversation: Conversation,
        text: str,
    ) -> list[Span]:  # fmt: skip
        """Of the marked spans those of the last answer."""
        roles = [message["role"] for message in messages]
        if roles.count("assistant") < 2:
            return marked
        last = len(roles) - 1 - roles[::-1].index("assistant")
        for answer_next in (False, True):
            before = self._text(messages[:last], conversation.tools, answer_next=answer_next)
            if text.startswith(before):
                return [span for span in marked if span[0] >= len(before)]
        return marked[-1:]

    def _span(
        self, messages: list[dict[str, Any]], conversation: Conversation, text: str
    ) -> Span | None:
        """The last turn's span, None if the template changes earlier text with later turns;
        ``text`` is that of all turns."""
        if len(messages) < 2:
            return None
        before = self._text(messages[:-1], conversation.tools, answer_next=True)
        is_whole = len(messages) == len(conversation.messages)
        after = text if is_whole else self._text(messages, conversation.tools)
        if text.startswith(before) and text.startswith(after) and len(after) > len(before):
            return len(before), len(after)
        return None

    def _text(
        self, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None,
        answer_next: bool = False,
    ) -> str:  # fmt: skip
        rendered = self._run(messages, tools, answer_next=answer_next)[0][0]
        return str(rendered)

    def _run(
        self, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None, *,
        answer_next: bool = False, marks: bool = False,
    ) -> tuple[list[str], list[list[Span]]]:  # fmt: skip
        render: Any = render_jinja_template
        texts, spans = render(
            [messages],
            tools=tools,
            chat_template=self.template,
            return_assistant_tokens_mask=marks,
            add_generation_prompt=answer_next,
            **self._tokenizer.special_tokens_map,
        )
        return texts, spans


def text_in(chat_template: Any) -> str:
    """The template that conversations are rendered with; a tokenizer may have several."""
    if isinstance(chat_template, dict):
        return str(chat_template.get("default") or next(iter(chat_template.values())))
    return str(chat_template)


def line_of(error: BaseException) -> int | None:
    """Line of the template at which it went wrong; None if nobody knows."""
    if isinstance(error, jinja2.TemplateSyntaxError):
        return error.lineno
    line, trace = None, error.__traceback__
    while trace is not None:
        # jinja puts the template's own lines into the trace.
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def sentence_of(error: BaseException) -> str:
    """What went wrong in a template, with the line; what a template itself refuses, in its
    words."""
    if type(error) is jinja2.TemplateError:
        return str(error)
    what = str(error) or type(error).__name__
    if isinstance(error, MemoryError):
        what = "it writes more than there is memory for"
    line = line_of(error)
    return f"Line {line} of the chat template: {what}" if line else f"The chat template: {what}"


def _by_content(text: str, content: str, begin: int) -> Span | None:
    at = text.find(content, begin) if content else -1
    return (at, at + len(content)) if at >= 0 else None


def _without_system(conversation: Conversation) -> Conversation | None:
    """The system turn put in front of the first question; None if there is none to move."""
    turns = conversation.messages
    if len(turns) < 2 or turns[0].role != "system" or turns[1].role != "user":
        return None
    first = Turn(role="user", content=f"{turns[0].content}\n\n{turns[1].content}")
    return Conversation(messages=[first, *turns[2:]], tools=conversation.tools)
