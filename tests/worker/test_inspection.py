"""A dataset is looked over: figures, and findings that name their rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from engine.contract.dataset_report import DatasetReport, RowFinding
from engine.contract.messages import Job
from engine.contract.spec import ModelSpec
from engine.worker import inspect_job, large
from engine.worker.data_findings import proposed_length
from engine.worker.inspection import histogram
from tests.worker.conftest import Heard, make_spec

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

GOOD = [{"instruction": f"say {i}", "output": f"well then {i}"} for i in range(20)]
Inspect = Callable[..., DatasetReport]


@pytest.fixture
def inspect(models: Callable[[str], Path], tmp_path: Path, report: Heard) -> Inspect:
    """Looks over rows."""

    def look(rows: Sequence[Any], family: str = "llama", **changes: Any) -> DatasetReport:
        path = tmp_path / "rows.jsonl"
        path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
        method, fraction = changes.pop("method", "sft"), changes.pop("eval_fraction", 0.1)
        spec = {**make_spec(models(family), path, **changes), "method": method}
        spec["dataset"]["eval_fraction"] = fraction
        found = inspect_job.answer(Job(kind="inspect", spec=spec), report)
        assert found.report is not None, found.complaint
        return found.report

    return look


def of(report: DatasetReport, code: str) -> RowFinding:
    (finding,) = [finding for finding in report.findings if finding.code == code]
    return finding


# ---------------------------------------------------------------- figures


def test_counts_add_up(inspect: Inspect) -> None:
    report = inspect(GOOD)
    assert (report.rows, report.samples, report.train, report.held_back) == (20, 20, 18, 2)
    assert 0 < report.trained_tokens < report.tokens
    assert report.shortest <= report.median <= report.longest
    assert sum(report.counts) == 20
    assert len(report.edges) == len(report.counts) + 1
    assert report.findings == []
    assert report.cut == report.duplicates == 0


@pytest.mark.parametrize(("family", "attention"), [("llama", "eager"), ("gemma", "auto")])
def test_the_figures_are_those_of_the_run(
    family: str, attention: str, models: Callable[[str], Path], chats: Path, report: Heard,
    tmp_path: Path,
) -> None:  # fmt: skip
    from engine.contract.messages import Step
    from tests.worker.conftest import run_here

    spec = make_spec(models(family), chats, max_steps=-1, num_train_epochs=1.0)
    spec["model"]["attn_implementation"] = attention
    found = inspect_job.answer(Job(kind="inspect", spec=spec), report).report
    assert found is not None
    assert found.padded is not None
    run_here(tmp_path / "run", spec, report)
    steps = report.of(Step)
    assert len(steps) == found.padded.steps
    assert sum(step.tokens for step in steps) == found.tokens
    assert sum(step.padded_tokens for step in steps) == found.padded.computed


@pytest.mark.parametrize("attention", ["auto", "eager"])
def test_packing_is_foretold_as_it_comes(
    attention: str, models: Callable[[str], Path], chats: Path, report: Heard, tmp_path: Path
) -> None:
    from engine.contract.messages import Step
    from tests.worker.conftest import run_here

    spec = make_spec(
        models("llama"), chats, max_steps=-1, num_train_epochs=1.0, max_length=256, packing=True
    )
    spec["model"]["attn_implementation"] = attention
    found = inspect_job.answer(Job(kind="inspect", spec=spec), report).report
    assert found is not None
    assert found.packed is not None
    assert found.padded is not None
    if attention == "eager":
        assert 0 < found.packed.waste < found.padded.waste
    else:
        assert found.packed.waste == found.padded.waste == 0
    run_here(tmp_path / "run", spec, report)
    steps = report.of(Step)
    assert len(steps) == found.packed.steps < found.padded.steps
    assert sum(step.padded_tokens for step in steps) == found.packed.computed


def test_pretraining_is_counted_in_blocks(inspect: Inspect) -> None:
    rows = [{"text": "the river ran over stones " * 9}] * 3 + [{"text": "  "}]
    report = inspect(rows, method="pretrain", max_length=32)
    assert (report.rows, report.samples) == (4, 3)
    assert report.packed is None
    assert report.cut == 0
    assert (of(report, "blank").row_count, of(report, "blank").rows) == (1, [3])
    assert of(report, "blank").remedy
    assert report.trained_tokens == report.tokens - report.train


def test_documents_that_are_all_blank_are_told_as_such(inspect: Inspect) -> None:
    report = inspect([{"text": " \u200b"}] * 4, method="pretrain", max_length=32)
    nothing = of(report, "nothing_to_train_on")
    assert nothing.cause == "None of the 4 documents has text that can be seen."
    assert "max_length" not in nothing.remedy


def test_a_histogram_has_every_sample_once() -> None:
    edges, counts = histogram(np.array([0, 1, 5, 99, 400, 5000]), np.ones(6, np.int64), 400)
    assert sum(counts) == 6
    assert edges[0] == 0
    assert edges[-1] > 400
    assert counts[-1] == 2
    assert histogram(np.zeros(0, np.int64), np.zeros(0, np.int64), 400) == ([], [])


def test_a_proposed_length_leaves_nearly_all_whole() -> None:
    lengths = [100] * 99 + [5000]
    assert proposed_length(lengths) == 128
    assert proposed_length([64]) == 64


def test_the_most_telling_samples_are_picked(inspect: Inspect) -> None:
    long = {"instruction": "say", "output": "well " * 300}
    report = inspect([*GOOD, long, {"instruction": "q " * 300, "output": "a"}], max_length=64)
    assert report.picks["longest"][0] in (20, 21)
    assert report.picks["most_cut"][0] == 20
    assert report.picks["untaught"] == [21]
    assert report.picks["shortest"][0] not in (20, 21)


# ---------------------------------------------------------------- findings


def test_rows_that_lose_their_end_are_named_with_a_length_that_helps(inspect: Inspect) -> None:
    long = {"instruction": "say", "output": "well " * 300}
    report = inspect([*GOOD, long], max_length=64)
    finding = of(report, "cut")
    assert (finding.severity, finding.row_count, finding.rows) == ("warning", 1, [20])
    better = finding.patch["training.max_length"]
    assert inspect([*GOOD, long], max_length=better).cut == 0


def test_an_answer_beyond_the_cut_is_told_from_an_empty_one(inspect: Inspect) -> None:
    rows = [*GOOD, {"instruction": "q " * 300, "output": "a"}]
    finding = of(inspect(rows, max_length=64), "answer_beyond_cut")
    assert finding.rows == [20]
    assert "max_length" in finding.remedy


def test_what_is_longer_than_the_model_was_made_for_is_told(inspect: Inspect) -> None:
    long = {"instruction": "say", "output": "bar " * 2400}
    report = inspect([*GOOD, long], max_length=4096)
    assert report.context == 2048
    finding = of(report, "beyond_context")
    assert (finding.severity, finding.rows) == ("warning", [20])
    assert finding.patch == {"training.max_length": 2048}
    assert "beyond_context" not in [each.code for each in inspect([*GOOD, long]).findings]
    assert "beyond_context" not in [each.code for each in inspect(GOOD, max_length=4096).findings]
    asked = {"instruction": "why " * 5000, "output": "so"}
    remedy = of(inspect([*GOOD, asked], max_length=4096), "answer_beyond_cut").remedy
    assert remedy == "The model was made for 2048 tokens: shorten those questions."


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ({"instruction": "say", "output": "  "}, "empty_answers"),
        ({"instruction": "say <|eot_id|> now", "output": "well"}, "control_tokens"),
        ({"instruction": "say", "output": "it\N{REPLACEMENT CHARACTER}s"}, "broken_text"),
        ({"instruction": "say", "output": "cafÃ© itâ€™s"}, "mojibake"),
    ],
)
def test_odd_rows_are_named(inspect: Inspect, row: dict[str, str], code: str) -> None:
    finding = of(inspect([*GOOD[:7], row, *GOOD[7:]]), code)
    assert (finding.severity, finding.rows, finding.row_count) == ("warning", [7], 1)
    assert finding.cause
    assert finding.remedy


def test_turns_in_an_unusual_order_are_named(inspect: Inspect) -> None:
    def talk(*roles: str) -> dict[str, Any]:
        return {"messages": [{"role": role, "content": f"{role} says so"} for role in roles]}

    rows = [talk("user", "assistant")] * 5 + [
        talk("user", "user", "assistant"), talk("assistant", "user", "assistant"),
        talk("system", "user", "assistant", "tool", "assistant", "user", "assistant"),
    ]  # fmt: skip
    assert of(inspect(rows), "role_order").rows == [5, 6]


def test_copies_are_counted_and_many_are_a_warning(inspect: Inspect) -> None:
    few = of(inspect([*GOOD, GOOD[3], GOOD[3]]), "duplicates")
    assert (few.severity, few.rows) == ("info", [20, 21])
    many = inspect([*GOOD[:2]] * 20, eval_fraction=0.1)
    assert of(many, "duplicates").severity == "warning"
    assert many.duplicates == 38
    assert many.duplicates_across == many.held_back > 0


def test_data_that_teaches_nothing_is_an_error(inspect: Inspect) -> None:
    rows = [{"instruction": f"q {i} " * 200, "output": "a"} for i in range(4)]
    report = inspect(rows, max_length=32)
    assert report.findings[0].severity == "error"
    assert report.findings[0].code == "nothing_to_train_on"
    assert report.findings[0].rows == [0, 1, 2, 3]
    assert "answer_beyond_cut" not in [found.code for found in report.findings]
    assert (report.train, report.tokens) == (0, 0)


def test_tokens_that_the_model_does_not_know_are_an_error(
    inspect: Inspect, models: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspect_job, "_sizes", lambda *_: {"vocab_size": 300})
    finding = of(inspect(GOOD), "ids_out_of_range")
    assert finding.severity == "error"
    assert finding.rows
    assert "300" in finding.cause


def test_the_vocabulary_is_that_of_the_model(models: Callable[[str], Path]) -> None:
    assert inspect_job._sizes(ModelSpec(path=str(models("llama"))))["vocab_size"] == 600


def test_a_file_that_cannot_be_read_is_a_complaint(
    models: Callable[[str], Path], tmp_path: Path, report: Heard
) -> None:
    (tmp_path / "d.jsonl").write_text('{"instruction": "a", "output": "b"}\n{"instruction": 3}\n')
    spec = make_spec(models("llama"), tmp_path / "d.jsonl")
    found = inspect_job.answer(Job(kind="inspect", spec=spec, run="x"), report)
    assert found.report is None
    assert found.run == "x"
    assert found.complaint is not None
    assert "row 2" in found.complaint.problem


def test_a_report_is_the_same_in_small_parts(
    inspect: Inspect, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [*GOOD, *GOOD[3:9], {"instruction": "say", "output": ""}]
    rows += [{"instruction": f"go {i}", "output": " ".join(["far and away"] * i)} for i in range(9)]
    changes: dict[str, Any] = {"eval_fraction": 0.3, "max_length": 60, "packing": True}
    whole = inspect(rows, **changes)
    for name, number in (("CHUNK", 5), ("IN_MEMORY", 0), ("_BLOCK", 32)):
        monkeypatch.setattr(large, name, number)
    parts = inspect(rows, **changes)
    assert (whole.cut > 0, whole.duplicates) == (True, 6)
    assert parts.is_kept
    assert msgspec.structs.replace(parts, is_kept=False) == whole


# ---------------------------------------------------------------- turns, files and lines


def _said(*turns: tuple[str, str]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": text} for role, text in turns]}


def test_a_late_system_message_is_told_also_where_the_template_takes_it(inspect: Inspect) -> None:
    fine = _said(("system", "be nice"), ("user", "hi there"), ("assistant", "well then"))
    late = _said(("user", "hi there"), ("system", "be nice"), ("assistant", "well then"))
    twice = _said(("system", "one"), ("system", "two"), ("user", "hi"), ("assistant", "well then"))
    report = inspect([fine] * 5 + [late, twice])
    found = of(report, "late_system")
    assert (found.severity, found.rows) == ("warning", [5, 6])
    assert found.remedy
    assert report.samples == 7
    assert not [each for each in report.findings if each.code == "template_refused"]


def test_what_a_function_answers_unasked_is_told(inspect: Inspect) -> None:
    call = [{"type": "function", "function": {"name": "f", "arguments": "{}"}}]
    asked = _said(("user", "hi"), ("assistant", ""), ("tool", "22"), ("tool", "23"),
                  ("assistant", "it is 22"))  # fmt: skip
    asked["messages"][1]["tool_calls"] = call
    unasked = _said(("user", "hi"), ("tool", "22"), ("assistant", "it is 22"))
    assert of(inspect([asked] * 5 + [unasked]), "role_order").rows == [5]


def test_a_cut_row_can_be_left_out_instead(inspect: Inspect) -> None:
    long = {"instruction": "say", "output": "well then " * 80}
    found = of(inspect([*GOOD, long], max_length=64), "cut")
    assert "training.max_length" in found.patch
    assert (found.instead, found.instead_action) == (
        {"dataset.fixes": ["drop_overlong"]}, "Leave out, not cut"
    )  # fmt: skip
    alone = of(inspect([long] * 4, max_length=64), "cut")
    assert not alone.instead


def test_lines_of_named_rows_are_known(inspect: Inspect) -> None:
    report = inspect([*GOOD, GOOD[3]])
    assert report.lines == {3: 4, 20: 21}
    assert [(each.name, each.first, each.number) for each in report.files] == [("rows.jsonl", 0, 1)]
