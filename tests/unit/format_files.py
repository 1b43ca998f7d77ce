"""Small files of every format, in every container, with everything odd that files have."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

ASKED = {"role": "user", "content": "Wie heißt du?"}
SAID = {"role": "assistant", "content": "Ann 🦉"}
Row = dict[str, Any]

ROWS: dict[str, Row] = {
    "alpaca": {"instruction": "Nenne einen Vogel.", "input": "", "output": "Zaunkönig"},
    "sharegpt": {"conversations": [{"from": "human", "value": "Hi"},
                                   {"from": "gpt", "value": "你好"}]},
    "messages": {"messages": [ASKED, SAID]},
    "prompt_completion": {"prompt": "2 + 2 =", "completion": " 4"},
    "preference": {"prompt": "Hi", "chosen": "Hello, you.", "rejected": "No."},
    "unpaired_preference": {"prompt": "Hi", "completion": "Hello.", "label": True},
    "prompt_only": {"prompt": "Why is the sky blue?"},
    "text": {"text": "Ein Fluss fließt ins Meer."},
}  # fmt: skip
NEEDED = {
    "alpaca": "output", "sharegpt": "conversations", "messages": "messages",
    "prompt_completion": "completion", "preference": "chosen", "unpaired_preference": "label",
    "prompt_only": "prompt", "text": "text",
}  # fmt: skip
"""A column without which a row is none."""
NO_ANSWERS = "questions and no answers"


class Case(NamedTuple):
    """A file and what reading it comes to."""

    name: str
    format: str
    content: bytes
    rows: int = 0
    """Rows that it has; 0 if it is refused."""
    words: str = ""
    """Of the refusal, which names the file too."""

    @property
    def method(self) -> str:
        return "pretrain" if self.format == "text" else "sft"


def cases() -> Iterator[Case]:
    """All of them; names are unique."""
    for format, row in ROWS.items():
        for ending, write in CONTAINERS.items():
            yield _sound(f"plain-{format}.{ending}", format, write([row] * 3), 3)
        for name, oddity in ODDITIES.items():
            yield oddity(name, format, row)
    yield from _broken_files()


def _sound(name: str, format: str, content: bytes, rows: int) -> Case:
    if format == "prompt_only":
        return Case(name, format, content, 0, NO_ANSWERS)
    return Case(name, format, content, rows)


# ---------------------------------------------------------------- containers


def lines(rows: list[Row], end: str = "\n") -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + end for row in rows).encode()


def listed(rows: list[Row], before_end: str = "") -> bytes:
    inside = ",\n".join(json.dumps(row) for row in rows)
    return f"[\n{inside}{before_end}\n]\n".encode()


def separated(rows: list[Row], delimiter: str = ",", end: str = "\n") -> bytes:
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter, lineterminator=end)
    writer.writerow(rows[0])
    for row in rows:
        writer.writerow([v if isinstance(v, str) else json.dumps(v) for v in row.values()])
    return file.getvalue().encode()


def parquet(rows: list[Row]) -> bytes:
    import pyarrow
    from pyarrow import parquet as writer

    sink = io.BytesIO()
    writer.write_table(pyarrow.Table.from_pylist(rows), sink)
    return sink.getvalue()


def arrow(rows: list[Row]) -> bytes:
    import pyarrow

    table = pyarrow.Table.from_pylist(rows)
    sink = io.BytesIO()
    with pyarrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def zstd(content: bytes) -> bytes:
    import pyarrow

    packed: bytes = pyarrow.compress(content, "zstd", asbytes=True)
    return packed


CONTAINERS: dict[str, Callable[[list[Row]], bytes]] = {
    "jsonl": lines,
    "json": listed,
    "csv": separated,
    "tsv": lambda rows: separated(rows, "\t"),
    "parquet": parquet,
    "arrow": arrow,
    "jsonl.gz": lambda rows: gzip.compress(lines(rows)),
    "json.zst": lambda rows: zstd(listed(rows)),
}

# ---------------------------------------------------------------- what is odd


def _bom(name: str, format: str, row: Row) -> Case:
    return _sound(f"{name}-{format}.jsonl", format, b"\xef\xbb\xbf" + lines([row] * 2), 2)


def _crlf(name: str, format: str, row: Row) -> Case:
    return _sound(f"{name}-{format}.csv", format, separated([row] * 2, end="\r\n"), 2)


def _escapes(name: str, format: str, row: Row) -> Case:
    content = "\n".join(json.dumps(row) for _ in range(2)).encode()
    return _sound(f"{name}-{format}.ndjson", format, content, 2)


def _single(name: str, format: str, row: Row) -> Case:
    return _sound(f"{name}-{format}.json", format, listed([row]), 1)


def _mixed(name: str, format: str, row: Row) -> Case:
    more = {**row, "id": 7, "tags": ["a", None], "meta": {"deep": {"er": [1.5, {}]}}}
    return _sound(f"{name}-{format}.jsonl", format, lines([row, more, row]), 3)


def _twice(name: str, format: str, row: Row) -> Case:
    """A key that comes twice: the last one counts, as everywhere."""
    column = NEEDED[format]
    line = json.dumps(row)
    doubled = f'{{"{column}": null, {line[1:]}'
    return _sound(f"{name}-{format}.jsonl", format, f"{doubled}\n{line}\n".encode(), 2)


def _null(name: str, format: str, row: Row) -> Case:
    return _wrong(name, format, row, None, "null")


def _number(name: str, format: str, row: Row) -> Case:
    return _wrong(name, format, row, 5, "a number")


def _empty(name: str, format: str, row: Row) -> Case:
    return _wrong(name, format, row, [], "")


def _wrong(name: str, format: str, row: Row, value: Any, words: str) -> Case:
    content = listed([row, {**row, NEEDED[format]: value}, row])
    if format == "prompt_only":
        words = NO_ANSWERS
    return Case(f"{name}-{format}.json", format, content, 0, words or "line 3")


def _truncated(name: str, format: str, row: Row) -> Case:
    words = NO_ANSWERS if format == "prompt_only" else "line 3"
    return Case(f"{name}-{format}.jsonl", format, lines([row] * 3)[:-5], 0, words)


def _trailing(name: str, format: str, row: Row) -> Case:
    content = listed([row] * 2, before_end=",")
    words = NO_ANSWERS if format == "prompt_only" else "line 4 is not valid JSON: a comma"
    return Case(f"{name}-{format}.json", format, content, 0, words)


def _deep(name: str, format: str, row: Row) -> Case:
    nest = "[" * 100_000 + "]" * 100_000
    line = json.dumps(row)
    content = f'{line}\n{{"x": {nest}, {line[1:]}\n'.encode()
    words = NO_ANSWERS if format == "prompt_only" else "nested too deeply"
    return Case(f"{name}-{format}.jsonl", format, content, 0, words)


ODDITIES: dict[str, Callable[[str, str, Row], Case]] = {
    "bom": _bom, "crlf": _crlf, "escapes": _escapes, "single": _single, "mixed": _mixed,
    "twice": _twice, "null": _null, "number": _number, "empty": _empty, "truncated": _truncated,
    "trailing": _trailing, "deep": _deep,
}  # fmt: skip


def _broken_files() -> Iterator[Case]:
    good = lines([ROWS["alpaca"]])
    for name, content, words in (
        ("nothing.jsonl", b"", "is empty"),
        ("blank.jsonl", b"\n \n\r\n", "no rows"),
        ("none.json", b"[]", "no rows"),
        ("header.csv", b"instruction,output\n", "no rows"),
        ("latin.jsonl", 'x\n{"a": "é"}'.encode("latin-1"), "line"),
        ("wide.csv", "a,b\n1,2\n".encode("utf-32"), "UTF-32 (line 1)"),
        ("zero.jsonl", good + b"\0\0", "zero byte in line 2"),
        ("ragged.csv", b"instruction,output\na,b\na,b,c\n", "line 3 has 3 values"),
        ("quote.csv", b'instruction,output\n"a,b\n', "line 2"),
        ("twin.csv", b"output,output\na,b\n", "line 1 names the column 'output' twice"),
        ("half.jsonl.gz", gzip.compress(good * 50)[:60], "gzip"),
        ("not.parquet", b"PAR1" * 9, "Parquet"),
        ("not.arrow", b"ARROW1" * 9, "Arrow"),
        ("nan.jsonl", b'{"instruction": "a", "output": NaN}\n', "line 1"),
        ("half-pair.jsonl", b'{"instruction": "\\ud83d", "output": "b"}\n', "line 1"),
        ("other.jsonl", b'{"Frage": "a", "Antwort": "b"}\n', "`Frage`, `Antwort`"),
        ("numbers.jsonl", b"1\n2\n", "not objects"),
        ("texts.json", b'["a", "b"]', "not objects"),
        ("object.json", b'{"rows": []}', "rows inside `rows`"),
        ("picture.jsonl", b"\x89PNG\r\n\x1a\n\0\0", "zero byte in line 3"),
    ):
        yield Case(name, "alpaca", content, 0, words)
