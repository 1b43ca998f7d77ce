"""Which column is the question and which the answer: by their names, and else by what stands there.

A guess is offered at one click, so a wrong one is worse than none: where nothing tells, there is
none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_ASKED = (
    "question", "query", "prompt", "instruction", "request", "task", "problem", "human", "user",
    "input", "source", "frage", "aufgabe", "anweisung", "eingabe", "pregunta", "consulta",
    "pergunta", "domanda", "richiesta", "demande", "vraag", "pytanie", "вопрос", "soru", "问题",
    "提问", "質問", "질문", "ask", "anliegen", "q",
)  # fmt: skip
_ANSWERED = (
    "answer", "response", "completion", "reply", "output", "solution", "target", "assistant", "gpt",
    "antwort", "ausgabe", "lösung", "loesung", "respuesta", "resposta", "risposta", "réponse",
    "reponse", "antwoord", "odpowied", "ответ", "cevap", "回答", "答案", "答え", "답변", "a",
)  # fmt: skip
"""What people call a column, the likeliest first; a part of a name will do if it is long enough."""
_SHORTEST_PART = 4
_IDEOGRAPHS = re.compile("[\u0370-\U0010ffff]")
_NO_TEXT = re.compile(r"(\b|_)(id|ids|nr|no|num|number|count|date|datum|time|zeit|type|typ|kind|"
                      r"lang|language|sprache|score|rating|tokens|len|length|url|link|status|"
                      r"name|category|kategorie|source_file|file)$")  # fmt: skip
"""How names end of what is about a question or an answer and is neither."""
_MARK = re.compile(r"[\W\d_]*|\S*\d\S*|https?://\S+|\S+@\S+")
"""Values that say nothing: numbers, dates, ids, addresses."""
_MARK_CHARS = 200
_LOOKED_AT = 2000
"""Characters of a value."""
_FREE_CHARS = 12
"""Free text has at least so many characters on average,"""
_FREE_WORDS = 2.5
"""and so many words, where words are kept apart."""
_LONGER = 1.5
"""An answer is taken for one by its length if it is so much longer."""
_MOSTLY = 0.5


def pair_of(rows: Sequence[object], names: Sequence[str]) -> tuple[str, str]:
    """Question and answer among columns that hold text; empty if it cannot be told."""
    held = {name: _values(rows, name) for name in names}
    asked, answer = (_called(held, known) for known in (_ASKED, _ANSWERED))
    if asked and asked == answer:
        return "", ""
    free = [name for name in held if _is_free(held[name]) and not _says_no_text(name)]
    others = [name for name in free if name not in (asked, answer)]
    if not (asked or answer):
        return _by_length(held, others)
    if not (asked and answer) and len(others) == 1:
        return asked or others[0], answer or others[0]
    return (asked, answer) if asked and answer else ("", "")


def is_prose(rows: Sequence[object], name: str) -> bool:
    """Whether what stands in a column may be a document."""
    values = _values(rows, name)
    return bool(values) and not _are_marks(values)


def _values(rows: Sequence[object], name: str) -> list[str]:
    held = (row.get(name) for row in rows if isinstance(row, Mapping))
    texts = (value[:_LOOKED_AT].strip() for value in held if isinstance(value, str))
    return [text for text in texts if text]


def _called(held: Mapping[str, list[str]], known: Sequence[str]) -> str:
    """The column that has one of these names, or one as a part of its own."""
    exact = {name.strip().casefold(): name for name in held}
    for word in known:
        # An answer may be a number, a question is none.
        if (name := exact.get(word)) and not (known is _ASKED and _are_marks(held[name])):
            return name
    return _called_in_part(held, known)


def _called_in_part(held: Mapping[str, list[str]], known: Sequence[str]) -> str:
    other = _ANSWERED if known is _ASKED else _ASKED
    near = [
        name
        for name, values in held.items()
        if _has(name, known) and not _has(name, other) and not _says_no_text(name)
        and not _are_marks(values)
    ]  # fmt: skip
    if len(near) < 2:
        return near[0] if near else ""
    by_length = sorted(near, key=lambda name: -_length(held[name]))
    is_clear = _length(held[by_length[0]]) >= _LONGER * _length(held[by_length[1]])
    return by_length[0] if is_clear else ""


def _has(name: str, known: Sequence[str]) -> bool:
    name = name.casefold()
    words = re.split(r"[\W_]+", name)
    return any(
        word in words
        or (word in name and (len(word) >= _SHORTEST_PART or bool(_IDEOGRAPHS.match(word))))
        for word in known
    )


def _says_no_text(name: str) -> bool:
    return _NO_TEXT.search(name.strip().casefold()) is not None or name.endswith(("Id", "ID"))


def _by_length(held: Mapping[str, list[str]], free: Sequence[str]) -> tuple[str, str]:
    if len(free) != 2:
        return "", ""
    short, long = sorted(free, key=lambda name: _length(held[name]))
    is_clear = _length(held[long]) >= _LONGER * _length(held[short])
    return (short, long) if is_clear else ("", "")


def _length(values: Sequence[str]) -> float:
    return sum(map(len, values)) / len(values) if values else 0.0


def _is_free(values: Sequence[str]) -> bool:
    """Whether they are sentences, and not the same again and again."""
    if _length(values) < _FREE_CHARS or _are_marks(values):
        return False
    is_spaced = sum(len(value.split()) for value in values) >= _FREE_WORDS * len(values)
    is_worded = is_spaced or all(_IDEOGRAPHS.search(value) for value in values)
    return is_worded and (len(values) < 3 or len(set(values)) > _MOSTLY * len(values))


def _are_marks(values: Sequence[str]) -> bool:
    marks = sum(len(v) <= _MARK_CHARS and _MARK.fullmatch(v) is not None for v in values)
    return marks > _MOSTLY * len(values)
