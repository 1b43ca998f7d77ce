"""Rows that were written for other methods: what they are, and what sft makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.formats import Conversation, PromptCompletion, check_dataset, preview, read_examples
from engine.formats.example import Preference, Prompt, RowError, Turn, Verdict
from engine.formats.registry import FORMATS, detect

DATA = Path(__file__).parents[1] / "data" / "formats"
ASKED = Turn(role="user", content="Hi")
GOOD = Turn(role="assistant", content="Hello.")
BAD = Turn(role="assistant", content="No.")


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


Q, G, B = turn("user", "Hi"), turn("assistant", "Hello."), turn("assistant", "No.")


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": [Q], "chosen": [G], "rejected": [B]},
        {"chosen": [Q, G], "rejected": [Q, B]},
        {"prompt": "Hi", "chosen": [Q, G], "rejected": [Q, B]},
        {"messages": [Q], "chosen": G, "rejected": B},
        {"conversations": [{"from": "human", "value": "Hi"}],
         "chosen": {"from": "gpt", "value": "Hello."}, "rejected": {"from": "gpt", "value": "No."}},
        {"instruction": "Hi", "input": "", "chosen": "Hello.", "rejected": "No."},
        {"question": "Hi", "chosen": "Hello.", "rejected": "No."},
        {"prompt": json.dumps([Q]), "chosen": json.dumps([G]), "rejected": json.dumps([B])},
    ],
)  # fmt: skip
def test_every_shape_of_a_pair(row: dict[str, Any]) -> None:
    wanted = Preference(prompt=[ASKED], chosen=[GOOD], rejected=[BAD])
    assert FORMATS["preference"].to_example(row) == wanted
    assert detect([row]).format == "preference"


def test_a_pair_of_texts_stays_text() -> None:
    row = {"prompt": "2 + 2 =", "chosen": " 4", "rejected": " 5"}
    found = FORMATS["preference"].to_example(row)
    assert found == Preference(prompt="2 + 2 =", chosen=" 4", rejected=" 5")
    whole = {"chosen": "H: Hi\n\nA: Hello you", "rejected": "H: Hi\n\nA: Help yourself"}
    assert FORMATS["preference"].to_example(whole) == Preference(
        prompt="H: Hi\n\nA: ", chosen="Hello you", rejected="Help yourself"
    )


def test_a_system_text_goes_in_front() -> None:
    row = {"system": "Be kind.", "question": "Hi", "chosen": "Hello.", "rejected": "No."}
    found = FORMATS["preference"].to_example(row)
    assert isinstance(found, Preference)
    assert found.prompt == [Turn(role="system", content="Be kind."), ASKED]


@pytest.mark.parametrize(
    ("row", "label"),
    [
        ({"prompt": [Q], "completion": [G], "label": True}, True),
        ({"messages": [Q, G], "label": False}, False),
        ({"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello."}],
          "kto_tag": True}, True),
        ({"instruction": "Hi", "output": "Hello.", "kto_tag": "False"}, False),
    ],
)  # fmt: skip
def test_every_shape_of_a_verdict(row: dict[str, Any], label: bool) -> None:
    wanted = Verdict(prompt=[ASKED], completion=[GOOD], label=label)
    assert FORMATS["unpaired_preference"].to_example(row) == wanted
    assert detect([row]).format == "unpaired_preference"


def test_a_class_is_no_verdict() -> None:
    assert detect([{"messages": [Q, G], "label": 3}]).format == "messages"
    assert detect([{"prompt": "a", "completion": "b", "label": "spam"}]).format != (
        "unpaired_preference"
    )


def test_prompts() -> None:
    assert FORMATS["prompt_only"].to_example({"prompt": [Q]}) == Prompt(prompt=[ASKED])
    assert detect([{"prompt": "Why?"}]).format == "prompt_only"
    assert detect([{"prompt": "Why?", "response": "So."}]).format == "alpaca"
    assert detect([{"prompt": "Why?", "response": "So.", "label": True}]).format == "unknown"


@pytest.mark.parametrize(
    ("format", "row", "words"),
    [
        ("preference", {"prompt": "a", "chosen": "b"}, "`rejected` is missing"),
        ("preference", {"prompt": "a", "chosen": "b", "rejected": [B]}, "One of `chosen` and"),
        ("preference", {"prompt": "a", "chosen": 1, "rejected": "b"}, "`chosen` is a number"),
        ("preference", {"prompt": "a", "chosen": [], "rejected": [B]}, "`chosen` is empty"),
        ("preference", {"prompt": [Q], "chosen": [Q], "rejected": [B]}, "`chosen` has no turn"),
        ("unpaired_preference", {"completion": "b", "label": True}, "`prompt` is missing"),
        ("unpaired_preference", {"prompt": "a", "completion": "b"}, "`label` is missing"),
        ("unpaired_preference", {"prompt": "a", "completion": "b", "label": "so"}, "not a verdict"),
        ("unpaired_preference", {"messages": [Q], "label": True}, "`completion` is empty"),
        ("prompt_only", {"prompt": ""}, "is empty"),
    ],
)
def test_a_wrong_row_says_what_is_wrong(format: str, row: object, words: str) -> None:
    with pytest.raises(RowError) as caught:
        FORMATS[format].to_example(row)
    assert words in caught.value.problem
    assert caught.value.remedy


# ---------------------------------------------------------------- what sft makes of them


@pytest.mark.parametrize(
    ("name", "format", "words"),
    [("dpo.json", "preference", "chosen answers"),
     ("kto.jsonl", "unpaired_preference", "labelled good")],
)  # fmt: skip
def test_sft_learns_good_answers_only_where_that_is_asked_for(
    name: str, format: str, words: str
) -> None:
    (complaint,) = check_dataset(DATA / name, "auto", "sft")
    assert complaint.field == "dataset.format"
    assert words in complaint.problem
    assert complaint.patch == {"dataset.format": format}
    assert check_dataset(DATA / name, format, "sft") == []
    (example,) = read_examples(DATA / name, format, "sft")
    assert example == Conversation(messages=[ASKED, GOOD])


def test_texts_are_learnt_without_a_template(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "2 + 2 =", "chosen": " 4", "rejected": " 5"}\n')
    assert list(read_examples(path, "preference", "sft")) == [
        PromptCompletion(prompt="2 + 2 =", completion=" 4")
    ]


def test_where_no_answer_is_good_there_is_nothing_to_learn(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "a", "completion": "b", "label": false}\n' * 3)
    (complaint,) = check_dataset(path, "unpaired_preference", "sft")
    assert complaint.problem == "No row of a.jsonl is labelled good."


def test_documents_that_are_all_blank_are_no_data(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": " \\u200b"}\n' * 3)
    (complaint,) = check_dataset(path, "auto", "pretrain")
    assert complaint.field == "dataset.path"
    assert complaint.problem == "No row of a.jsonl has text that can be seen."
    path.write_text('{"text": " "}\n{"text": "a"}\n')
    assert check_dataset(path, "auto", "pretrain") == []


def test_a_preview_shows_them_as_they_are() -> None:
    shown = preview(DATA / "dpo.json")
    assert (shown["format"], shown["confidence"]) == ("preference", 1.0)
    assert shown["examples"][0]["kind"] == "preference"
    assert "chosen answers" in shown["use"]
    assert preview(DATA / "kto.jsonl")["examples"][0]["label"] is True
