"""The host's side of the pace: findings are recorded as they come, Show says where time goes."""

from __future__ import annotations

import asyncio
import ctypes
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine.contract.lifecycle import Event, Phase
from engine.contract.messages import Done, Finding, PhaseChanged, Record, Step, Telemetry
from engine.host import pace, telemetry
from engine.host.attempt import Attempt
from engine.host.book import Book, Listener
from engine.host.comeback import Comeback
from engine.host.pace_facts import read_pace, shares_of, stretches_of
from engine.host.settings import Settings
from engine.host.shared_memory import SharedMemory, pid_of
from engine.store import runs
from engine.store.journal import Journal
from engine.store.records import read_records

SPEC = {"name": "test", "model": {"path": "/m"}, "dataset": {"path": "/d"}, "lora": {"r": 4}}


def run_folder(store: Path, **more: Any) -> Path:
    now = datetime.now().astimezone()
    return runs.create(store, name="test", spec=SPEC, versions={}, now=now, **more)


def step_at(step: int, at: float, ms: float, **fields: Any) -> Step:
    values: dict[str, Any] = {"loss": 1.0, "learning_rate": 1e-4, "tokens": 750,
                              "padded_tokens": 1000, "wait_ms": 1.0}  # fmt: skip
    return Step(at=at, step=step, step_ms=ms, **{**values, **fields})


# ---------------------------------------------------------------- the watch


def test_what_is_found_of_the_pace_is_a_record_of_the_run(tmp_path: Path) -> None:
    async def work() -> None:
        book = Book(tmp_path, Listener())
        run = await book.add(run_folder(tmp_path))
        for event in (Event.ENQUEUE, Event.LAUNCH):
            book.move(run, event)
        worker: Any = SimpleNamespace(has_job=True, pid=1, ready=None)
        settings = Settings(telemetry=False, resume_automatically=False)
        attempt = Attempt(book, settings, run, worker, Comeback(settings))
        attempt._on_message(PhaseChanged(at=0.5, phase=Phase.TRAINING))
        for step in range(1, 61):
            attempt._on_message(step_at(step, 1.0 * step, 1000, wait_ms=500.0))
            attempt._on_sampled(Telemetry(at=1.0 * step, cpu_percent=100.0))
        attempt._on_message(Done(at=61.0, outcome="finished", step=60))
        attempt._on_message(step_at(61, 62.0, 1000))
        await book.close_all()

    asyncio.run(work())
    (folder,) = (f for f in runs.folders(tmp_path))
    records = list(read_records(folder))
    found = [r for r in records if isinstance(r, Finding)]
    assert [f.code for f in found] == ["starved"]
    assert found[0].attempt == 1
    assert found[0].seq > 30
    assert isinstance(records[-1], Done)


def test_the_platform_says_whether_a_full_card_spills(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "is_wsl", lambda: True)
    monkeypatch.setattr(pace.sys, "platform", "linux")
    assert pace.spills() == "always"
    monkeypatch.setattr(pace, "is_wsl", lambda: False)
    assert pace.spills() == "never"
    monkeypatch.setattr(pace.sys, "platform", "win32")
    assert pace.spills() == "possible"


# ---------------------------------------------------------------- where the time goes


def write(folder: Path, records: list[Record]) -> None:
    journal = Journal(folder, folder.name)
    for record in records:
        journal.append(record)
    journal.close()


def history(attempt: int = 1) -> list[Record]:
    """A minute of loading, then 100 steps of a second with a save of 5 s after each ten."""
    records: list[Record] = [
        PhaseChanged(at=0, phase=Phase.LOADING_MODEL, attempt=attempt),
        PhaseChanged(at=60, phase=Phase.FIRST_STEP, attempt=attempt),
    ]
    at = 60.0
    for step in range(1, 101):
        busy = {"gpu_busy_percent": 80.0, "vram_total_bytes": 1 << 33}
        records.append(Telemetry(at=at + 0.5, attempt=attempt, **busy))
        at += 1
        records.append(step_at(step, at, 30_000 if step == 1 else 1000, attempt=attempt))
        if step == 1:
            records.append(PhaseChanged(at=at, phase=Phase.TRAINING, attempt=attempt))
        if step % 10 == 0:
            records.append(PhaseChanged(at=at, phase=Phase.SAVING, attempt=attempt))
            for second in range(5):
                idle = {"gpu_busy_percent": 0.0, "vram_total_bytes": 1 << 33}
                records.append(Telemetry(at=at + second + 0.5, attempt=attempt, **idle))
            at += 5
            records.append(PhaseChanged(at=at, phase=Phase.TRAINING, attempt=attempt))
    return records


def test_the_pace_of_a_run_comes_from_its_folder(tmp_path: Path) -> None:
    plan = {"card": "c", "driver": "d", "torch": "t", "peak_bytes": 1, "context_bytes": 1,
            "step_seconds": 0.5, "parts": {"compute": 0.4, "optimizer": 0.1}}  # fmt: skip
    folder = run_folder(tmp_path, plan=plan)
    write(folder, history())
    found = read_pace(folder)
    assert found is not None
    told = {share.part: share for share in found.shares}
    assert found.step_seconds == pytest.approx(1.0), "the first step does not count"
    # 100 s of steps and 50 s of saves.
    assert told["saving"].share == pytest.approx(1 / 3, abs=0.01)
    assert told["idle"].share == pytest.approx(2 / 3 * 0.2, abs=0.01), "saves are no idling"
    assert told["padding"].seconds == pytest.approx(0.799 * 0.8 * 0.25, abs=0.01)
    assert found.planned_seconds == 0.5
    assert found.unknown == []


def test_only_the_newest_attempt_counts(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    second = [step_at(n, 10_000.0 + n, 500, attempt=2) for n in range(1, 11)]
    write(folder, [*history(), *second])
    found = read_pace(folder)
    assert found is not None
    assert (found.steps, found.step_seconds) == (7, 0.5)


def test_before_the_first_step_there_is_no_pace(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    assert read_pace(folder) is None
    write(folder, [PhaseChanged(at=1, phase=Phase.LOADING_MODEL)])
    assert read_pace(folder) is None


def test_a_plan_of_an_older_fettle_is_no_plan(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, plan={"card": 3})
    write(folder, history())
    found = read_pace(folder)
    assert found is not None
    assert found.planned_seconds is None


def test_phases_are_counted_from_the_first_step_on() -> None:
    changes = [PhaseChanged(at=0, phase=Phase.TOKENISING),
               PhaseChanged(at=10, phase=Phase.FIRST_STEP),
               PhaseChanged(at=14, phase=Phase.TRAINING),
               PhaseChanged(at=18, phase=Phase.EVALUATING)]  # fmt: skip
    shares = shares_of(stretches_of(list(changes), 17.0))
    assert shares[Phase.FIRST_STEP] == pytest.approx(0.5)
    assert Phase.TOKENISING not in shares
    assert shares_of(stretches_of([], 5.0)) == {}


# ---------------------------------------------------------------- what the driver tells


@pytest.mark.parametrize(
    ("bits", "words"),
    [
        (0, []),
        (0x1, []),
        (0x4, ["power"]),
        (0x8, ["hardware"]),
        (0x8 | 0x40, ["heat"]),
        (0x20 | 0x40 | 0x4, ["power", "heat"]),
        (0x8 | 0x80, ["power_supply"]),
    ],
)
def test_the_drivers_reasons_become_words(bits: int, words: list[str]) -> None:
    assert telemetry.throttles(bits) == words


class Nvml:
    """A library of some age: what it has not, it does not know."""

    NVMLError = RuntimeError

    def nvmlDeviceGetClockInfo(self, _card: object, kind: int) -> int:
        return 1500 if kind == 1 else 0

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, _card: object) -> int:
        return 0x20

    def nvmlDeviceGetEnforcedPowerLimit(self, _card: object) -> int:
        return 220_000

    def nvmlDeviceGetPowerUsage(self, _card: object) -> int:
        raise RuntimeError("Not Supported")


def test_what_a_driver_does_not_tell_is_left_out() -> None:
    card = telemetry.Card(0)
    card._nvml, card._handle = Nvml(), object()
    assert card.measure(set()) == {
        "gpu_clock_mhz": 1500.0, "gpu_throttle": ["heat"], "gpu_power_limit_watts": 220.0
    }  # fmt: skip


class Pdh:
    """Windows' counters, with two processes."""

    def __init__(self, rows: dict[str, tuple[int, int]]) -> None:
        self.rows = rows
        self.path = ""
        self.is_closed = False
        self.kept: list[Any] = []

    def PdhOpenQueryW(self, _source: None, _user: None, query: Any) -> int:
        query._obj.value = 7
        return 0

    def PdhAddEnglishCounterW(self, _query: Any, path: str, _user: None, counter: Any) -> int:
        self.path, counter._obj.value = path, 8
        return 0

    def PdhCollectQueryData(self, _query: Any) -> int:
        return 0

    def PdhCloseQuery(self, _query: Any) -> int:
        self.is_closed = True
        return 0

    def PdhGetFormattedCounterArrayW(
        self, _counter: Any, _format: int, size: Any, count: Any, room: Any
    ) -> int:
        from engine.host.shared_memory import _Item

        wanted = ctypes.sizeof(_Item) * len(self.rows)
        if room is None:
            size._obj.value, count._obj.value = wanted, len(self.rows)
            return ctypes.c_int32(0x800007D2).value
        items = (_Item * len(self.rows))()
        for place, (name, (status, value)) in enumerate(self.rows.items()):
            items[place].name, items[place].value.status = name, status
            items[place].value.large = value
        self.kept.append(items)
        ctypes.memmove(room, items, wanted)
        count._obj.value = len(self.rows)
        return 0


def test_shared_memory_is_summed_over_the_workers_processes() -> None:
    pdh = Pdh({
        "pid_10_luid_0x0_0x1_phys_0": (0, 300), "pid_10_luid_0x0_0x2_phys_0": (0, 20),
        "pid_11_luid_0x0_0x1_phys_0": (1, 5), "pid_12_luid_0x0_0x1_phys_0": (0, 7000),
        "pid_11_luid_0x0_0x9_phys_0": (0xC0000BBA, 9), "_total": (0, 1),
    })  # fmt: skip
    shared = SharedMemory(pdh)
    shared.open()
    assert pdh.path.endswith("Shared Usage")
    assert shared.measure({10, 11}) == {"shared_used_bytes": 325}
    assert shared.measure({99}) == {}
    shared.close()
    assert pdh.is_closed
    assert shared.measure({10}) == {}


def test_where_there_is_no_such_counter_nothing_is_measured() -> None:
    shared = SharedMemory()
    shared.open()
    assert shared.measure({1}) == {}
    shared.close()


@pytest.mark.parametrize(
    ("name", "pid"), [("pid_4711_luid_1", 4711), ("pid_x_1", None), ("total", None), ("", None)]
)
def test_a_counters_name_holds_the_process(name: str, pid: int | None) -> None:
    assert pid_of(name) == pid
