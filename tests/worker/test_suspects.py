"""Rows are suspected of what is odd about them, and of nothing else."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from engine.formats.example import Conversation, Text, Turn
from engine.worker.suspects import UNFILLED, Suspects


def suspected(text: str) -> dict[str, list[int]]:
    tokenizer: Any = SimpleNamespace(added_tokens_decoder={})
    found = Suspects(tokenizer)
    asked, told = Turn(role="user", content="say"), Turn(role="assistant", content=text)
    found.look(0, Conversation(messages=[asked, told]))
    found.look(1, Text(text=text))
    return found.found


@pytest.mark.parametrize(
    "text", ["Dear {{name}},", "{{ user.first-name }} says", "Hi {{first name | title}}!"]
)
def test_blanks_that_nothing_was_put_in_are_told_but_in_whole_documents(text: str) -> None:
    assert suspected(text) == {UNFILLED: [0]}


@pytest.mark.parametrize(
    "text",
    [
        r"\frac{{a}}{{b}}", "$x^{{n}}$ and $y_{{n}}$", "${{ github.ref }}", "say `{{ x }}`",
        "```\n{{ x }}\n```", "{{{x}}}", "{{ 1 }}", "f'{{x}'", "{{}}",
    ],
)  # fmt: skip
def test_braces_of_code_and_formulas_are_no_blanks(text: str) -> None:
    assert suspected(text) == {}
