"""Lines are made sense of a run at a time, and as if each were read alone."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from engine.contract.spec import DatasetSpec
from engine.formats import json_rows
from engine.formats.example import DatasetError, Row
from engine.formats.reading import open_dataset
from engine.formats.source import Source, find

PARTS = st.sampled_from([
    b'{"a": 1}\n', b'{"a": "\xc3\xa9"}\r\n', b'{"a": {}}', b"\n", b" ", b"\r\n", b"{", b"}", b", ",
    b'"a": 1', b"[1]\n", b'{"a": NaN}\n', b"\xff", b"\xef\xbb\xbf", b'{"a":\n{}}\n', b"\\n",
])  # fmt: skip


def read(source: Source) -> tuple[list[Row], str]:
    """Rows, those that cannot be read with the sentence of it, and what ended them."""
    found = []
    try:
        for row in json_rows.rows(source):
            found.append(msgspec.structs.replace(row, error=str(row.error)))
    except DatasetError as error:
        return found, str(error)
    return found, ""


@given(parts=st.lists(PARTS, max_size=12), run_bytes=st.sampled_from([1, 24, 1 << 17]))
def test_what_is_quick_for_most_lines_says_the_same(parts: list[bytes], run_bytes: int) -> None:
    with TemporaryDirectory() as folder, patch.object(json_rows, "RUN_BYTES", run_bytes):
        path = Path(folder) / "rows.jsonl"
        path.write_bytes(b'{"a": 0}\n' + b"".join(parts))
        source = find(path)
        quickly = read(source)
        with patch.object(json_rows, "_at_once", return_value=None):
            assert read(source) == quickly


ROWS = st.sampled_from([
    b'{"instruction": "a", "output": "b"}', b'{"instruction": "a", "input": "c", "output": "b"}',
    b'{"instruction": 1, "output": "b"}', b'{"instruction": "a"}', b"{}", b"", b"{",
])  # fmt: skip


def examples(path: Path) -> tuple[list[Any], str]:
    """What is learnt of each row, and what ended them."""
    found = []
    try:
        dataset = open_dataset(DatasetSpec(path=str(path), format="alpaca"), "sft")
        for unit in dataset.units():
            for row in dataset.examples(unit):
                found.append(row)
    except DatasetError as error:
        return found, str(error)
    return found, ""


@given(lines=st.lists(ROWS, min_size=1, max_size=6))
def test_so_are_the_examples_made_of_them(lines: list[bytes]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        path.write_bytes(b"\n".join(lines))
        quickly = examples(path)
        with patch.object(json_rows, "_at_once", return_value=None):
            assert examples(path) == quickly
