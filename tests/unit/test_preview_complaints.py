"""A look at a file tells what a run would be refused for, wherever in the file that stands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.cli import data, flags, parser
from engine.cli.output import Exit, Output
from engine.contract.dataset_spec import DatasetSpec
from engine.contract.messages import Complaint
from engine.formats import check_data, preview, previewing

ROWS = [json.dumps({"instruction": f"q {n}", "output": f"a {n}"}) for n in range(60)]


def with_row(text: str) -> str:
    return "\n".join([*ROWS[:54], text, *ROWS[55:]])


def looked(path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[Exit, str]:
    code = data.data(parser.build().parse_args(["data", str(path)]), Output(as_json=False))
    return code, capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.jsonl", "\n".join(ROWS)[:-4], "line 60 is not valid JSON: it ends in the middle"),
        ("a.jsonl", with_row("{oops"), "line 55 is not valid JSON"),
        ("a.jsonl", with_row('{"instruction": "\udce4", "output": "b"}'), "line 55 is not UTF-8"),
        ("a.jsonl", with_row('{"instruction": NaN}'), "line 55 is not valid JSON: NaN"),
        ("a.jsonl", with_row('{"instruction": "b"}'), "row 55 (line 55): `output` is missing"),
        ("a.csv", "instruction,output\n" + "a,b\n" * 54 + "a,b,c\n", "line 56 has 3 values"),
        ("a.json", "[" + ",\n".join(ROWS)[:-4], "line 60 is not valid JSON: it ends in the middle"),
    ],
)  # fmt: skip
def test_damage_behind_the_first_rows_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: str, told: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content.encode(errors="surrogateescape"))
    (complaint,) = preview(path)["complaints"]
    assert f"{name}, {told}" in complaint["problem"]
    code, out = looked(path, capsys)
    assert code == Exit.WOULD_DIE
    assert f"error: {name}, {told}" in out.split("\n\n")[-2], "below the rows"
    assert ("not counted, since it cannot be read to its end." in out) == (name == "a.json")


def test_a_sound_file_has_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(ROWS))
    assert preview(path)["complaints"] == []
    assert looked(path, capsys)[0] == Exit.FINISHED
    assert preview(path, "sharegpt")["complaints"], "it does not look like that"


def test_only_a_look_holds_no_row_back(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(ROWS[0])
    assert preview(path)["complaints"] == []


def test_a_row_that_cannot_be_read_is_shown_as_it_stands_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f'{ROWS[0]}\n{{"instruction": NaN}}\n')
    assert '\n{"instruction": NaN}\n' in looked(path, capsys)[1]
    table = tmp_path / "a.csv"
    table.write_text("instruction;output\na;b\na;b;c\n")
    assert "\na;b;c\n" in looked(table, capsys)[1]


@pytest.mark.parametrize(
    ("content", "why", "remedy"),
    [
        (",\n".join(ROWS), "are not valid JSON: a comma follows", "[ … ] around them"),
        ("\r".join(ROWS), "lines end in a carriage return alone (CR)", "ordinary line ends"),
    ],
)
def test_where_no_row_can_be_read_the_true_cause_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, why: str, remedy: str
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(content.encode())
    found = preview(path)
    assert found["format"] == "unknown"
    assert "is not valid JSON" in found["reason"]
    (complaint,) = found["complaints"]
    assert why in complaint["problem"]
    assert remedy in complaint["remedy"]
    code, out = looked(path, capsys)
    assert (code, "--columns" in out) == (Exit.WOULD_DIE, False)


def test_one_row_holds_a_run_back_and_says_what_to_set_and_no_look(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(ROWS[0])
    dataset = DatasetSpec(path=str(path), eval_fraction=0.1)
    (complaint,) = check_data(dataset, "sft")
    assert complaint.patch == {"dataset.eval_fraction": 0.0}
    assert flags.of_spec(complaint.patch) == "--set dataset.eval_fraction=0.0"
    assert check_data(dataset, "sft", is_for_run=False) == []


def test_only_what_is_learnt_from_alone_is_told_to_be_wasted(tmp_path: Path) -> None:
    """Beside other datasets its empty answers may be few."""
    path = tmp_path / "a.jsonl"
    path.write_text('{"instruction": "Go.", "output": ""}\n' * 3)
    assert preview(path)["complaints"] == []
    (told,) = preview(path, is_alone=True)["complaints"]
    assert told["problem"].startswith("3 of 3 rows have an empty answer, the first is row 1")


def test_a_look_goes_further_into_a_file_only_so_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the second in which a dropped file's rows are to be there."""
    path = tmp_path / "a.jsonl"
    path.write_text(with_row("{"))
    given: list[float] = []

    def noting(*what: Any, seconds: float, **more: Any) -> list[Complaint]:
        given.append(seconds)
        return check_data(*what, seconds=seconds, **more)

    monkeypatch.setattr(previewing, "check_data", noting)
    assert preview(path)["complaints"]
    assert 0 < given[0] <= 0.5
