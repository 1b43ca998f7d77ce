"""Data with something wrong in it: whatever would end or waste a run keeps it from starting, all
else is told with the very rows, and each fix leaves nothing to find. No file is ever changed."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from engine.contract.dataset_fixes import FIXES
from engine.contract.dataset_report import DatasetReport, RowFinding
from engine.contract.messages import Decision, Finding, Inspected, Job, ResumeCertificate
from engine.host.checks import complaints_about
from engine.worker import inspect_job, suspects, train_job
from engine.worker.failures import JobError
from tests.worker.conftest import Heard, make_spec, run_here
from tests.worker.poisons import POISONS, Poison, good, put

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

Models = Callable[[str], Path]
LENGTH = 128
REFUSED = [name for name, poison in POISONS.items() if not poison.code]
TOLD = [name for name, poison in POISONS.items() if poison.code]


def write(folder: Path, content: Any) -> Path:
    path = folder / "rows.jsonl"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text("\n".join(json.dumps(row) for row in content), encoding="utf-8")
    return path


def spec_for(model: Path, data: Path, *fixes: str) -> dict[str, Any]:
    spec = make_spec(model, data, max_length=LENGTH)
    spec["dataset"]["fixes"] = list(fixes)
    return spec


def inspected(spec: dict[str, Any], report: Heard) -> DatasetReport:
    found: Inspected = inspect_job.answer(Job(kind="inspect", spec=spec), report)
    assert found.report is not None, found.complaint
    return found.report


def finding(report: DatasetReport, code: str) -> RowFinding | None:
    return next((each for each in report.findings if each.code == code), None)


def words_of(found: RowFinding) -> str:
    return f"{found.title} {found.cause} {found.remedy}"


def test_there_are_enough_of_them() -> None:
    assert len(POISONS) >= 30


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_cannot_be_learnt_from_is_refused(
    name: str, models: Models, tmp_path: Path
) -> None:
    poison = POISONS[name]
    content, _ = poison.make()
    path = write(tmp_path, content)
    before = path.read_bytes()
    spec, complaints = complaints_about(spec_for(models("llama"), path))
    assert spec is None
    assert any(re.search(poison.says, str(complaint)) for complaint in complaints), complaints
    assert all(complaint.remedy for complaint in complaints)
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", TOLD)
def test_what_is_wrong_is_told_with_its_rows_and_fixed(
    name: str, models: Models, tmp_path: Path, report: Heard
) -> None:
    poison = POISONS[name]
    content, rows = poison.make()
    path = write(tmp_path, content)
    before = path.read_bytes()
    spec = spec_for(models("llama"), path)
    first = inspected(spec, report)
    found = finding(first, poison.code)
    assert found is not None
    assert found.severity == poison.severity
    assert re.search(poison.says, words_of(found))
    if poison.severity == "error":
        with pytest.raises(JobError, match=re.escape(found.title)) as raised:
            run_here(tmp_path / "run", spec, report)
        assert raised.value.remedy
    elif rows:
        assert (found.rows, found.row_count) == (rows, len(rows))
    else:
        assert found.rows
    if poison.fix:
        _must_fix(poison, rows, first, spec, report)
    assert path.read_bytes() == before


def _must_fix(
    poison: Poison, rows: list[int], first: DatasetReport, spec: dict[str, Any], report: Heard
) -> None:
    """The fix that is offered leaves nothing to find, and is undone by taking it out again."""
    told = finding(first, poison.code)
    assert told is not None
    if poison.fix != "drop_overlong":  # A longer max_length is what is offered at one click.
        assert told.patch == {"dataset.fixes": [poison.fix]}
    report.records.clear()
    spec["dataset"]["fixes"] = [poison.fix]
    again = inspected(spec, report)
    assert finding(again, poison.code) is None
    done = finding(again, f"fixed_{poison.fix}")
    assert done is not None
    assert (done.is_done, done.patch) == (True, {"dataset.fixes": []})
    if rows:
        assert (done.rows, done.row_count) == (rows, len(rows))
    dropped = 0 if poison.fix == "reencode" else done.row_count
    assert (again.left_out, again.samples) == (dropped, first.samples)
    assert again.train + again.held_back == first.samples - dropped
    (decided,) = [each for each in report.of(Decision) if poison.fix in each.reason]
    assert f"{done.row_count} row" in decided.title
    assert re.search(r"Rows? \d", decided.reason)
    spec["dataset"]["fixes"] = []
    assert inspected(spec, report).findings == first.findings


AT_ONCE = {
    "empty_answers_everywhere", "invisible_answers_everywhere", "invalid_utf8", "only_questions",
    "system_turn_only", "number_columns", "nested_nulls", "null_answers", "unknown_roles",
    "no_rows", "one_row", "binary",
}  # fmt: skip
"""No run is made of these: their rows alone say so."""
BY_THE_WORKER = {"all_masked", "cut_off_everywhere"}
"""A run of these fails before its first step: only their tokens say so."""


def test_what_is_refused_at_once_and_what_by_the_worker_before_the_first_step(
    models: Models, tmp_path: Path, report: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_job, "load_model", _no_weights)
    at_once, by_worker = set(), set()
    for name, poison in POISONS.items():
        folder = tmp_path / name
        folder.mkdir()
        spec = spec_for(models("llama"), write(folder, poison.make()[0]))
        if complaints := complaints_about(spec)[1]:
            at_once.add(name)
            assert all(each.problem and each.remedy for each in complaints)
        elif any(found.severity == "error" for found in inspected(spec, report).findings):
            by_worker.add(name)
            with pytest.raises(JobError) as raised:
                run_here(folder / "run", spec, report)
            assert raised.value.cause
            assert raised.value.remedy
            assert not list((folder / "run").glob("[co]*"))  # No checkpoints, no output.
    assert (at_once, by_worker) == (AT_ONCE, BY_THE_WORKER)


@pytest.mark.parametrize("fixes", [[], ["drop_empty"]])
def test_whoever_looks_at_data_that_teaches_nothing_is_shown_it(
    fixes: list[str], models: Models, tmp_path: Path
) -> None:
    path = write(tmp_path, POISONS["empty_answers_everywhere"].make()[0])
    spec = spec_for(models("llama"), path, *fixes)
    (complaint,) = complaints_about(spec)[1]
    assert complaint.field == ("dataset.fixes" if fixes else "dataset.path")
    assert "row 1 (line 1) of rows.jsonl" in complaint.problem
    assert not complaint.patch
    assert complaints_about(spec, is_for_run=False)[1] == []
    spec["dataset"]["loss_on"] = "everything"
    assert complaints_about(spec)[1] == []


def test_where_some_answers_are_there_the_fix_is_offered_at_once(
    models: Models, tmp_path: Path
) -> None:
    rows = [{**good(number), "output": " " if number > 3 else "well"} for number in range(12)]
    spec = spec_for(models("llama"), write(tmp_path, rows))
    (complaint,) = complaints_about(spec)[1]
    assert complaint.patch == {"dataset.fixes": ["drop_empty"]}
    spec["dataset"]["fixes"] = ["drop_empty"]
    assert complaints_about(spec)[1] == []


@pytest.mark.parametrize("fix", [name for name in FIXES if name.startswith("drop_")])
def test_what_rows_a_fix_leaves_is_for_the_worker_to_say(
    fix: str, models: Models, tmp_path: Path
) -> None:
    empty = {"instruction": "say", "output": ""}
    path = write(tmp_path, [empty] * 30 + [good(number) for number in range(20)])
    assert complaints_about(spec_for(models("llama"), path, fix))[1] == []
    assert complaints_about(spec_for(models("llama"), path, "reencode"))[1]
    path = write(tmp_path, [empty] * 30)  # Whatever is left of these is empty.
    assert complaints_about(spec_for(models("llama"), path, fix))[1]


def test_where_a_fix_takes_the_empty_ones_out_the_rest_is_trained_on(
    models: Models, tmp_path: Path, report: Heard
) -> None:
    empty = {"instruction": "say", "output": ""}
    path = write(tmp_path, [empty] * 30 + [good(number) for number in range(20)])
    spec = spec_for(models("llama"), path, "drop_duplicates")
    spec["training"]["max_steps"] = 1
    assert complaints_about(spec)[1] == []
    assert run_here(tmp_path / "run", spec, report).outcome == "finished"


def test_a_button_says_what_its_own_fix_does(models: Models, tmp_path: Path, report: Heard) -> None:
    """The fixes of a patch are in an order of their own: what is new need not be the last."""
    rows = [{**good(number), "output": " " if number > 3 else "well"} for number in range(12)]
    spec = spec_for(models("llama"), write(tmp_path, rows), "drop_duplicates")
    found = finding(inspected(spec, report), "nothing_to_train_on")
    assert found is not None
    assert found.patch == {"dataset.fixes": ["drop_empty", "drop_duplicates"]}
    assert found.action == "Leave them out"


def test_good_rows_are_not_suspected(models: Models, tmp_path: Path, report: Heard) -> None:
    path = write(tmp_path, [good(number) for number in range(30)])
    found = inspected(spec_for(models("llama"), path), report)
    assert found.findings == []


# ---------------------------------------------------------------- what is wrong with the model


Change = Callable[[dict[str, Any], Any], None]


def changed_model(models: Models, folder: Path, change: Change) -> Path:
    """A model whose weights are changed, by name of the tensor."""
    shutil.copytree(models("llama"), folder)
    weights = load_file(folder / "model.safetensors")
    change(weights, AutoTokenizer.from_pretrained(folder))
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


def _no_weights(*_: Any, **__: Any) -> None:
    raise AssertionError("The weights are loaded though the data cannot be learnt from.")


def test_tokens_without_a_row_end_the_run_before_its_weights_are_loaded(
    models: Models, tmp_path: Path, report: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(models("llama"), folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["zebra"])
    tokenizer.save_pretrained(folder)
    rows, bad = put({"instruction": "say", "output": "a zebra is there"})
    spec = spec_for(folder, write(tmp_path, rows))
    found = finding(inspected(spec, report), "ids_out_of_range")
    assert found is not None
    assert (found.severity, found.rows) == ("error", bad)
    monkeypatch.setattr(train_job, "load_model", _no_weights)
    with pytest.raises(JobError, match=r"row 8 \(line 8\) of rows\.jsonl") as raised:
        run_here(tmp_path / "run", spec, report)
    assert raised.value.remedy


def test_padding_beyond_the_embedding_takes_another_token(
    models: Models, tmp_path: Path, report: Heard
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(models("llama"), folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"pad_token": "<|new_pad|>"})
    assert tokenizer.pad_token_id >= 600
    tokenizer.save_pretrained(folder)
    spec = spec_for(folder, write(tmp_path, [good(number) for number in range(12)]))
    spec["training"]["max_steps"] = 1
    assert run_here(tmp_path / "run", spec, report).outcome == "finished"
    assert any("padded with" in each.title for each in report.of(Decision))


def test_tokens_that_were_never_learnt_are_told_with_rows_and_remedy(
    models: Models, tmp_path: Path, report: Heard
) -> None:
    def change(weights: dict[str, Any], tokenizer: Any) -> None:
        row = tokenizer.convert_tokens_to_ids("<|start_header_id|>")
        weights["model.embed_tokens.weight"][row] = torch.zeros(32)

    folder = changed_model(models, tmp_path / "model", change)
    spec = spec_for(folder, write(tmp_path, [good(number) for number in range(12)]))
    found = finding(inspected(spec, report), "untrained_tokens")
    assert found is not None
    assert found.rows == list(range(12))
    assert "<|start_header_id|>" in found.title
    assert found.patch == {"lora.trainable_tokens": ["<|start_header_id|>"]}
    spec["lora"]["trainable_tokens"] = ["<|start_header_id|>"]
    assert finding(inspected(spec, report), "untrained_tokens") is None


def test_a_broken_row_ends_the_run_before_its_weights_are_loaded(
    models: Models, tmp_path: Path, report: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(weights: dict[str, Any], tokenizer: Any) -> None:
        row = tokenizer.convert_tokens_to_ids("<|start_header_id|>")
        weights["model.embed_tokens.weight"][row, 3] = float("nan")

    folder = changed_model(models, tmp_path / "model", change)
    spec = spec_for(folder, write(tmp_path, [good(number) for number in range(12)]))
    found = inspected(spec, report).findings[0]
    assert (found.severity, found.code) == ("error", "nothing_to_train_on")
    assert "<|start_header_id|>" in found.title
    monkeypatch.setattr(train_job, "load_model", _no_weights)
    with pytest.raises(JobError, match="start_header_id"):
        run_here(tmp_path / "run", spec, report)


def test_a_model_without_a_template_gets_a_plain_one(
    models: Models, tmp_path: Path, report: Heard
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(models("llama"), folder)
    (folder / "chat_template.jinja").unlink()
    spec = spec_for(folder, write(tmp_path, [good(number) for number in range(12)]))
    found = inspected(spec, report)
    assert found.train > 0
    assert any("template" in each.title for each in report.of(Decision))


# ---------------------------------------------------------------- fixes


def test_fixes_are_not_made_tokens_of_anew(models: Models, tmp_path: Path, report: Heard) -> None:
    path = write(tmp_path, put(good(0), good(1))[0])
    model = models("llama")
    first = inspected(spec_for(model, path), report)
    again = inspected(spec_for(model, path, "drop_duplicates"), report)
    assert (first.is_kept, again.is_kept) == (False, True)
    assert first.data == again.data
    assert again.left_out_rows == [7, 8]


def test_fixes_that_leave_nothing_are_a_complaint(
    models: Models, tmp_path: Path, report: Heard
) -> None:
    rows = [{**good(number), "output": " "} for number in range(9)]
    spec = spec_for(models("llama"), write(tmp_path, rows), "drop_empty")
    found = inspect_job.answer(Job(kind="inspect", spec=spec), report)
    assert found.complaint is not None
    assert found.complaint.field == "dataset.fixes"
    with pytest.raises(JobError, match="leave nothing"):
        run_here(tmp_path / "run", spec, report)


def test_several_fixes_share_their_rows(models: Models, tmp_path: Path, report: Heard) -> None:
    empty = {"instruction": "say", "output": " "}
    path = write(tmp_path, put(good(0), empty, empty)[0])
    spec = spec_for(models("llama"), path, "drop_duplicates", "drop_empty")
    found = inspected(spec, report)
    done = {each.code: each.rows for each in found.findings if each.is_done}
    assert done == {"fixed_drop_empty": [8, 9], "fixed_drop_duplicates": [7]}
    assert found.left_out == 3


def test_any_sample_is_one_that_no_fix_leaves_out(
    models: Models, tmp_path: Path, report: Heard
) -> None:
    rows, _ = put(*[{"instruction": f"say {number}", "output": ""} for number in range(5)])
    path = write(tmp_path, rows)
    whole = inspected(spec_for(models("llama"), path), report)
    assert list(whole.kept_places) == list(range(25))
    assert "random" not in whole.picks
    left = inspected(spec_for(models("llama"), path, "drop_empty"), report)
    assert left.kept_places == [*range(7), *range(12, 25)]


def test_a_run_of_copies_says_so(models: Models, tmp_path: Path, report: Heard) -> None:
    path = write(tmp_path, [good(0)] * 9 + [good(n) for n in range(1, 5)])
    spec = spec_for(models("llama"), path)
    spec["training"].update(max_steps=1)
    run_here(tmp_path / "run", spec, report)
    (told,) = [each for each in report.of(Finding) if each.code == "mostly_copies"]
    assert told.title == "8 of 13 rows are the same as an earlier one."
    spec["dataset"]["fixes"] = ["drop_duplicates"]
    again = Heard()
    run_here(tmp_path / "again", spec, again)
    again.close()
    assert "mostly_copies" not in [each.code for each in again.of(Finding)]


def test_a_run_of_one_answer_says_so(models: Models, tmp_path: Path, report: Heard) -> None:
    path = write(tmp_path, [{**good(n), "output": "So."} for n in range(12)])
    spec = spec_for(models("llama"), path)
    spec["training"].update(max_steps=1)
    run_here(tmp_path / "run", spec, report)
    (told,) = [each for each in report.of(Finding) if each.code == "same_answers"]
    assert told.title == "12 of 12 rows have the same answer."


@pytest.mark.parametrize(
    ("answer", "kind", "fix"),
    [
        ("NaN", suspects.PLACEHOLDERS, "drop_placeholders"),
        (None, suspects.ECHOES, "drop_echoes"),
    ],
)
def test_a_run_of_odd_answers_says_so(
    answer: str | None, kind: str, fix: str, models: Models, tmp_path: Path, report: Heard
) -> None:
    bad = [
        {
            "instruction": f"Tell me all of number {n}",
            "output": answer or f"Tell me all of number {n}",
        }
        for n in range(9)
    ]
    spec = spec_for(models("llama"), write(tmp_path, [*bad, good(1), good(2)]))
    spec["training"].update(max_steps=1)
    run_here(tmp_path / "run", spec, report)
    (told,) = [each for each in report.of(Finding) if each.code == f"mostly_{kind}"]
    assert told.title.startswith("9 rows have")
    assert told.title.endswith(" for an answer, of 11.")
    assert f'dataset.fixes = ["{fix}"]' in told.remedy
    spec["dataset"]["fixes"] = [fix]
    again = Heard()
    run_here(tmp_path / "again", spec, again)
    again.close()
    assert not [each for each in again.of(Finding) if each.code.startswith("mostly_")]


def test_a_resume_with_other_fixes_is_named(models: Models, tmp_path: Path, report: Heard) -> None:
    path = write(tmp_path, put(good(0), good(1))[0])
    spec = spec_for(models("llama"), path)
    spec["training"].update(max_steps=2, save_steps=1)
    run_here(tmp_path / "run", spec, report)
    (saved, *_) = sorted((tmp_path / "run" / "checkpoints").iterdir())
    spec["dataset"]["fixes"] = ["drop_duplicates"]
    with pytest.raises(JobError, match="With these settings the data is another"):
        run_here(tmp_path / "run", spec, report, checkpoint=str(saved))
    (certificate,) = report.of(ResumeCertificate)
    (data,) = [line for line in certificate.lines if line.subject == "data"]
    assert "since dataset.fixes changed" in data.sentence


def test_where_all_answers_are_empty_no_fix_is_offered_that_leaves_nothing(
    models: Models, tmp_path: Path, report: Heard
) -> None:
    path = write(tmp_path, [{"instruction": f"Say {n}", "output": ""} for n in range(20)])
    spec = spec_for(models("llama"), path)
    told = [found for found in inspected(spec, report).findings if "empty answer" in found.title]
    assert len(told) == 1
    assert (told[0].severity, told[0].row_count) == ("error", 20)
    assert not any(found.patch for found in told)
    assert any("choose the column" in found.remedy for found in told)
    with pytest.raises(JobError, match="empty answer") as raised:
        run_here(tmp_path / "run", spec, report)
    assert not raised.value.patch
