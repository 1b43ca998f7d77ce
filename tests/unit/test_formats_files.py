"""Files of every kind are read, and every way to be no dataset gives a sentence with its place."""

from __future__ import annotations

import gzip
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.formats import (
    DatasetError,
    bad_rows,
    check_dataset,
    fingerprint,
    preview,
    read_examples,
)
from engine.formats import source as sources
from engine.formats.bad_rows import MAX_KINDS
from engine.formats.files import read_rows
from engine.formats.text_rows import PIECE, layout
from tests.allowance import is_within

DATA = Path(__file__).parents[1] / "data" / "formats"
GOOD = '{"instruction": "a", "input": "", "output": "b"}'
LONG = f'{{"instruction": "{"a" * 450}", "output": "b"}}'
LIMIT_SECONDS = 2.0
Write = Callable[[str, str | bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a file and gives its path."""

    def do(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return do


def said(path: str | Path, method: str = "sft", format: str = "auto") -> list[str]:
    """The complaints about a dataset, within the time allowed."""
    start = time.monotonic()
    complaints = check_dataset(path, format, method)
    assert is_within(time.monotonic() - start, LIMIT_SECONDS)
    assert all(c.problem and c.remedy for c in complaints)
    fields = ("dataset.path", "dataset.format", "dataset.columns")
    assert all(c.field in fields for c in complaints)
    return [str(c) for c in complaints]


def numbers(path: Path) -> list[tuple[int, int | None]]:
    return [(row.number, row.line) for row in read_rows(sources.find(path))]


# ---------------------------------------------------------------- files that are fine


@pytest.mark.parametrize(
    ("name", "content", "lines"),
    [
        ("a.json", f"[\n{GOOD},\n\n{GOOD}]", [2, 4]),
        ("a.json", f"[{GOOD},{GOOD}]", [1, 1]),
        ("a.json", f"{GOOD}\n{GOOD}\n", [1, 2]),
        ("a.jsonl", f"\n{GOOD}\r\n\r\n{GOOD}", [2, 4]),
        ("a.ndjson", b"\xef\xbb\xbf" + GOOD.encode(), [1]),
        ("a.json", b"\xef\xbb\xbf[" + GOOD.encode() + b"]", [1]),
        ("a.csv", 'instruction,output\r\na,"b\r\nc"\r\n\r\nd,e\r\n', [2, 5]),
        ("blank.csv", "\n \ninstruction,output\na,b\n\nc,d\n", [4, 6]),
        ("a.tsv", "instruction\toutput\na\tb, c\n", [2]),
        ("a.CSV", "instruction;output\n1,5;2,5\n", [2]),
    ],
)
def test_rows_know_their_lines(write: Write, name: str, content: str, lines: list[int]) -> None:
    path = write(name, content)
    assert numbers(path) == list(enumerate(lines, start=1))
    assert said(path) == []
    assert len(list(read_examples(path, "auto", "sft"))) == len(lines)


def test_parquet(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    table = pa.Table.from_pylist(
        [{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}]
        * 600
    )
    path = tmp_path / "a.parquet"
    pq.write_table(table, path, row_group_size=100)
    assert said(path) == []
    assert len(list(read_examples(path, "auto", "sft"))) == 600
    shown = preview(path)
    assert (shown["format"], shown["row_count"], len(shown["rows"])) == ("messages", 600, 5)
    path.write_bytes(path.read_bytes()[:-20])
    assert "no whole Parquet file" in said(path)[0]


@pytest.mark.parametrize(
    ("text", "how"),
    [
        ("a\n\n\nb", "gaps"),
        ("a\r\n \r\n\r\nb", "gaps"),
        ("a\n\nb\n\n\n", "whole"),
        ("a short line\n" * 50, "whole"),
        ("x" * 300 + "\n" + "y" * 300, "lines"),
        ("x" * 300 + "\n\n" + "y" * 300, "whole"),
        ("x" * 900, "whole"),
    ],
)
def test_layout_of_text(text: str, how: str) -> None:
    assert layout(text.encode()) == how


def test_layout_is_quick_on_blank_space() -> None:
    start = time.monotonic()
    layout(b"x" + b"\n" * (1 << 20))
    layout((b"x\n" + b" " * 1000) * 1000)
    assert is_within(time.monotonic() - start, 1.0)


def test_a_text_without_gaps_is_cut_where_lines_end(write: Write) -> None:
    paragraph = "A line of a book.\n" * 100 + "\n"
    path = write("book.txt", paragraph * 200)
    texts = [row.value["text"] for row in read_rows(sources.find(path))]
    assert len(texts) > 2
    assert all(PIECE <= len(text) < PIECE + 2 * len(paragraph) for text in texts[:-1])
    assert all(text.startswith("A line") and text.endswith("book.") for text in texts)
    assert sum(text.count("book") for text in texts) == 200 * 100


# ---------------------------------------------------------------- files that are not


BROKEN: list[tuple[str, str | bytes, str]] = [
    ("empty.json", "", "is empty (0 bytes)"),
    ("blank.jsonl", "\n \n\n", "has no rows"),
    ("none.json", "[]", "has no rows"),
    ("header.csv", "instruction,output\n", "has no rows"),
    ("blank.csv", "\n\n", "has no rows"),
    ("binary.json", bytes(range(256)) * 40, "binary"),
    ("binary.txt", b"text\nmore\n\0\0", "a zero byte in line 3"),
    ("line.jsonl", f"{GOOD}\n{GOOD}\n{GOOD[:-1]}\n{GOOD}", "line 3 is not valid JSON"),
    ("list.json", f'[\n{GOOD},\n{{"instruction": "a" "output": "b"}}]', "line 3 is not valid JSON"),
    ("cut.json", f"[\n{GOOD},\n{GOOD}\n", "line 3 is not valid JSON: it ends in the middle"),
    ("emoji.json", '[\n{"instruction": "\\ud83d\\ude00",', "it ends in the middle"),
    ("comma.json", f"[\n{GOOD},\n]", "line 3 is not valid JSON: a comma"),
    ("two.json", f"[{GOOD}]\n[{GOOD}]", "line 2 is not valid JSON: something follows"),
    ("quotes.jsonl", "{'instruction': 'a'}", "not in double quotes"),
    ("on_one.jsonl", f"{GOOD}\n{GOOD} {GOOD}\n", "line 2 is not valid JSON: something follows"),
    # As many values as lines, and yet not one on each.
    ("shared.jsonl", f"{GOOD} {GOOD}\n{{\n{GOOD[1:]}\n", "line 1 is not valid JSON: something"),
    ("begun.jsonl", f'{GOOD} {GOOD}\n{{"a": {{}}\n, {GOOD[1:]}\n', "line 1 is not valid JSON"),
    ("ended.jsonl", f'{GOOD} {GOOD}\n{{"a":\n{{}}, {GOOD[1:]}\n', "line 1 is not valid JSON"),
    ("feed.jsonl", '{"instruction": "a\n", "output": "b"}', "line 1 is not valid JSON"),
    ("escape.json", '[\n{"instruction": "\\ud800 a", "output": "b"}]', "line 2 is not valid JSON"),
    ("huge.jsonl", '{"instruction": 1e999}', "a number is too large"),
    ("huge.jsonl", f'{GOOD}\n{{"a": "{"1e999" * 50}", "n": -1e999}}', "line 2, byte 266 is not"),
    ("digits.jsonl", f'{GOOD}\n{{"a": {"1" * 400}, "n": {"1" * 5000}}}', "line 2, byte 414 is not"),
    ("deep.json", "[" * 100_000, "nested too deeply"),
    ("deep.jsonl", '{"a":' * 100_000, "nested too deeply"),
    ("tenths.jsonl", f'{GOOD}\n{{"a": 0.{"1" * 5000}, "n": 1e999}}', "line 2, byte 5016 is not"),
    ("halves.jsonl", f'{GOOD}\n{{"a": 1{"0" * 400}.5}}', "line 2, byte 7 is not valid JSON: a num"),
    ("deep.jsonl", f'{GOOD}\n{{"a": "{"[" * 99}", "b": {"[" * 9999}\n', "line 2 is nested too"),
    ("nan.json", f'[\n{GOOD},\n{{"instruction": NaN}}]', "line 3 is not valid JSON: NaN"),
    ("inf.jsonl", f'{GOOD}\n{{"instruction": -Infinity}}', "line 2 is not valid JSON: Infinity"),
    ("object.json", '{\n"data": [\n1]}', "one object, not a list"),
    ("cut.json", f'{{\n"data": [\n{GOOD},\n', "line 3 is not valid JSON: it ends in the middle"),
    ("lists.json", f'{{"train": [{GOOD}], "test": [{GOOD}]}}', "several lists: `train`, `test`"),
    ("by_column.json", '{"a": ["b", "c"], "d": [1, 2]}', "column by column: `a` is a list of 2"),
    ("scalar.json", "42", "a single value, not a list"),
    ("numbers.jsonl", "1\n2", "not objects with named fields"),
    ("columns.json", '[{"foo": "a", "bar": "b"}]', "`foo`, `bar`"),
    (
        "null.json",
        f'[\n{GOOD},\n{{"instruction": "a", "output": null}}]',
        "row 2 (line 3)",
    ),
    ("type.jsonl", f'{GOOD}\n{{"instruction": ["a"], "output": "b"}}', "row 2 (line 2): `instruct"),
    ("utf32.json", f"[{GOOD}]".encode("utf-32"), "written in UTF-32"),
    ("utf16.json", f"[{GOOD}]".encode("utf-16")[:-1], "is not UTF-16 all through"),
    ("utf32.json", f"[{GOOD}]".encode("utf-32"), "written in UTF-32"),
    ("latin.jsonl", f"{GOOD}\n{{'café'}}".encode("latin-1"), "line 2 is not UTF-8 (byte 0xE9)"),
    ("latin.json", f'[\n{GOOD},\n"café"]'.encode("latin-1"), "line 3 is not UTF-8"),
    ("latin.csv", "instruction,output\na,b\ncafé,c".encode("latin-1"), "line 3 is not UTF-8"),
    ("ragged.csv", "instruction,output\na,b\na,b,c\n", "line 3 has 3 values"),
    ("quote.csv", 'instruction,output\na,b\n"a,b\n', "starts in line 3"),
    ("twice.csv", "output,output\na,b\n", "line 1 names the column 'output' twice"),
    ("late.csv", "\n\noutput,output\na,b\n", "line 3 names the column"),
    ("return.csv", b"\r\x01", "line 1 is not valid CSV"),
    ("mac.csv", "instruction,output\ra,b\r", "line 1 is not valid CSV: it has a carriage return"),
    ("inner.csv", "\ninstruction,output\na,b\na\rb,c\n", "starts in line 4"),
    ("open.csv", '\n\ninstruction,output\na,b\n"a,b\n', "starts in line 5"),
    ("cut.parquet", b"PAR1" + b"\0" * 50, "no whole Parquet file"),
    ("text.parquet", "hello", "no whole Parquet file"),
    ("parquet.json", b"PAR1" + b"\0" * 50, "is a Parquet file, whatever"),
    ("a.xlsx", "x", "ends in .xlsx, which is not read"),
    ("noending", "x", "is plain text"),
    ("a.jsonl.gz", b"\x1f\x8b", "no whole gzip archive"),
    ("b.jsonl.gz", b"nothing packed", "no whole gzip archive"),
    ("c.jsonl.gz", gzip.compress(GOOD.encode() * 900)[:-20], "no whole gzip archive"),
    ("d.jsonl.zst", b"nothing packed", "no whole zstd archive"),
    ("e.jsonl.gz", gzip.compress(GOOD.encode() + b"\n{"), "line 2 is not valid JSON"),
    ("f.parquet.gz", gzip.compress(b"x"), "is packed twice"),
    ("g.jsonl.xz", b"x", "compressed, which is not read yet"),
    ("h.arrow", b"ARROW1" + b"\0" * 50, "no whole Arrow file"),
    ("gz.json", b"\x1f\x8bxx", "a gzip archive, whatever"),
    ("dpo.json", '[{"prompt": "a", "chosen": "b", "rejected": "c"}]', "preference data"),
    ("plain.txt", "Some text.", "plain text, which has no answers"),
]


@pytest.mark.parametrize(("name", "content", "words"), BROKEN, ids=[case[0] for case in BROKEN])
def test_a_broken_file_gives_a_sentence(
    write: Write, name: str, content: str | bytes, words: str
) -> None:
    path = write(name, content)
    complaints = said(path)
    assert len(complaints) == 1
    assert words in complaints[0]
    assert name in complaints[0]
    with pytest.raises(DatasetError):
        list(read_examples(path, "auto", "sft"))


# ---------------------------------------------------------------- packed and columnar files


def _packed(path: Path, packing: str) -> Path:
    target = path.with_name(path.name + packing)
    if packing == ".gz":
        target.write_bytes(gzip.compress(path.read_bytes()))
        return target
    pyarrow = pytest.importorskip("pyarrow")
    with pyarrow.CompressedOutputStream(str(target), "zstd") as stream:
        stream.write(path.read_bytes())
    return target


@pytest.mark.parametrize("packing", [".gz", ".zst"])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", f"{GOOD}\n" * 900),
        ("a.json", f"[{','.join([LONG] * 4000)}]"),
        ("a.csv", "instruction,output\n" + 'a,"b\nc"\n' * 50),
        ("a.json", f"[\n{GOOD}\n]"),
    ],
)
def test_a_packed_file_has_the_rows_of_the_plain_one(
    write: Write, name: str, content: str, packing: str
) -> None:
    plain = write(name, content)
    packed = _packed(plain, packing)
    assert said(packed) == []
    assert list(read_examples(packed, "auto", "sft")) == list(read_examples(plain, "auto", "sft"))
    shown, same = preview(packed), preview(plain)
    assert (shown["format"], shown["rows"]) == (same["format"], same["rows"])
    assert shown["row_count"] in (same["row_count"], None)
    assert fingerprint(packed) != fingerprint(plain)


@pytest.mark.parametrize("kind", ["file", "stream"])
def test_arrow_files_are_read(tmp_path: Path, kind: str) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    rows = [{"instruction": f"say {i}", "output": "well"} for i in range(700)]
    table = pyarrow.Table.from_pylist(rows)
    path = tmp_path / "rows.arrow"
    make = pyarrow.ipc.new_file if kind == "file" else pyarrow.ipc.new_stream
    with make(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=300)
    assert [row.value for row in read_rows(sources.find(path))] == rows
    assert said(path) == []
    assert preview(path)["format"] == "alpaca"


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.txt"])
def test_a_line_of_50_mb_is_refused_at_once(tmp_path: Path, name: str) -> None:
    start, end = {
        "a.jsonl": ('{"instruction": "', '", "output": "b"}'),
        "a.json": ('[{"instruction": "', '", "output": "b"}]'),
        "a.csv": ("instruction,output\n", ",b"),
        "a.txt": ("", ""),
    }[name]
    path = tmp_path / name
    with path.open("w") as file:
        file.write(start)
        file.write("x" * 50_000_000)
        file.write(end)
    complaints = said(path, "pretrain" if name == "a.txt" else "sft")
    assert len(complaints) == 1
    assert "longer than 16 MiB" in complaints[0]


def test_a_missing_file_and_a_pipe(tmp_path: Path) -> None:
    assert "There is no file" in said(tmp_path / "nope.json")[0]
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.json")
        assert "pipe" in said(tmp_path / "pipe.json")[0]


@pytest.mark.parametrize("path", ["a\0b.json", "a" * 5000 + ".json", "\udcff.json", "~nobody1/x"])
def test_impossible_paths(path: str) -> None:
    assert len(said(path)) == 1


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read everything")
def test_a_forbidden_file(write: Write) -> None:
    path = write("a.json", f"[{GOOD}]")
    path.chmod(0)
    assert "permission denied" in said(path)[0]


def test_parquet_without_pyarrow(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    assert "package pyarrow" in said(write("a.parquet", b"PAR1" * 9))[0]


# ---------------------------------------------------------------- what is said


def test_the_first_few_bad_rows_are_named_and_the_others_counted(write: Write) -> None:
    rows = [GOOD, '{"instruction": "a", "output": null}', "{broken", GOOD] * 50
    nothing, broken = said(write("a.jsonl", "\n".join(rows)))
    named = "2, 6, 10, 14, 18 and 45 others"
    assert f"a.jsonl, rows {named} (lines {named}): `output` is null" in nothing
    assert "a.jsonl, lines 3, 7, 11, 15, 19 and 45 others are not valid JSON: " in broken


def test_what_is_wrong_in_many_ways_is_told_of_a_few(write: Write) -> None:
    rows = [json.dumps({"instruction": "a", f"o{n}": "b"}) for n in range(20)]
    twice = ["{broken"] * 2
    complaints = said(write("a.jsonl", "\n".join([GOOD, *twice, *rows])))
    assert len(complaints) == MAX_KINDS
    assert "lines 2, 3 and more are not" in complaints[0], "the others were not looked for"


@pytest.mark.parametrize("many", [5, 20, 3000])
def test_rows_with_the_same_mistake_are_told_in_one_sentence(write: Write, many: int) -> None:
    (complaint,) = said(write("a.jsonl", "\n".join([GOOD, *many * ['{"instruction": "a"}']])))
    assert f"a.jsonl, rows 2 to {1 + many} (lines 2 to {1 + many}): " in complaint


def test_rows_that_nobody_had_time_to_count_are_told_as_more(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bad_rows, "COUNTED_SECONDS", -1.0)
    (complaint,) = said(write("a.jsonl", "\n".join([GOOD, *3000 * ['{"instruction": "a"}']])))
    assert "a.jsonl, rows 2 to 6 and more (lines 2 to 6 and more): " in complaint


def test_a_long_line_is_told_with_the_byte(write: Write) -> None:
    rows = ", ".join([GOOD] * 50)
    (cut,) = said(write("a.json", f"[{rows}"))
    assert f"a.json, line 1, byte {len(rows) + 2} is not valid JSON: it ends in the middle." in cut
    assert "copy the whole file again" in cut
    (broken,) = said(write("b.json", f"[{rows}, nothing]"))
    assert f"line 1, byte {len(rows) + 5} is not valid JSON" in broken


def test_rows_of_two_shapes_are_told_apart(write: Write) -> None:
    other = (
        '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}'
    )
    (complaint,) = said(write("a.jsonl", "\n".join([GOOD, GOOD, other])))
    assert "row 3 (line 3)" in complaint
    assert "looks like messages" in complaint


def test_a_wrong_format_in_the_spec_names_the_right_one(write: Write) -> None:
    complaints = check_dataset(write("a.json", f"[{GOOD}]"), "sharegpt", "sft")
    assert [c.field for c in complaints] == ["dataset.format"]
    assert "alpaca" in complaints[0].remedy


@pytest.mark.parametrize(("format", "method"), [("text", "sft"), ("alpaca", "pretrain")])
def test_a_format_must_suit_the_method(write: Write, format: str, method: str) -> None:
    complaints = check_dataset(write("a.json", f"[{GOOD}]"), format, method)
    assert [c.field for c in complaints] == ["dataset.format"]


def test_a_single_row_cannot_be_held_back(write: Write) -> None:
    path = write("a.json", f"[{GOOD}]")
    assert check_dataset(path, "auto", "sft", eval_fraction=0.0) == []
    (complaint,) = check_dataset(path, "auto", "sft", eval_fraction=0.05)
    assert complaint.field == "dataset.eval_fraction"


def test_a_large_file_is_checked_in_time(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text((GOOD + "\n") * 1_500_000)
    assert said(path) == []


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    suffix=st.sampled_from([".json", ".jsonl", ".csv", ".txt", ".json.gz", ".jsonl.gz"]),
    content=st.one_of(
        st.binary(max_size=200),
        st.text(max_size=200).map(str.encode),
        st.text(alphabet='[]{}",:\\un01\n rie', max_size=200).map(str.encode),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.text(max_size=8),
            lambda inner: (
                st.lists(inner, max_size=4)
                | st.dictionaries(
                    st.sampled_from(
                        ["instruction", "output", "messages", "role", "content", "text"]
                    ),
                    inner,
                )
            ),
            max_leaves=12,
        ).map(lambda value: json.dumps([value, value]).encode()),
    ),
    method=st.sampled_from(["sft", "pretrain"]),
)
def test_no_content_breaks_the_check(
    tmp_path: Path, suffix: str, content: bytes, method: str
) -> None:
    path = tmp_path / ("any" + suffix)
    path.write_bytes(gzip.compress(content) if suffix.endswith(".gz") else content)
    complaints = check_dataset(path, "auto", method)
    try:
        count = len(list(read_examples(path, "auto", method)))
    except DatasetError:
        assert complaints
    else:
        assert count > 0
        assert complaints == []


# ---------------------------------------------------------------- preview and fingerprint


def test_a_preview_shows_rows_and_examples() -> None:
    shown = preview(DATA / "alpaca.json", limit=2)
    assert shown["format"] == "alpaca"
    assert shown["confidence"] == 1.0
    assert shown["row_count"] == 3
    assert shown["bytes"] == (DATA / "alpaca.json").stat().st_size
    assert [row["instruction"] for row in shown["rows"]] == ["Name a bird.", "Translate."]
    assert shown["examples"][0] == {
        "kind": "conversation",
        "messages": [
            {"role": "user", "content": "Name a bird."},
            {"role": "assistant", "content": "A wren."},
        ],
    }


def test_a_preview_shows_what_does_not_fit(write: Write) -> None:
    shown = preview(
        write("a.jsonl", f'{GOOD}\n{{"instruction": "a", "output": 1}}\n{{oops\n{GOOD}')
    )
    kinds = [example["kind"] for example in shown["examples"]]
    assert kinds == ["conversation", "error", "error", "conversation"]
    assert "line 3" in shown["examples"][2]["problem"]
    unknown = preview(write("b.jsonl", '{"foo": 1}'))
    assert (unknown["format"], unknown["confidence"]) == ("unknown", 0.0)
    assert "foo" in unknown["reason"]
    assert preview(DATA / "dpo.json")["format"] == "preference"


def test_a_preview_in_a_chosen_format_says_how_well_it_fits() -> None:
    shown = preview(DATA / "alpaca.json", "sharegpt")
    assert (shown["format"], shown["confidence"]) == ("sharegpt", 0.0)
    assert {example["kind"] for example in shown["examples"]} == {"error"}
    assert preview(DATA / "alpaca.json", "alpaca")["confidence"] == 1.0


def test_a_preview_is_small_and_quick(write: Write) -> None:
    row: dict[str, Any] = {"text": "x" * 100_000, "more": [list(range(500))] * 30}
    path = write("a.json", json.dumps([row] * 200))
    start = time.monotonic()
    shown = preview(path, limit=5)
    assert is_within(time.monotonic() - start, 0.9), (
        "who drops a file sees its rows within a second"
    )
    assert len(json.dumps(shown)) < 100_000
    assert shown["row_count"] is None
    with pytest.raises(DatasetError):
        preview(write("empty.json", ""))


def test_a_fingerprint_follows_the_content(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    one, same = write("a.jsonl", GOOD), write("b.jsonl", GOOD)
    other = write("c.jsonl", GOOD + " ")
    assert fingerprint(one) == fingerprint(same) != fingerprint(other)
    monkeypatch.setattr("engine.formats.fingerprints._HASH_WHOLE_BYTES", 10)
    monkeypatch.setattr("engine.formats.fingerprints._HASH_BLOCK", 4)
    assert fingerprint(one).startswith("sampled-sha256:")
    assert fingerprint(one) == fingerprint(same) != fingerprint(other)
