"""Rows of each format become the right examples, and wrong rows say what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args, get_type_hints
from unittest.mock import patch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.contract.spec import DatasetSpec
from engine.formats import (
    Conversation,
    PromptCompletion,
    Text,
    alpaca,
    as_messages,
    has_tools,
    read_examples,
    split_sizes,
    without_tools,
)
from engine.formats.example import RowError
from engine.formats.registry import FORMATS, METHOD_FORMATS, detect

DATA = Path(__file__).parents[1] / "data" / "formats"
SHARED = Path(__file__).parents[3] / "shared" / "data"


def talk(example: Any) -> list[tuple[str, str]]:
    assert isinstance(example, Conversation)
    return [(turn.role, turn.content) for turn in example.messages]


def sft(name: str) -> list[Any]:
    return list(read_examples(DATA / name, "auto", "sft"))


# ---------------------------------------------------------------- right rows


def test_alpaca() -> None:
    plain, given, history = sft("alpaca.json")
    assert talk(plain) == [("user", "Name a bird."), ("assistant", "A wren.")]
    assert talk(given) == [
        ("system", "Be brief."),
        ("user", "Translate.\ngood morning"),
        ("assistant", "早上好"),
    ]
    assert [role for role, _ in talk(history)] == ["user", "assistant"] * 3
    assert talk(history)[2:4] == [("user", "How are you?"), ("assistant", "Fine.")]


TEXTS = st.text(max_size=3) | st.text("a\n\ud800\udc00", max_size=3)
VALUES = TEXTS | st.none() | st.just(7)
COLUMNS: dict[str, st.SearchStrategy[Any]] = dict.fromkeys(
    ("input", "context", "response", "system"), VALUES
) | {"history": st.just([["Hi.", "Ho."]])}


@given(row=st.fixed_dictionaries({"instruction": VALUES, "output": VALUES}, optional=COLUMNS))
@example(row={"instruction": "Go.", "input": "", "output": "\ud800"})
@example(row={"instruction": "", "input": "Go.", "output": "é"})
def test_what_is_quick_for_most_rows_of_alpaca_says_the_same(row: dict[str, Any]) -> None:
    def said() -> Any:
        try:
            return alpaca.to_example(row)
        except RowError as error:
            return str(error)

    quickly = said()
    with patch.object(alpaca, "_plain", return_value=None):
        assert said() == quickly


def test_alpaca_takes_the_columns_of_dolly() -> None:
    row = {"instruction": "Who?", "context": "Ann ran.", "response": "Ann."}
    assert talk(FORMATS["alpaca"].to_example(row)) == [("user", "Who?\nAnn ran."),
                                                       ("assistant", "Ann.")]  # fmt: skip


def test_sharegpt_with_calls() -> None:
    plain, tools = sft("sharegpt.jsonl")
    assert talk(plain) == [("user", "Hi"), ("assistant", "Hello.")]
    assert plain.tools is None
    assert [role for role, _ in talk(tools)] == ["system", "user", "assistant", "tool", "assistant"]
    assert json.loads(tools.messages[2].content)["name"] == "weather"
    assert tools.tools == [{"name": "weather"}]


def test_messages_with_calls_and_parts() -> None:
    plain, tools = sft("messages.jsonl")
    assert talk(plain)[0] == ("system", "Be kind.")
    assert talk(tools)[0] == ("user", "How warm?")
    call, answer = tools.messages[1], tools.messages[2]
    assert call.content == ""
    assert call.tool_calls[0]["function"]["name"] == "weather"
    assert answer.tool_call_id == "c1"


def test_prompt_and_completion() -> None:
    first, second = sft("prompt_completion.csv")
    assert first == PromptCompletion(prompt="2 + 2 =", completion=" 4")
    assert second.prompt == "One; two;\nthree;"
    lists = {
        "prompt": [{"role": "user", "content": "Hi"}],
        "completion": [{"role": "assistant", "content": "Hello."}],
    }
    both = talk(FORMATS["prompt_completion"].to_example(lists))
    assert both == [("user", "Hi"), ("assistant", "Hello.")]


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("text.jsonl", ["A first document.", "第二个文档。"]),
        ("gaps.md", ["# One\n\nFirst text,\nsecond line.\n\nStill the first.",
                     "# Two\n\nSecond text.", "Third text."]),
    ],
)  # fmt: skip
def test_texts(name: str, texts: list[str]) -> None:
    found = list(read_examples(DATA / name, "auto", "pretrain"))
    assert found == [Text(text=text) for text in texts]


def test_long_lines_without_blank_ones_are_documents() -> None:
    found = list(read_examples(DATA / "lines.txt", "auto", "pretrain"))
    assert [example.text[:9] for example in found if isinstance(example, Text)] == [
        "The river", "A clock t", "Nobody co",
    ]  # fmt: skip


def test_turns_of_from_and_value_may_be_called_messages() -> None:
    turns = [{"from": "user", "value": "Hi"}, {"from": "assistant", "value": "Hello."}]
    for written in (turns, json.dumps(turns)):
        row = {"messages": written}
        assert detect([row], "sft").format == "sharegpt"
        said = talk(FORMATS["sharegpt"].to_example(row))
        assert said == [("user", "Hi"), ("assistant", "Hello.")]
    usual = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
    assert detect([{"messages": usual}], "sft").format == "messages"


def test_a_column_called_text_does_not_hide_conversations() -> None:
    row = {"instruction": "a", "input": "", "output": "b", "text": "a b"}
    assert detect([row], "sft").format == "alpaca"
    assert detect([row], "pretrain").format == "text"
    assert detect([row]).format == "alpaca"


# ---------------------------------------------------------------- wrong rows


@pytest.mark.parametrize(
    ("format", "row", "words"),
    [
        ("alpaca", {"instruction": "a"}, "`output` is missing; the row has: instruction"),
        ("alpaca", {"instruction": None, "output": "b"}, "`instruction` is null, not text"),
        ("alpaca", {"instruction": "a", "output": 5}, "`output` is a number"),
        ("alpaca", {"instruction": "a", "output": "b", "input": ["c"]}, "`input` is a list"),
        (
            "alpaca",
            {"instruction": "a", "output": "b", "history": [["c"]]},
            "is not a pair",
        ),
        ("alpaca", {"instruction": "\ud800", "output": "b"}, "surrogate"),
        ("alpaca", 7, "is a number, not an object"),
        ("alpaca", {}, "the row has: nothing"),
        ("sharegpt", {"conversations": "hi"}, "is text, not a list"),
        ("sharegpt", {"conversations": []}, "is empty"),
        ("sharegpt", {"conversations": [{"value": "a"}]}, "Turn 1 has no `from`"),
        ("sharegpt", {"conversations": [{"from": "gpt"}]}, "Turn 1 has no `value`"),
        ("sharegpt", {"conversations": [{"from": "boss", "value": "a"}]}, "'boss'"),
        ("sharegpt", {"conversations": [{"from": "human", "value": "a"}]}, "no turn of the assis"),
        ("sharegpt", {"conversations": [{"from": "gpt", "value": None}]}, "`value` of turn 1"),
        ("sharegpt", {"conversations": [{"from": "gpt", "value": "a"}], "tools": "x"}, "`tools`"),
        ("messages", {"messages": None}, "`messages` is null"),
        ("messages", {"messages": ["a"]}, "Message 1 is text"),
        ("messages", {"messages": [{"content": "a"}]}, "has no `role`"),
        ("messages", {"messages": [{"role": "assistant"}]}, "has no `content`"),
        ("messages", {"messages": [{"role": "owner", "content": "a"}]}, "'owner'"),
        ("messages", {"messages": [{"role": "assistant", "content": None}]}, "is null, not text"),
        ("messages", {"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "not text"),
        ("prompt_completion", {"prompt": "a"}, "`completion` is missing"),
        ("prompt_completion", {"prompt": "a", "completion": []}, "One of"),
        ("text", {"text": None}, "`text` is null"),
        ("text", {"content": "a"}, "`text` is missing"),
    ],
)
def test_a_wrong_row_says_what_is_wrong(format: str, row: object, words: str) -> None:
    with pytest.raises(RowError) as caught:
        FORMATS[format].to_example(row)
    assert words in caught.value.problem
    assert caught.value.remedy


@pytest.mark.parametrize("name", ["dpo.json", "kto.jsonl"])
def test_preference_data_is_not_taken_for_anything_else(name: str) -> None:
    with pytest.raises(ValueError, match="preference data"):
        list(read_examples(DATA / name, "auto", "sft"))


# ---------------------------------------------------------------- registry, rendering, split


def test_the_registry_names_what_the_spec_names() -> None:
    hints = get_type_hints(DatasetSpec)
    assert set(get_args(hints["format"])) == {*FORMATS, "auto"}
    assert {name for names in METHOD_FORMATS.values() for name in names} | {"prompt_only"} == set(
        FORMATS
    )


def test_messages_keep_only_what_is_there() -> None:
    plain, tools = sft("messages.jsonl")
    assert as_messages(plain)[1] == {"role": "user", "content": "Hi"}
    assert as_messages(tools)[2] == {"role": "tool", "content": "12", "tool_call_id": "c1"}


def test_tools_as_text_for_templates_that_know_none() -> None:
    _, tools = sft("messages.jsonl")
    assert has_tools(tools)
    plain = without_tools(tools)
    assert not has_tools(plain)
    assert [t.role for t in plain.messages] == ["system", "user", "assistant", "user", "assistant"]
    assert "weather" in plain.messages[0].content
    assert json.loads(plain.messages[2].content) == {"name": "weather", "arguments": "{}"}
    _, shared = sft("sharegpt.jsonl")
    assert without_tools(shared).messages[0].content.startswith("Use tools.\n\n")


@pytest.mark.parametrize(
    ("count", "fraction", "expected"),
    [(100, 0.05, (95, 5)), (10, 0.05, (9, 1)), (2, 0.5, (1, 1)), (1, 0.5, (1, 0)),
     (7, 0.0, (7, 0)), (0, 0.1, (0, 0)), (3, 0.5, (1, 2))],
)  # fmt: skip
def test_split_sizes(count: int, fraction: float, expected: tuple[int, int]) -> None:
    assert split_sizes(count, fraction) == expected


# ---------------------------------------------------------------- real data, where it is at hand


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real data sets are not beside this clone")
@pytest.mark.parametrize(
    ("name", "method", "count", "kind"),
    [
        ("alpaca_en_demo.json", "sft", 999, Conversation),
        ("alpaca_zh_demo.json", "sft", 1000, Conversation),
        ("identity.json", "sft", 91, Conversation),
        ("glaive_toolcall_en_demo.json", "sft", 300, Conversation),
        ("c4_demo.jsonl", "pretrain", 300, Text),
        ("wiki_demo.txt", "pretrain", 30, Text),
    ],
)
def test_real_data(name: str, method: str, count: int, kind: type) -> None:
    found = list(read_examples(SHARED / name, "auto", method))
    assert len(found) == count
    assert {type(example) for example in found} == {kind}
