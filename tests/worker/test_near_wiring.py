"""Rows are compared as a dataset is looked over: told, ended, kept, and said if not all were."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.contract.dataset_report import COMPARED, DatasetReport
from engine.contract.messages import Decision, Job
from engine.store import encoded
from engine.worker import fixes, inspect_job
from engine.worker.report import Halted
from tests.worker.conftest import WORDS, Heard, make_spec

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

Models = Callable[[str], Path]
COUNT = 12
FIX = "drop_near_duplicates"


class Progressed(Heard):
    """Keeps how far it was, and ends as soon as rows are compared, if it is to."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[int, int]] = []
        self.ends = False

    def progress(self, done: int, total: int, unit: str) -> None:
        if unit == COMPARED:
            self.told.append((done, total))
            if self.ends:
                raise Halted
        super().progress(done, total, unit)


@pytest.fixture
def progressed() -> Iterator[Progressed]:
    heard = Progressed()
    yield heard
    heard.close()


@pytest.fixture
def spec(models: Models, tmp_path: Path) -> dict[str, Any]:
    """Rows that are unlike each other; the last but one is nearly the first, the last one is it."""
    rows = [
        {
            "instruction": f"say {place}",
            "output": " ".join(f"{WORDS[(place + at * at) % 16]}{place * at}" for at in range(30)),
        }
        for place in range(COUNT)
    ]
    rows += [{**rows[0], "output": rows[0]["output"] + " so"}, rows[0]]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return make_spec(models("llama"), path)


def looked_over(spec: dict[str, Any], report: Heard, *fixed: str) -> DatasetReport:
    dataset = {**spec["dataset"], "fixes": list(fixed)}
    found = inspect_job.answer(Job(kind="inspect", spec={**spec, "dataset": dataset}), report)
    assert found.report is not None, found.complaint
    return found.report


@pytest.mark.parametrize("fixed", [(), (FIX,)])
def test_it_is_told_how_far_the_comparison_is_and_it_is_done_once(
    fixed: tuple[str, ...], spec: dict[str, Any], progressed: Progressed, fettle_home: Path
) -> None:
    report = looked_over(spec, progressed, *fixed)
    assert (report.near_duplicates, report.left_out) == (0, 1) if fixed else (1, 0)
    assert len(progressed.told) > 2
    assert progressed.told == sorted(progressed.told)
    # The copy of the first row is compared with none.
    assert progressed.told[-1] == (COUNT + 1, COUNT + 1)
    assert len(list(fettle_home.rglob(encoded.NEAR))) == 1
    progressed.told.clear()
    looked_over(spec, progressed)
    assert progressed.told == []


def test_a_comparison_that_was_ended_leaves_nothing_behind(
    spec: dict[str, Any], progressed: Progressed, fettle_home: Path
) -> None:
    progressed.ends = True
    for fixed in ((), (FIX,)):
        with pytest.raises(Halted):
            looked_over(spec, progressed, *fixed)
        assert list(fettle_home.rglob(f"*{encoded.NEAR}*")) == []
    assert len(progressed.told) == 2
    progressed.ends = False
    assert looked_over(spec, progressed).near_duplicates == 1


@pytest.mark.parametrize(
    ("most", "near"), [(COUNT + 1, 1), (COUNT, 0)], ids=["all compared", "not all"]
)
def test_it_is_said_where_not_all_rows_were_compared(
    most: int, near: int, spec: dict[str, Any], report: Heard, fettle_home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(fixes, "MOST_SAMPLES", most)
    said = f"Only the first {most} rows that are no copies were compared with each other."

    def findings(*fixed: str) -> dict[str, str]:
        found = looked_over(spec, report, *fixed).findings
        return {each.code: f"{each.title} {each.cause}" for each in found}

    first = findings()
    assert ("near_duplicates" in first) == bool(near)
    # The copy is no reason to say so, left out or not.
    for told in (first, findings("drop_duplicates"), findings(FIX)):
        assert any(said in text for text in told.values()) != bool(near)
    decisions = [each for each in report.of(Decision) if FIX in each.reason]
    assert len(decisions) == 1
    assert (said in decisions[0].reason) != bool(near)
    assert ("nothing to do" in decisions[0].title) != bool(near)


def test_what_was_found_is_said_to_be_of_those_that_were_compared(
    spec: dict[str, Any], report: Heard, fettle_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(spec["dataset"]["path"])
    rows = path.read_text(encoding="utf-8").split("\n")
    short = [json.dumps({"instruction": str(number), "output": "so"}) for number in range(999)]
    path.write_text("\n".join([rows[0], rows[COUNT], *short]), encoding="utf-8")
    monkeypatch.setattr(fixes, "MOST_SAMPLES", 1000)
    (finding,) = [each for each in looked_over(spec, report).findings if "near" in each.code]
    assert finding.row_count == 1
    assert "Only the first 1 000 rows that are no copies were compared" in finding.cause
    # It does not cease to be true once so few are left.
    left = looked_over(spec, report, FIX)
    assert left.samples - left.left_out == 1000
    assert any("Only the first 1 000 rows" in each.title for each in left.findings)
