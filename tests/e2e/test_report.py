"""A failed run on the command line: why it failed, what mends it, and a report to give away."""

from __future__ import annotations

import json
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.contract.messages import Decision
from tests.e2e.cli_driver import Fettle
from tests.e2e.host_driver import HostUnderTest, job_specs, records_to_done, start_run

if sys.platform == "win32":
    pytest.skip("the fake worker waits for its stdin with select", allow_module_level=True)

HARD = {
    "per_device_train_batch_size": 1,
    "gradient_checkpointing": "offload",
    "optim": "adamw_8bit",
}
"""What leaves nothing to change that keeps the result."""


@pytest.fixture
def fettle(hosts: HostUnderTest) -> Fettle:
    hosts.fake("death", at=3, ms=1)
    hosts.start(FAKE_DEATH="cuda oom")
    return Fettle(hosts.home, **hosts.environment)


def failed(hosts: HostUnderTest, **training: object) -> tuple[str, int]:
    """A run that ran out of memory, and its last record."""
    run = start_run(hosts.connect(), hosts.spec(**training))
    return run, records_to_done(run)[-1].seq


def test_a_run_says_why_it_failed_and_is_mended(hosts: HostUnderTest, fettle: Fettle) -> None:
    run, seq = failed(hosts)
    shown = fettle("show", run)
    assert "The card ran out of memory." in shown.out
    assert "Tried to allocate 1.25 GiB" in shown.out
    assert f"`fettle resume {run} --fix` does it." in shown.out
    resumed = fettle("resume", run, "--fix", "--detach")
    assert resumed.code == 0, resumed.err
    change = (
        "training.per_device_train_batch_size 2 → 1, training.gradient_accumulation_steps 4 → 8"
    )
    assert change in resumed.out
    (decision,) = [r for r in records_to_done(run, seq) if isinstance(r, Decision)]
    assert change in decision.reason
    assert job_specs(hosts.home / "runs" / run)[-1]["training"]["gradient_accumulation_steps"] == 8
    assert fettle("show", run, "--json").last["failure"]["attempt"] == 2


def test_a_fix_that_changes_the_result_is_asked_for(hosts: HostUnderTest, fettle: Fettle) -> None:
    run, _ = failed(hosts, **HARD)
    refused = fettle("resume", run, "--fix", "--detach")
    assert refused.code == 2
    assert "training.max_length 1024 → 512 changes the result" in refused.err
    done = fettle("resume", run, "--fix", "--yes", "--detach")
    assert done.code == 0, done.err
    assert "training.max_length 1024 → 512" in done.out
    records_to_done(run)


def test_where_there_is_nothing_to_fix_it_is_said(hosts: HostUnderTest, fettle: Fettle) -> None:
    run, _ = failed(hosts, **HARD, max_length=256)
    refused = fettle("resume", run, "--fix")
    assert refused.code == 2
    assert "Nothing can be changed for it by itself." in refused.err


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def test_a_report_is_written(hosts: HostUnderTest, fettle: Fettle, place: Path) -> None:
    run, _ = failed(hosts)
    with (hosts.home / "runs" / run / "worker.log").open("a") as log:
        log.write("KeyError: in the row Say 7 is what nobody else may ever read, or Say 8\n")
    rows = [{"prompt": "Say 7 is what nobody else may ever read", "completion": "7"}] * 20
    hosts.data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = fettle("report", run, "--out", place / "mine", "--json")
    assert made.code == 0, made.err
    assert made.last["path"] == str(place / "mine.zip")
    with zipfile.ZipFile(place / "mine.zip") as archive:
        names = [name.removeprefix("fettle-report/") for name in archive.namelist()]
        log_text = archive.read("fettle-report/worker.log").decode()
        events = archive.read("fettle-report/events.jsonl").decode().splitlines()
    assert names == [
        "README.txt", "doctor.txt", "events.jsonl", "host.log", "machine.json", "metrics.jsonl",
        "run.json", "worker.log",
    ]  # fmt: skip
    assert "CUDA out of memory" in log_text
    assert "nobody else" not in log_text
    assert json.loads(events[-1])["type"] == "done"


def test_a_report_has_a_place_of_its_own_and_rows_if_asked_for(
    hosts: HostUnderTest, fettle: Fettle
) -> None:
    run, _ = failed(hosts)
    made = fettle("report", "last", "--with-data")
    assert made.code == 0, made.err
    assert "Without tokens and names;" in made.out
    with zipfile.ZipFile(hosts.home / "reports" / f"{run}.zip") as archive:
        rows = archive.read("fettle-report/data.jsonl").decode().splitlines()
    assert json.loads(rows[0]) == {"prompt": "Say 0", "completion": "0"}
    assert len(rows) == 20
    assert fettle("report", "nothing").code == 2
