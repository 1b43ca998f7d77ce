"""Datasets that cannot be learnt from, each with what the answer has to name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

GOOD_ROW = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
GOOD = json.dumps(GOOD_ROW) + "\n"


class Bad(NamedTuple):
    """A file, and what the answer says of it."""

    file: str
    content: bytes | str | None
    """None makes no file."""
    says: str
    format: str = "auto"
    method: str = "sft"


def _messages(*turns: tuple[object, object]) -> str:
    rows = {"messages": [{"role": role, "content": content} for role, content in turns]}
    return json.dumps(rows) + "\n"


BAD_DATASETS: dict[str, Bad] = {
    "missing": Bad("data.jsonl", None, "data.jsonl"),
    "empty": Bad("data.jsonl", b"", "data.jsonl"),
    "empty json": Bad("data.json", b"", "data.json"),
    "empty csv": Bad("data.csv", b"", "data.csv"),
    "empty text": Bad("data.txt", b"", "data.txt", method="pretrain"),
    "white space": Bad("data.jsonl", " \n\n \n", "data.jsonl"),
    "binary": Bad("data.jsonl", bytes(range(256)) * 40, "data.jsonl"),
    "picture": Bad("data.txt", b"\x89PNG\r\n\x1a\n" + bytes(200), "data.txt", method="pretrain"),
    "compressed": Bad("data.jsonl", b"\x1f\x8b\x08\x00" + b"\x91" * 99, "data.jsonl"),
    "broken json at line 3": Bad("data.jsonl", GOOD * 2 + '{"messages": [\n' + GOOD, "line 3"),
    "half a line at the end": Bad("data.jsonl", GOOD * 4 + GOOD[:30], "line 5"),
    "broken json late": Bad("data.jsonl", GOOD * 2000 + "oops\n", "line 2001"),
    "truncated json": Bad("data.json", "[" + GOOD + "," + GOOD[:20], "data.json"),
    "nan": Bad("data.jsonl", GOOD * 2 + '{"messages": NaN}\n', "line 3"),
    "text that is nan": Bad("data.jsonl", '{"text": NaN}\n' * 3, "line 1", method="pretrain"),
    "one line of 50 MB": Bad("data.jsonl", b'{"text": "' + b"x" * 50_000_000, "line 1"),
    "utf-16 without its mark": Bad("data.jsonl", (GOOD * 3).encode("utf-16-le"), "data.jsonl"),
    "latin-1": Bad(
        "data.jsonl",
        (GOOD * 2).encode()
        + _messages(("user", "a"), ("assistant", "b")).encode()
        + '{"messages": [{"role": "user", "content": "für"}]}\n'.encode("latin-1"),
        "line 4",
    ),
    "no rows": Bad("data.json", "[]", "data.json"),
    "an object that is no list": Bad("data.json", '{"version": 3}', "data.json"),
    "rows that are numbers": Bad("data.jsonl", "1\n2\n3\n", "not objects"),
    "rows that are lists": Bad("data.json", "[[1, 2], [3]]", "data.json"),
    "header only": Bad("data.csv", "instruction,output\n", "data.csv"),
    "ragged csv": Bad("data.csv", "instruction,output\na,b\nc,d,e,f\n", "line 3"),
    "no known columns": Bad("data.jsonl", '{"colour": "red", "size": 3}\n' * 3, "data.jsonl"),
    "a column missing at line 4": Bad(
        "data.jsonl",
        '{"instruction": "a", "output": "b"}\n' * 3 + '{"instruction": "a"}\n',
        "line 4",
    ),
    "prompt without completion": Bad("data.jsonl", '{"prompt": "a"}\n' * 3, "no answers"),
    "content that is a number": Bad(
        "data.jsonl", GOOD * 3 + _messages(("user", "a"), ("assistant", 7)), "line 4"
    ),
    "unknown role": Bad(
        "data.jsonl", GOOD * 3 + _messages(("wizard", "a"), ("assistant", "b")), "line 4"
    ),
    "conversation without a turn": Bad("data.jsonl", GOOD * 3 + _messages(), "line 4"),
    "conversation without an answer": Bad(
        "data.jsonl", GOOD * 3 + _messages(("user", "a")), "line 4"
    ),
    "not that format": Bad("data.jsonl", GOOD * 3, "dataset.format", format="alpaca"),
    "chats to pretrain on": Bad("data.jsonl", GOOD * 3, "dataset", method="pretrain"),
    "preferences": Bad(
        "data.jsonl", '{"prompt": "a", "chosen": "b", "rejected": "c"}\n' * 3, "data.jsonl"
    ),
    "no parquet": Bad("data.parquet", b"PAR1 but not really", "data.parquet"),
    "unknown kind of file": Bad("data.docx", b"PK\x03\x04" + bytes(50), ".docx"),
    "one row and held-back rows": Bad("data.jsonl", GOOD, "dataset.eval_fraction"),
}


def write(folder: Path, bad: Bad) -> Path:
    """Write the dataset and give its path."""
    path = folder / bad.file
    if bad.content is not None:
        data = bad.content.encode() if isinstance(bad.content, str) else bad.content
        path.write_bytes(data)
    return path
