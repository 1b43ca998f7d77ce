"""A list is read piece by piece, and nobody can tell it by what comes of it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.formats import json_list, json_rows
from engine.formats import source as sources
from engine.formats.example import DatasetError, Row

Write = Callable[[str, str | bytes], Path]
FLAT: list[Any] = [
    {"instruction": "ä}, {" * (i % 7), "n": i, "output": 'b\n"' * i} for i in range(90)
]
NESTED: list[Any] = [
    {"messages": [{"role": "user", "content": "], [{"}, {"role": "user", "messages": [{"role": 1}]}]
     * (i % 5)}
    for i in range(60)
]  # fmt: skip
MIXED: list[Any] = [
    {"a": 1},
    {"b": [{"a": 1}, {"a": 2}]},
    [],
    [[{}]],
    "x, {",
    7,
    None,
    True,
    {},
] * 9
LISTS = {"flat": FLAT, "nested": NESTED, "mixed": MIXED, "numbers": list(range(400))}
WAYS: dict[str, dict[str, Any]] = {
    "one line": {}, "tight": {"separators": (",", ":")}, "indented": {"indent": 2},
    "unicode": {"ensure_ascii": False},
}  # fmt: skip


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return written


def read(path: Path) -> tuple[list[Row], str]:
    """All rows, and what was wrong at last."""
    found: list[Row] = []
    try:
        for row in json_rows.rows(sources.find(path)):
            found.append(row)
    except DatasetError as error:
        return found, str(error)
    return found, ""


def small(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(json_list, "RUN_BYTES", size)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", LISTS)
def test_pieces_of_any_size_give_the_same_rows(
    write: Write, monkeypatch: pytest.MonkeyPatch, name: str, way: str
) -> None:
    path = write("a.json", json.dumps(LISTS[name], **WAYS[way]))
    whole = read(path)
    assert [row.value for row in whole[0]] == LISTS[name]
    assert not whole[1]
    for size in (7, 64, 301, 1000):
        small(monkeypatch, size)
        assert read(path) == whole
    packed = path.with_name("a.json.gz")
    packed.write_bytes(gzip.compress(b"\xef\xbb\xbf\n " + path.read_bytes() + b" \n"))
    assert [row.value for row in read(packed)[0]] == LISTS[name]


GOOD = '{"instruction": "a", "output": "é"}'


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ("{oops}", "line 42 is not valid JSON: unexpected"),
        ('{"a": NaN}', "line 42 is not valid JSON: NaN is no JSON value"),
        ('{"a": "\\ud800"}', "line 42 is not valid JSON: a \\u escape is broken"),
        (f"{GOOD} {GOOD}", "line 42 is not valid JSON: unexpected"),
        ("", "line 42 is not valid JSON"),
        (f"{GOOD}]", "line 42 is not valid JSON: something follows where it should end"),
        ('{"a": 1e999}', "line 42 is not valid JSON: a number is too large"),
        (b'{"a": "\xff"}', "line 42 is not UTF-8"),
        (f'{{"a": {"[" * 5000}', "line 42 is nested too deeply"),
    ],
)
@pytest.mark.parametrize("size", [100, 1 << 17])
def test_a_mistake_is_named_with_its_line_wherever_a_piece_ends(
    write: Write, monkeypatch: pytest.MonkeyPatch, size: int, bad: str | bytes, words: str
) -> None:
    small(monkeypatch, size)
    monkeypatch.setattr(json_list, "MAX_ROW_BYTES", 2000)
    middle = bad if isinstance(bad, bytes) else bad.encode()
    rows = [GOOD.encode()] * 40 + [middle] + [GOOD.encode()] * 100
    found, problem = read(write("a.json", b"[\n" + b",\n".join(rows) + b"]"))
    assert words in problem
    assert len(found) <= 40


@pytest.mark.parametrize("size", [50, 1 << 17])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (f"[{GOOD},\n{GOOD},\n]", "line 3 is not valid JSON: a comma stands before"),
        (f"[{GOOD},\n{GOOD}", "line 2 is not valid JSON: it ends in the middle"),
        (f"[{GOOD},\n{GOOD},\n", "line 2 is not valid JSON: it ends in the middle"),
        (f'[{GOOD},\n{GOOD},\n{{"a": "b', "line 3 is not valid JSON: it ends in the middle"),
        (f"[{GOOD},\n{GOOD}]\n\nx", "line 4 is not valid JSON: something follows"),
        (f"[,{GOOD}]", "line 1 is not valid JSON"),
        ("[ \n]", "has no rows"),
    ],
)
def test_a_list_that_does_not_end_well_is_refused(
    write: Write, monkeypatch: pytest.MonkeyPatch, size: int, content: str, words: str
) -> None:
    small(monkeypatch, size)
    assert words in read(write("a.json", content))[1]


def test_the_byte_is_counted_from_the_start_of_its_line(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("a.json", "[" + ", ".join([GOOD] * 40 + ["{oops}"] + [GOOD] * 9) + "]")
    at = path.read_bytes().index(b"oops") + 1
    for size in (100, 1 << 17):
        small(monkeypatch, size)
        assert f"line 1, byte {at} is not" in read(path)[1]


def test_a_row_over_the_limit_is_named(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch, 100)
    monkeypatch.setattr(json_list, "MAX_ROW_BYTES", 1000)
    path = write("a.json", f'[{GOOD},\n{GOOD},\n{{"a": "{"x" * 5000}"}},\n{GOOD}]')
    assert "row 3 (line 2) is longer than" in read(path)[1]


@pytest.mark.parametrize("size", [5, 40, 400])
def test_lines_in_runs_of_any_size_are_the_same_rows(
    write: Write, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(json_rows, "RUN_BYTES", size)
    monkeypatch.setattr(json_rows, "MAX_ROW_BYTES", 500)
    lines = ["", GOOD, " \t", "", f"{GOOD}\r", "\r", '{"instruction": 1}', "{oops", GOOD, " "]
    content = "\n".join(lines).encode()
    found, problem = read(write("a.jsonl", b"\xef\xbb\xbf" + content))
    assert not problem
    assert [(row.number, row.line) for row in found] == [(1, 2), (2, 5), (3, 7), (4, 8), (5, 9)]
    assert [row.error is None for row in found] == [True, True, True, False, True]
    assert [content[: row.end].count(b"\n") for row in found] == [2, 5, 7, 8, 9]
    found, problem = read(write("b.jsonl", content + b"\n" + b'"' + b"x" * 500 + b'"\n' + content))
    assert [row.line for row in found] == [2, 5, 7, 8, 9]
    assert "line 11 is longer than" in problem
