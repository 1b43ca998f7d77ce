"""What ``fettle data`` says, in words that can be typed behind it."""

from __future__ import annotations

import json
import shlex
from argparse import Namespace
from pathlib import Path
from typing import Any, cast

import pytest
from msgspec.structs import replace

from engine.cli import data, data_preview, flags, parser, training
from engine.cli.commands import run
from engine.cli.data_report import about_tokens
from engine.cli.data_sample import Wanted, as_seen, must_be_within, sample_of, told, wanted_row
from engine.cli.output import Exit, Output
from engine.cli.settings import apply
from engine.client import HostLost, Refused
from engine.contract.dataset_report import DatasetReport, Packing, RowFinding, SourceShare
from engine.contract.dataset_spec import DatasetSpec, SourceSpec
from engine.contract.messages import Complaint, ShowSamples
from engine.contract.row_places import FileRows
from engine.store.encoded_view import Sample
from tests.unit.test_row_places import REPORT

OUTPUT = Output(as_json=False)
TWO = [FileRows(name="a.jsonl", first=0), FileRows(name="b.jsonl", first=20)]


def text_of(**changes: Any) -> str:
    return "\n".join(about_tokens(replace(REPORT, **changes), "d", OUTPUT))


# ---------------------------------------------------------------- to be typed


@pytest.mark.parametrize(
    ("patch", "typed"),
    [
        ({"dataset.format": "preference"}, "--format preference"),
        ({"training.max_length": 704}, "--max-length 704"),
        ({"dataset.columns": {"instruction": "my question", "output": "a"}},
         "--columns 'instruction=my question' --columns output=a"),
        ({"dataset.roles.user": "kunde"}, "--roles user=kunde"),
        ({"dataset.fixes": ["drop_overlong"]}, """--set 'dataset.fixes=["drop_overlong"]'"""),
        ({"dataset.fixes": []}, "--set 'dataset.fixes=[]'"),
        ({"lora.trainable_tokens": ["<|a|>"]}, """--set 'lora.trainable_tokens=["<|a|>"]'"""),
        ({"dataset.skip_samples": None}, ""),
        ({}, ""),
    ],
)  # fmt: skip
def test_a_patch_is_what_is_typed(
    patch: dict[str, Any], typed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flags.sys, "platform", "linux")
    assert flags.of_data(patch) == typed


def test_in_a_shell_of_windows_other_quotes_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flags.sys, "platform", "win32")
    assert flags.of_data({"dataset.fixes": ["drop_empty"]}) == (
        '--set dataset.fixes=[\\"drop_empty\\"]'
    )
    assert flags.of_data({"dataset.columns.output": "my answer"}) == '--columns "output=my answer"'
    assert flags.of_data({"dataset.columns.output": "a&b"}) == '--columns "output=a&b"'


def test_what_is_typed_sets_what_was_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flags.sys, "platform", "linux")
    patch = {
        "dataset.fixes": ["drop_empty"], "dataset.format": "preference", "name": "a b",
        "training.packing": True, "training.max_length": 9,
    }  # fmt: skip
    raw: dict[str, Any] = {}
    for change in shlex.split(flags.of_spec(patch))[1::2]:
        assert not apply(raw, change)
    assert raw == {
        "dataset": {"fixes": ["drop_empty"], "format": "preference"}, "name": "a b",
        "training": {"packing": True, "max_length": 9},
    }  # fmt: skip


def test_every_way_that_a_finding_offers_is_there_to_be_typed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(flags.sys, "platform", "linux")
    cut = RowFinding(
        code="cut", severity="info", title="1 row is cut.", row_count=1, rows=[21],
        patch={"training.max_length": 704}, instead={"dataset.fixes": ["drop_overlong"]},
        instead_action="Leave out, not cut",
    )  # fmt: skip
    shown = text_of(findings=[cut], files=TWO, lines={21: 7})
    assert "  b.jsonl row 2 (line 7)" in shown
    assert "  Change it: --max-length 704" in shown
    assert """  Leave out, not cut: --set 'dataset.fixes=["drop_overlong"]'""" in shown


def test_rows_that_are_alike_are_called_by_their_files() -> None:
    alike = RowFinding(
        code="duplicates", severity="info", title="t", row_count=1, rows=[21], groups=[[3, 21]]
    )
    assert "  a.jsonl row 4, again as b.jsonl row 2" in text_of(findings=[alike], files=TWO)


def advised(complaint: Complaint, preview: dict[str, Any], **options: Any) -> str:
    arguments = Namespace(**{"method": None, "format": "auto"} | options)
    refused = data_preview.advised(Refused("no", [complaint]), preview, arguments)
    return refused.complaints[0].remedy


def test_a_refusal_says_what_to_type_here() -> None:
    mapping = {"instruction": "question", "output": "answer"}
    columns = Complaint(field="dataset.columns", problem="No.", remedy="Say which is which.")
    assert advised(columns, {"format": "unknown", "suggested": mapping}) == (
        "Say which is which. Here: --columns instruction=question --columns output=answer"
    )
    asked = {"dataset.format": "preference"}
    shape = Complaint(field="dataset.format", problem="No.", remedy="Choose.", patch=asked)
    assert advised(shape, {"format": "preference"}) == "Choose. Here: --format preference"
    plain = Complaint(field="dataset.path", problem="It is plain text.", remedy="Choose.")
    assert advised(plain, {"format": "text"}, method="sft").endswith("--method pretrain")
    assert advised(plain, {"format": "alpaca"}, method="pretrain").endswith("--method sft")
    assert advised(plain, {"format": "alpaca"}) == "Choose."
    model = Complaint(field="model.path", problem="There is none.", remedy="Choose.")
    for preview in ({"format": "text"}, {"format": "alpaca"}, {"format": "unknown"}):
        for method in ("sft", "pretrain"):
            assert advised(model, preview, method=method) == "Choose."


def test_of_a_mixture_nothing_is_guessed() -> None:
    complaint = Complaint(field="dataset.format", problem="No.", patch={"dataset.format": "text"})
    refused = Refused("no", [complaint])
    assert data_preview.advised(refused, None, Namespace()) is refused


@pytest.mark.parametrize(
    ("row", "options", "code"),
    [
        ({"instruction": "a b", "output": "c d"}, "", Exit.FINISHED),
        ({"instruction": "a b", "output": ""}, "", Exit.WOULD_DIE),
        ({"foo": "a b", "bar": "c d"}, "", Exit.WOULD_DIE),
        ({"foo": "a b", "bar": "c d"}, "--columns instruction=foo --columns output=bar",
         Exit.FINISHED),
        ({"prompt": "a", "chosen": "b", "rejected": "c"}, "", Exit.WOULD_DIE),
        ({"prompt": "a", "chosen": "b", "rejected": "c"}, "--format preference", Exit.FINISHED),
    ],
)  # fmt: skip
def test_the_exit_code_says_whether_a_run_can_be_made_of_it(
    row: dict[str, str], options: str, code: Exit, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n")
    assert run(["data", str(path), *options.split()]) == code
    told = capsys.readouterr().out
    assert ("With --model M it is shown" in told) == (code is Exit.FINISHED)
    assert "--format preference it does" not in told or not options


def test_of_a_mixture_there_is_no_preview_even_where_all_but_one_cannot_be_read(
    tmp_path: Path,
) -> None:
    rows = tmp_path / "a.jsonl"
    rows.write_text('{"instruction": "a", "output": "b"}\n' * 20)
    one, other = SourceSpec(path=str(rows)), SourceSpec(path=str(tmp_path / "none.jsonl"))
    assert data_preview.show_all(DatasetSpec(sources=[one, other]), OUTPUT) is None
    assert data_preview.show_all(DatasetSpec(sources=[other, one]), OUTPUT) is None
    alone = data_preview.show_all(DatasetSpec(path=str(rows)), OUTPUT)
    assert alone is not None
    assert alone["row_count"] == 20
    assert data_preview.show_all(DatasetSpec(path=other.path), OUTPUT) == {}


def test_a_spec_that_is_refused_says_what_to_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> Exit:
        patch = {"dataset.format": "preference"}
        raise Refused("no", [Complaint(field="dataset.format", problem="No.", patch=patch)])

    monkeypatch.setattr(training, "train", refuse)
    assert run(["train", str(tmp_path / "run.toml")]) == Exit.BAD_INPUT
    assert "dataset.format: No. Here: --set dataset.format=preference" in capsys.readouterr().err


# ---------------------------------------------------------------- figures


@pytest.mark.parametrize("is_packed", [False, True])
def test_the_way_that_the_run_goes_is_marked(is_packed: bool) -> None:
    one, many = (Packing(steps=steps, computed=90, waste=0.0) for steps in (9, 2))
    shown = text_of(padded=one, packed=many, is_packed=is_packed)
    (unpacked,) = [line for line in shown.splitlines() if "Unpacked" in line]
    (packed,) = [line for line in shown.splitlines() if "Packed" in line]
    used, other = (packed, unpacked) if is_packed else (unpacked, packed)
    assert used.endswith("(used)")
    assert other.endswith(f"with --set training.packing={'false' if is_packed else 'true'}")


def test_a_share_says_in_words_how_often_a_row_is_learnt() -> None:
    half = SourceShare(path="/d/a.jsonl", rows=20, trained=9, weight=0.5, epochs=0.3712)
    shown = text_of(sources=[half])
    assert "a row is learnt 0.37 times in the run, on average" in shown
    assert "epochs" not in shown


# ---------------------------------------------------------------- a row that is asked for


def test_a_row_is_a_number_or_a_file_and_a_number() -> None:
    assert wanted_row("12") == Wanted("", 12)
    assert wanted_row("x/a.jsonl:3") == Wanted("x/a.jsonl", 3)
    for text in ("0", "-1", "x", "a.jsonl:", ""):
        with pytest.raises(Refused) as refused:
            wanted_row(text)
        assert refused.value.complaints[0].field == "--row"


def test_a_row_that_is_not_there_is_refused_before_tokens_are_made() -> None:
    must_be_within(Wanted("", 20), 20, "a.jsonl")
    with pytest.raises(Refused) as refused:
        must_be_within(Wanted("", 99), 20, "a.jsonl")
    assert str(refused.value.complaints[0]) == (
        "--row: There is no row 99: a.jsonl has 20. Write a number from 1 to 20."
    )
    must_be_within(Wanted("b.jsonl", 99), 20, "a.jsonl")  # Of which file it is, others say.


def asked(*options: str) -> tuple[Namespace, Output]:
    arguments = parser.build().parse_args(["data", *options])
    return arguments, OUTPUT


def test_no_host_is_asked_for_a_row_that_the_file_has_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connected() -> None:
        raise HostLost("A host is asked.")

    monkeypatch.setattr(data, "connect", connected)
    rows = tmp_path / "a.jsonl"
    rows.write_text('{"instruction": "a", "output": "b"}\n' * 20)
    with pytest.raises(Refused) as refused:
        data.data(*asked(str(rows), "--model", str(tmp_path), "--row", "21"))
    assert refused.value.complaints[0].field == "--row"
    spec = tmp_path / "run.toml"
    head = f'name = "t"\n[model]\npath = "{tmp_path}"\n[lora]\nr = 4\n'
    spec.write_text(
        f'{head}[[dataset.sources]]\npath = "{rows}"\n'
        '[[dataset.sources]]\npath = "nobody/nothing-of-the-kind"\n'
    )
    with pytest.raises(HostLost):
        data.data(*asked(str(spec), "--row", "25"))


def test_a_path_is_told_as_it_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jsonl").write_text('{"instruction": "a", "output": "b"}\n')
    data.data(asked("./a.jsonl")[0], Output(as_json=True))
    assert json.loads(capsys.readouterr().out)["path"] == "./a.jsonl"


class Client:
    """Shows the row that is asked for."""

    def __init__(self) -> None:
        self.rows: list[int | None] = []

    def request(self, request: ShowSamples) -> dict[str, Any]:
        self.rows.append(request.row)
        return {"samples": [], "reason": "none"}


def row_shown(report: DatasetReport, wanted: str) -> int | None:
    client = Client()
    sample_of(cast("Any", client), report, wanted_row(wanted), Namespace(), "d")
    return client.rows[-1]


def test_a_row_is_found_by_any_path_of_its_file() -> None:
    report = replace(REPORT, files=TWO)
    for written in ("b.jsonl:3", "./b.jsonl:3", "C:\\d\\b.jsonl:3", "/x/y/b.jsonl:3", "23"):
        assert row_shown(report, written) == 22
    with pytest.raises(Refused) as refused:
        row_shown(report, "c.jsonl:3")
    assert "no file c.jsonl" in refused.value.complaints[0].problem


def test_a_row_of_a_file_is_refused_where_rows_are_not_known_by_files() -> None:
    with pytest.raises(Refused) as refused:
        row_shown(REPORT, "b.jsonl:12")
    (complaint,) = refused.value.complaints
    assert "b.jsonl is not known" in complaint.problem
    assert "from 1 to 30" in complaint.remedy
    assert row_shown(REPORT, "12") == 11


def test_a_row_that_a_fix_leaves_out_says_by_which() -> None:
    done = RowFinding(
        code="fixed_drop_empty", severity="info", title="t", row_count=1, rows=[4], is_done=True
    )
    report = replace(REPORT, left_out_rows=[4], findings=[done])
    sample = Sample(row=4, place=4, length=9, targets=3, text="")
    assert as_seen(sample, report, OUTPUT).startswith(
        "Row 5: 9 tokens. It is left out by the fix drop_empty; without it 3 would be trained on."
    )
    assert told(sample, report)["left_out_by"] == ["drop_empty"]
    assert "left_out_by" not in told(replace(sample, row=5), report)
    assert as_seen(replace(sample, row=5), report, OUTPUT).startswith(
        "Row 6: 9 tokens, 3 trained on."
    )


def test_where_nothing_is_trained_on_no_sample_says_otherwise() -> None:
    sample = Sample(row=4, place=4, length=9, targets=3, text="")
    assert "trained on" not in as_seen(sample, replace(REPORT, train=0), OUTPUT)
