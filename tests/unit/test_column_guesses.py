"""Which columns are taken for question and answer, and which are not."""

from __future__ import annotations

from typing import Any

import pytest

from engine.formats.example import Conversation
from engine.formats.mapping import suggested
from engine.formats.registry import FORMATS, detect, remedy_of

ASKED = ["Where is my parcel now?", "How do I cancel an order?", "Who pays for the return?"]
TOLD = [
    "It is on its way and comes to you by tomorrow noon, as the carrier says.",
    "Open the order, choose Cancel and confirm; within one day you hear from us.",
    "You do not: print the label that we send to you and put it on the box.",
]
IDS = ["T-1001", "T-1002", "T-1003"]
DATES = ["2024-01-03", "2024-01-04", "2024-01-05"]


def rows(**columns: list[str]) -> list[dict[str, Any]]:
    return [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]


def table(*columns: tuple[str, list[str]]) -> list[dict[str, Any]]:
    return rows(**dict(columns))


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("Kundenfrage", "Unsere Antwort"), ("Frage", "Antwort"), ("question_text", "answers"),
        ("user prompt", "Bot reply"), ("Pregunta", "Respuesta"), ("问题", "回答"),
        ("customer_query", "agent_response"), ("Q", "A"), ("input", "output"),
    ],
)  # fmt: skip
def test_a_name_tells_wherever_its_column_stands(asked: str, told: str) -> None:
    wanted = {"instruction": asked, "output": told}
    id_ = ("Ticket", IDS)
    assert suggested(table(id_, (asked, ASKED), (told, TOLD))) == wanted
    assert suggested(table((told, TOLD), ("Datum", DATES), (asked, ASKED), id_)) == wanted


def test_what_only_sounds_like_it_is_not_taken() -> None:
    found = rows(question_id=IDS, answer_date=DATES, question_body=ASKED, answer_body=TOLD)
    assert suggested(found) == {"instruction": "question_body", "output": "answer_body"}
    found = rows(context=TOLD, question=ASKED, answers=TOLD)
    assert suggested(found) == {"instruction": "question", "output": "answers"}


def test_a_question_is_no_number_and_an_answer_may_be_one() -> None:
    assert suggested(rows(user=IDS, message=TOLD)) == {}
    found = rows(frage=ASKED, antwort=["42", "7", "0"])
    assert suggested(found) == {"instruction": "frage", "output": "antwort"}


def test_without_names_the_values_tell_or_nothing_does() -> None:
    same = ["all is the same here"] * 3
    found = rows(Nr=IDS, Eins=TOLD, Tag=DATES, Zwei=ASKED, Drei=same)
    assert suggested(found) == {"instruction": "Zwei", "output": "Eins"}
    assert suggested(rows(Nr=IDS, Eins=TOLD, Zwei=TOLD[::-1])) == {}, "neither is longer"
    assert suggested(rows(Nr=IDS, Eins=TOLD, Zwei=ASKED, Drei=TOLD)) == {}, "one too many"
    assert suggested(rows(Nr=IDS, Tag=DATES)) == {}
    found = rows(Nr=IDS, Eins=TOLD, Zwei=ASKED, Drei=TOLD)
    assert remedy_of(found) == "Say which column is the question and which is the answer."


def test_one_name_is_enough_where_one_column_is_left() -> None:
    found = rows(Nr=IDS, Frage=ASKED, Bemerkung=TOLD)
    assert suggested(found) == {"instruction": "Frage", "output": "Bemerkung"}
    assert suggested(rows(Frage=ASKED, Eins=TOLD, Zwei=TOLD[::-1])) == {}


@pytest.mark.parametrize(
    ("asked", "told"),
    [("question", "answer"), ("prompt", "response"), ("input", "target"), ("query", "reply")],
)
def test_usual_names_of_a_pair_are_a_known_shape(asked: str, told: str) -> None:
    found = detect([{asked: "Why?", told: "So."}] * 2)
    assert (found.format, found.guess.score) == ("alpaca", 0.8)
    assert found.guess.reason == f"Every row looked at has {asked} and {told}."
    made = FORMATS["alpaca"].to_example({asked: "Why?", told: "So."})
    assert isinstance(made, Conversation)
    assert [turn.content for turn in made.messages] == ["Why?", "So."]


def test_a_row_that_lacks_its_instruction_is_no_pair() -> None:
    assert detect([{"input": "Why?", "output": "So."}]).format == "unknown"
    compared = {"question": "Why?", "answer": "So.", "chosen": "a", "rejected": "b"}
    assert detect([compared]).format == "preference"
