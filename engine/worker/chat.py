"""Conversations become text, with the character spans of what the assistant says."""

from __future__ import annotations

import re
from typing import Any

import jinja2
import msgspec
from transformers import PreTrainedTokenizerBase
from transformers.utils.chat_template_utils import render_jinja_template

from engine.formats.example import Conversation, Turn
from engine.formats.rendering import as_messages, has_tools, without_tools
from engine.worker.report import Report

Span = tuple[int, int]
_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")

PLAIN_TEMPLATE = """\
{{- bos_token if bos_token is defined and bos_token else '' -}}
{%- for message in messages -%}
{%- if message['role'] == 'assistant' -%}
{{- '### Assistant:\\n' -}}
{%- generation -%}{{- message['content'] + eos_token -}}{%- endgeneration -%}{{- '\\n\\n' -}}
{%- elif message['role'] == 'system' -%}
{{- message['content'] + '\\n\\n' -}}
{%- else -%}
{{- '### User:\\n' + message['content'] + '\\n\\n' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '### Assistant:\\n' -}}{%- endif -%}
"""
"""For models that have none. It needs no new tokens, so nothing is resized."""


class Rendered(msgspec.Struct, frozen=True, kw_only=True):
    """Text for the tokenizer."""

    text: str
    spans: list[Span] | None = None
    """Characters that are learnt, from and up to; None means all."""
    special_tokens: bool = False
    """Let the tokenizer put its own first and last tokens; a chat template has written them."""


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

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        template = tokenizer.chat_template
        self._template: str = template["default"] if isinstance(template, dict) else template
        self._marks = bool(_GENERATION.search(self._template))
        self._knows_tools = "tool" in self._template
        self.merged_systems = 0
        """Conversations whose system turn went into the first question."""

    def __call__(self, conversation: Conversation) -> Rendered:
        """Text and learnt spans. Raises :class:`CannotRender`."""
        if has_tools(conversation) and not self._knows_tools:
            conversation = without_tools(conversation)
        try:
            return self._render(conversation)
        except jinja2.TemplateError as error:
            merged = _without_system(conversation)
            if merged is None:
                raise CannotRender(str(error)) from error
        try:
            rendered = self._render(merged)
        except jinja2.TemplateError as error:
            raise CannotRender(str(error)) from error
        self.merged_systems += 1
        return rendered

    def prompt(self, messages: list[dict[str, Any]]) -> str:
        """Text up to where the assistant's answer begins."""
        return self._text(messages, None, answer_next=True)

    def _render(self, conversation: Conversation) -> Rendered:
        messages = as_messages(conversation)
        if self._marks:
            texts, marks = self._run(messages, conversation.tools, marks=True)
            return Rendered(text=texts[0], spans=[(a, b) for a, b in marks[0]])
        text = self._text(messages, conversation.tools)
        return Rendered(text=text, spans=self._spans(messages, conversation, text))

    def _spans(
        self, messages: list[dict[str, Any]], conversation: Conversation, text: str
    ) -> list[Span]:
        """Where the assistant's turns are, found by rendering up to each of them."""
        spans: list[Span] = []
        for place, message in enumerate(messages):
            if message["role"] == "assistant":
                found = self._span(messages[: place + 1], conversation, text)
                begin = spans[-1][1] if spans else 0
                found = found or _by_content(text, message["content"], begin)
                if found:
                    spans.append(found)
        return spans

    def _span(
        self, messages: list[dict[str, Any]], conversation: Conversation, text: str
    ) -> Span | None:
        """The last turn's span, None if the template changes earlier text with later turns."""
        if len(messages) < 2:
            return None
        before = self._text(messages[:-1], conversation.tools, answer_next=True)
        after = self._text(messages, conversation.tools)
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
            chat_template=self._template,
            return_assistant_tokens_mask=marks,
            add_generation_prompt=answer_next,
            **self._tokenizer.special_tokens_map,
        )
        return texts, spans


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
