"""Datasets with something wrong in them, and what has to be said of each."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, NamedTuple

from tests.worker.conftest import WORDS

Row = dict[str, Any]
END = "<|eot_id|>"
MORE = ("house", "garden", "winter", "paper", "music", "yellow", "seven", "bread", "mountain",
        "window", "letter", "market", "ocean", "silver", "doctor", "kitchen", "forest", "summer",
        "engine", "mirror", "pocket", "ladder", "blanket", "candle")  # fmt: skip


def said(number: int, words: int = 14) -> str:
    """Text that no other number has."""
    chance = random.Random(number)
    return " ".join(chance.choice([*WORDS, *MORE]) for _ in range(words))


def good(number: int) -> Row:
    """A row that nothing is wrong with."""
    return {"instruction": f"Tell me of {said(number, 5)}.", "output": f"It is {said(-number)}."}


def mixed(rows: int, **poison: Any) -> tuple[list[Any], list[int]]:
    """Good rows with every second one changed, and which those are."""
    found = [good(number) for number in range(rows)]
    bad = list(range(1, rows, 2))
    for place in bad:
        found[place] = {**found[place], **poison}
    return found, bad


def put(*rows: Any) -> tuple[list[Any], list[int]]:
    """Good rows with these among them, from the eighth on."""
    found = [good(number) for number in range(20)]
    return [*found[:7], *rows, *found[7:]], list(range(7, 7 + len(rows)))


class Poison(NamedTuple):
    """A dataset, and what has to be said of it."""

    make: Callable[[], tuple[Any, list[int]]]
    """Rows, or the bytes of the file, and the rows that are poisoned."""
    code: str = ""
    """Of the finding; empty where the file is refused."""
    severity: str = "warning"
    says: str = ""
    """A pattern of what is said."""
    fix: str = ""
    """What the finding offers, and leaves nothing to find."""


def _talk(*turns: tuple[str, str]) -> Row:
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


def _talks(*odd: Row) -> tuple[list[Any], list[int]]:
    fine = [_talk(("user", said(n, 6)), ("assistant", said(-n))) for n in range(1, 13)]
    return [*fine[:5], *odd, *fine[5:]], list(range(5, 5 + len(odd)))


def _copies() -> tuple[list[Any], list[int]]:
    return [good(0), good(1), *[good(0)] * 18], list(range(2, 20))


def _near() -> tuple[list[Any], list[int]]:
    long = {"instruction": said(70, 12), "output": said(71, 60)}
    other = {**long, "output": long["output"] + " indeed"}
    again = {**long, "output": "well " + long["output"]}
    rows, _ = put(long, other, again)
    return rows, [8, 9]


def _beyond() -> tuple[list[Any], list[int]]:
    long = {"instruction": "why " * 300, "output": "so"}
    return put(long, long | {"output": "it is"})


def _all(**poison: Any) -> tuple[list[Any], list[int]]:
    return [{**good(number), **poison} for number in range(12)], list(range(12))


def _nested() -> tuple[list[Any], list[int]]:
    return [
        *[_talk(("user", "a"), ("assistant", "b"))] * 4,
        {"messages": [None, {"role": None}]},
    ], []


def _garbled(text: str) -> str:
    return text.encode().decode("latin-1")


def _leaked() -> tuple[list[Any], list[int]]:
    rows = [good(number) for number in range(3)] * 12
    return rows, []


CHINESE = "春天的花园里有很多花，孩子们在树下玩耍，老人坐在长椅上聊天。"
GERMAN = "Die Kinder spielen im Garten und die alten Leute sitzen auf der Bank und reden."
HTML = '<div class="x"><p>well</p><br/><a href="#">go</a>&nbsp;&amp;&nbsp;</div>'
ZERO = "\u200b\u200b\ufeff"

POISONS: dict[str, Poison] = {
    # ------------------------------------------------------------ what ends a run, or wastes it
    "all_masked": Poison(
        lambda: _all(instruction="why " * 400), "nothing_to_train_on", "error", "max_length"
    ),
    "cut_off_everywhere": Poison(
        lambda: _all(instruction="tell " * 200), "nothing_to_train_on", "error", "max_length"
    ),
    "empty_answers_everywhere": Poison(
        lambda: _all(output=""), "nothing_to_train_on", "error", "row 1 .*choose the column"
    ),
    "half_the_answers_empty": Poison(
        lambda: mixed(10, output=" "), "empty_answers", fix="drop_empty"
    ),
    "invisible_answers_everywhere": Poison(
        lambda: _all(output=ZERO), "nothing_to_train_on", "error", "empty answer"
    ),
    "invalid_utf8": Poison(
        lambda: (
            b'{"instruction": "a", "output": "b"}\n{"instruction": "\xff\xfe", "output": "c"}', []
        ),
        says="row 2|line 2",
    ),
    "only_questions": Poison(
        lambda: ([{"prompt": said(n)} for n in range(9)], []), says="prompt|answer|completion"
    ),
    "system_turn_only": Poison(
        lambda: ([_talk(("user", "a"), ("assistant", "b")), _talk(("system", "s"))], []),
        says="row 2",
    ),
    "number_columns": Poison(
        lambda: ([{"instruction": 1, "output": 2}, {"instruction": 3, "output": 4}], []),
        says="row.* 1.*number",
    ),
    "nested_nulls": Poison(_nested, says="row 5"),
    "null_answers": Poison(lambda: _all(output=None), says="row.* 1.*null"),
    "unknown_roles": Poison(
        lambda: (
            [_talk(("user", "a"), ("assistant", "b")), _talk(("boss", "a"), ("clerk", "b"))], []
        ),
        says="row 2.*'boss'",
    ),
    "no_rows": Poison(lambda: (b"\n\n", []), says="no row|empty"),
    "one_row": Poison(lambda: ([good(0)], []), says="eval_fraction|held back"),
    "binary": Poison(lambda: (bytes(range(256)) * 40, []), says="line 1|row 1|UTF-8|JSON"),
    # ------------------------------------------------------------ what is told with its rows
    "one_answer": Poison(
        lambda: _all(output="It is so."), "same_answers", says="12 of 12 rows .*another column"
    ),
    "blanks": Poison(
        lambda: put({"instruction": "greet {{ user.name }}", "output": "Hi {{name}}, well met!"}),
        "unfilled_blanks",
    ),
    "empty_questions": Poison(
        lambda: put({"instruction": " ", "output": "Well then."}), "empty_questions"
    ),
    "invisible_question": Poison(
        lambda: put({"instruction": ZERO, "output": "Well then."}), "empty_questions"
    ),
    "empty_answers": Poison(
        lambda: put({"instruction": "say", "output": "  "}), "empty_answers", fix="drop_empty"
    ),
    "invisible_answer": Poison(
        lambda: put({"instruction": "say", "output": ZERO}), "empty_answers", fix="drop_empty"
    ),
    "nan_answers": Poison(
        lambda: put({"instruction": "say", "output": "NaN"}), "placeholder_answers",
        fix="drop_placeholders",
    ),
    "prompt_is_answer": Poison(
        lambda: put({"instruction": "say it now", "output": "say it now"}), "echoed_questions",
        fix="drop_echoes",
    ),
    "control_tokens": Poison(
        lambda: put({"instruction": f"say {END} now", "output": said(90)}), "control_tokens",
        fix="drop_control_tokens",
    ),
    "control_tokens_in_answers": Poison(
        lambda: put({"instruction": said(90), "output": f"well {END} then"}), "control_tokens",
        fix="drop_control_tokens",
    ),
    "a_million_characters": Poison(
        lambda: put({"instruction": "say", "output": "w" * 1_000_000}), "cut", says="Longer than",
    ),
    "one_long_row": Poison(
        lambda: put({"instruction": "say", "output": said(80, 300)}), "cut", says="max_length",
        fix="drop_overlong",
    ),
    "answer_beyond_the_cut": Poison(_beyond, "answer_beyond_cut", says="max_length"),
    "ninety_percent_copies": Poison(_copies, "duplicates", says="90.0%", fix="drop_duplicates"),
    "near_copies": Poison(_near, "near_duplicates", "info", fix="drop_near_duplicates"),
    "wrong_order_of_roles": Poison(
        lambda: _talks(
            _talk(("assistant", said(1)), ("user", said(2)), ("assistant", said(3))),
            _talk(("user", said(4)), ("user", said(5)), ("assistant", said(6))),
        ), "role_order", "info",
    ),
    "mojibake": Poison(
        lambda: put({"instruction": _garbled("où est le café"), "output": _garbled("“là” – été")}),
        "mojibake", fix="reencode",
    ),
    "lost_characters": Poison(
        lambda: put({"instruction": "say", "output": "it\N{REPLACEMENT CHARACTER}s so"}),
        "broken_text", fix="drop_broken_text",
    ),
    "html": Poison(lambda: put({"instruction": "page", "output": HTML * 3}), "markup", "info"),
    "invisible_characters": Poison(
        lambda: put({"instruction": "say\x00 it", "output": f"well{ZERO} then"}),
        "invisible_characters", "info",
    ),
    "two_languages": Poison(
        lambda: (
            [{"instruction": "say", "output": f"This is the story of {said(n)} and it is good."}
             for n in range(23)] + [{"instruction": "sag", "output": CHINESE}] * 2, [23, 24],
        ), "languages", "info", "92 % English, 8 % Chinese",
    ),
    "close_languages": Poison(
        lambda: (
            [{"instruction": "say", "output": f"This is the story of {said(n)} and it is good."}
             for n in range(9)] + [{"instruction": "sag", "output": GERMAN}], [9],
        ), "languages", "info", "90 % English, 10 % German",
    ),
    "held_back_rows_are_trained_on": Poison(
        _leaked, "eval_leak", says="copies", fix="drop_duplicates"
    ),
}  # fmt: skip
