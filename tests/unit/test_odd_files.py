"""Files in another encoding, without an ending, and columns that are nearly named."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from engine.cli.data_preview import preview_of
from engine.client import Refused
from engine.contract.dataset_spec import DatasetSpec, SourceSpec
from engine.formats import check_data, check_dataset, preview
from engine.formats.files import read_rows
from engine.formats.reading import open_dataset
from engine.formats.source import find

ROWS = [{"instruction": f"Größe {n} 😀", "output": f"„a {n}“"} for n in range(3000)]
LINES = "".join(f"{json.dumps(row, ensure_ascii=False)}\r\n" for row in ROWS)
TABLE = "instruction;output\n" + "".join(f"{r['instruction']};{r['output']}\n" for r in ROWS)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize(
    ("name", "text"),
    [("a.jsonl", LINES), ("a.json", json.dumps(ROWS)), ("a.csv", TABLE), ("a", TABLE)],
)
def test_a_file_in_utf_16_is_read(tmp_path: Path, name: str, text: str, encoding: str) -> None:
    path = tmp_path / name
    path.write_bytes(f"\ufeff{text}".encode(encoding))
    found = list(read_rows(find(path)))
    assert [row.value for row in found] == ROWS
    assert check_dataset(path, "auto", "sft") == []
    shown = preview(path)
    assert (shown["format"], shown["row_count"]) == ("alpaca", 3000)
    data = open_dataset(DatasetSpec(path=str(path)), "sft")
    assert [row for unit in data.units() for row, *_ in data.examples(unit)] == ROWS


def test_a_row_of_such_a_file_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f'{LINES}{{"instruction": "a"}}\n', "utf-16", newline="")
    (complaint,) = check_dataset(path, "auto", "sft")
    assert "row 3001 (line 3001): `output` is missing" in complaint.problem


@pytest.mark.skipif(sys.platform == "win32", reason="iconv is of other systems")
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_its_mark_is_named_and_helped(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(LINES.encode(encoding))
    (complaint,) = check_dataset(path, "auto", "sft")
    assert "a.jsonl is written in UTF-16 without the mark" in complaint.problem
    command = complaint.remedy.partition("folder: ")[2]
    subprocess.run(command, shell=True, cwd=tmp_path, check=True)
    assert [row.value for row in read_rows(find(tmp_path / "a-utf8.jsonl"))] == ROWS


@pytest.mark.parametrize(
    "head", [b"{\0\0\0\0\0\0\0", bytes(64), b'{"a\0": 1}', b"a\0b", b"\1\0\2\0\3\0"]
)
def test_what_only_holds_zero_bytes_is_no_utf_16(tmp_path: Path, head: bytes) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(head)
    (complaint,) = check_dataset(path, "auto", "sft")
    assert "UTF-16" not in complaint.problem


@pytest.mark.skipif(sys.platform == "win32", reason="iconv is of other systems")
def test_of_another_encoding_the_command_helps(tmp_path: Path) -> None:
    path = tmp_path / "my café.csv"
    path.write_bytes("instruction,output\nGröße,ä\n".encode("latin-1"))
    (complaint,) = check_dataset(path, "auto", "sft")
    assert "line 2 is not UTF-8 (byte 0xF6)" in complaint.problem
    assert complaint.remedy.startswith("Save the file as UTF-8. If it is LATIN1")
    command = complaint.remedy.partition("folder: ")[2]
    subprocess.run(command, shell=True, cwd=tmp_path, check=True)
    (row,) = read_rows(find(tmp_path / "my café-utf8.csv"))
    assert row.value == {"instruction": "Größe", "output": "ä"}


@pytest.mark.parametrize(
    ("encoding", "name"),
    [("latin-1", "Default"), ("utf-16-le", "Unicode"), ("utf-16-be", "BigEndianUnicode")],
)
def test_on_windows_the_command_is_one_of_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str, name: str
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    path = tmp_path / "a.csv"
    path.write_bytes("instruction,output\nGröße,ä\n".encode(encoding))
    (complaint,) = check_dataset(path, "auto", "sft")
    assert f"powershell -c \"gc 'a.csv' -Encoding {name} | sc 'a-utf8.csv'" in complaint.remedy


@pytest.mark.parametrize(
    ("text", "format"),
    [
        (LINES, "alpaca"), (json.dumps(ROWS[:5]), "alpaca"), (json.dumps(ROWS, indent=1), "alpaca"),
        (TABLE, "alpaca"), (TABLE.replace(";", "\t"), "alpaca"),
        ("Once, long ago, there was a king.\nHe had, as I know, a cat.\n", "text"),
        ("Once upon a time.\nThere was a king.\n", "text"), ("[1] Of kings.\nAnd so on.\n", "text"),
    ],
)  # fmt: skip
def test_a_file_without_an_ending_is_known_by_what_is_in_it(
    tmp_path: Path, text: str, format: str
) -> None:
    path = tmp_path / "data"
    path.write_bytes(text.encode())
    assert preview(path)["format"] == format


def test_what_is_no_text_is_refused_without_an_ending_too(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(b"\x7fELF\0\0")
    (complaint,) = check_dataset(path, "auto", "sft")
    assert "data is a program" in complaint.problem


@pytest.mark.parametrize(
    ("written", "meant"),
    [("Frog", "Frage"), ("frage", "Frage"), ("Nummer", ""), ("antwort", "")],
)
def test_of_a_column_that_is_nearly_there_it_is_asked(
    tmp_path: Path, written: str, meant: str
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"Frage": "Wo?", "Antwort": "Hier."}\n')
    columns = {"instruction": written, "output": "Antwort"}
    (complaint,) = check_data(DatasetSpec(path=str(path), columns=columns), "sft")
    assert complaint.patch == ({"dataset.columns.instruction": meant} if meant else {})
    hint = f"Did you mean `{meant}`? " if meant else ""
    assert complaint.remedy == f"{hint}It has `Frage`, `Antwort`."


def test_a_part_of_a_column_s_name_is_near_and_what_to_type_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("Ticket,Kundenfrage,Unsere Antwort\n1,Wo?,Hier.\n")
    with pytest.raises(Refused) as refused:
        preview_of(SourceSpec(path=str(path), columns={"instruction": "Frage"}))
    (complaint,) = refused.value.complaints
    assert "Did you mean `Kundenfrage`?" in complaint.remedy
    assert complaint.remedy.endswith("Here: --columns instruction=Kundenfrage")
