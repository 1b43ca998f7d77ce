"""What a dataset's first rows look like to a person, and to the model. Pure: values to HTML."""

from __future__ import annotations

import html
import json
from typing import Any, NamedTuple

CELL_CHARS = 90
SHOWN_CHARS = 330
"""Longest example shown: the first rows of a book would push all else off the page."""

ROLE_WORDS = {"system": "system", "user": "user", "assistant": "assistant", "tool": "tool"}


def table(rows: list[Any]) -> tuple[list[str], list[list[str]]]:
    """Column names and cells of raw rows; a row that is no object is one cell."""
    names: list[str] = []
    for row in rows:
        for name in row if isinstance(row, dict) else ("value",):
            if name not in names:
                names.append(name)
    cells = [
        [_cell((row if isinstance(row, dict) else {"value": row}).get(name)) for name in names]
        for row in rows
    ]
    return names, cells


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    line = " ".join(text.split())
    return line if len(line) <= CELL_CHARS else line[: CELL_CHARS - 1] + "…"


class Learnt(NamedTuple):
    """What decides on what is learnt: ``method`` and ``dataset.loss_on``."""

    method: str = "sft"
    loss_on: str = "answers"

    @property
    def all(self) -> bool:
        """Questions too."""
        return self.method == "pretrain" or self.loss_on == "everything"


def pieces(example: dict[str, Any], learnt: Learnt) -> list[tuple[str, bool]]:
    """An example as texts, each with whether it is trained on."""
    kind = example.get("kind")
    if kind == "conversation":
        turns = example.get("messages", [])
        answers = [at for at, turn in enumerate(turns) if turn.get("role") == "assistant"]
        counted = answers[-1:] if learnt.loss_on == "last_answer" else answers
        return [
            part
            for at, turn in enumerate(turns)
            for part in _turn(turn, learnt.all or at in counted)
        ]
    if kind in _COMPARED:
        return [
            piece
            for name, word in _COMPARED[str(kind)].items()
            for piece in _part(word, example.get(name), _is_learnt(name, example, learnt))
        ]
    if kind == "prompt_completion":
        return [(str(example["prompt"]), learnt.all), (str(example["completion"]), True)]
    return [(str(example.get("text", "")), True)]


_COMPARED: dict[str, dict[str, str]] = {
    "preference": {"prompt": "", "chosen": "chosen", "rejected": "rejected"},
    "verdict": {"prompt": "", "completion": "answer"},
    "prompt": {"prompt": ""},
}
"""Parts of rows for other methods, each with the word that stands before it."""


def _is_learnt(name: str, example: dict[str, Any], learnt: Learnt) -> bool:
    is_good = "chosen" in example or example.get("label") is True
    named = ("prompt", "chosen", "completion") if learnt.all else ("chosen", "completion")
    return learnt.method == "sft" and is_good and name in named


def _part(word: str, said: Any, is_trained: bool) -> list[tuple[str, bool]]:
    """Text or turns, with what they are in front."""
    turns = said if isinstance(said, list) else [{"content": said}]
    text = " ".join(str(turn.get("content") or "") for turn in turns if isinstance(turn, dict))
    return [*([(f"{word}: ", False)] if word else []), (f"{text} ", is_trained)]


def _turn(turn: dict[str, Any], is_learnt: bool) -> list[tuple[str, bool]]:
    role = str(turn.get("role", ""))
    text = str(turn.get("content", "") or "")
    if turn.get("tool_calls"):
        text += json.dumps(turn["tool_calls"], ensure_ascii=False)
    return [(f"{ROLE_WORDS.get(role, role)}: ", False), (text + " ", is_learnt)]


def example_html(example: dict[str, Any], learnt: Learnt, muted: str, trained: str) -> str:
    """An example in two colours: what is read, and what is trained on."""
    if example.get("kind") == "error":
        return html.escape(f"{example.get('problem', '')} {example.get('remedy', '')}".strip())
    left = SHOWN_CHARS
    parts: list[str] = []
    for text, is_trained in pieces(example, learnt):
        if left <= 0:
            break
        shown = text if len(text) <= left else text[:left] + "…"
        left -= len(shown)
        color = trained if is_trained else muted
        parts.append(f'<span style="color:{color}">{html.escape(shown)}</span>')
    return "".join(parts).replace("\n", " ")


def noun(example: dict[str, Any] | None) -> str:
    """What the rows of such a dataset are called."""
    kind = (example or {}).get("kind")
    known = {"conversation": "conversation", "text": "text", "preference": "pair"}
    return known.get(str(kind), "row")
