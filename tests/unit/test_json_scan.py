"""What the decoder refuses is found in a file of any size, and found quickly."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.formats import check_dataset, json_scan
from tests.allowance import is_within

GOOD = '{"instruction": "a", "output": "b"}'
ONES = '{"a": [' + "1," * (7 << 20) + "1e999]}"
LISTS = '{"a": [' + "[]," * (1 << 20) + "[" * 3000
TEXTS = '{"a": ["' + 'x", "' * (2 << 20) + 'x"], "n": 1e999}'

VALUES = st.recursive(
    st.none() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_nothing_is_found_in_what_is_sound(value: Any) -> None:
    data = json.dumps(value).encode()
    assert json_scan.too_large(data) is None
    assert json_scan.deep(data) is None


@given(st.lists(VALUES), st.sampled_from(["1e999", "-1e999", "1" * 5000, f"{'1' * 400}.0"]))
def test_the_number_is_found_behind_whatever_is_sound(values: list[Any], number: str) -> None:
    data = json.dumps([*values, "?"]).replace('"?"]', f"{number}]").encode()
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(data)
    assert json_scan.too_large(data) == len(data) - len(number) - 1


@given(st.lists(VALUES))
def test_brackets_are_found_behind_whatever_is_sound(values: list[Any]) -> None:
    data = json.dumps([*values, "?"]).replace('"?"]', '{"[": [1, ' + "[" * 5000).encode()
    at = json_scan.deep(data)
    assert at is not None
    assert set(data[at:]) == {ord("[")}


def test_no_place_is_made_up_where_the_look_ends() -> None:
    data = b"[" + b"1," * (1 << 20) + b"1e999]"
    assert json_scan.too_large(data) is None


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("lines.jsonl", f"{GOOD}\n{ONES}\n", "line 2 is not valid JSON: a number is too large"),
        ("list.json", f"[{GOOD},\n{ONES}]", "line 2 is not valid JSON: a number is too large"),
        ("texts.jsonl", f"{GOOD}\n{TEXTS}\n", "line 2 is not valid JSON: a number is too large"),
        ("deep.jsonl", f"{GOOD}\n{LISTS}\n", "line 2 is nested too deeply"),
        ("deep.json", f"[{GOOD},\n{LISTS}", "line 1 or later is nested too deeply"),
    ],
)
def test_a_line_of_millions_of_values_is_told_in_time(
    tmp_path: Path, name: str, text: str, says: str
) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    started = time.thread_time()
    (complaint,) = check_dataset(path, "auto", "sft")
    assert says in complaint.problem
    assert is_within(time.thread_time() - started, 2.0, time.thread_time)
