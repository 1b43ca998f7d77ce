"""The journal: whatever is torn, the counter goes on and readers see every record exactly once."""

from __future__ import annotations

import base64
import errno
import os
import struct
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.contract.lifecycle import State
from engine.contract.messages import (
    Columns,
    Done,
    Finding,
    Record,
    StateChanged,
    Step,
    Telemetry,
    decode_line,
)
from engine.contract.wire import MAX_LINE
from engine.store import columns
from engine.store.journal import Journal
from engine.store.records import (
    EVENTS,
    METRICS,
    chunks_since,
    lines_back,
    newest_seq,
    newest_worker_stamp,
    read_records,
    records_since,
)
from engine.store.reserve import NAME, Reserve


def step(number: int, **extra: object) -> Step:
    fields = {"at": 100.0 + number, "loss": 1.0 / number, "learning_rate": 1e-4, "step_ms": 20.0}
    return Step(step=number, worker_seq=number, **{**fields, **extra})  # type: ignore[arg-type]


def event(at: float = 1.0) -> StateChanged:
    return StateChanged(at=at, state=State.QUEUED)


def fill(folder: Path, count: int) -> None:
    """``count`` records, every fifth an event, every third of the others telemetry."""
    journal = Journal(folder, "r")
    for number in range(1, count + 1):
        if number % 5 == 0:
            journal.append(event(float(number)))
        elif number % 3 == 0:
            journal.append(Telemetry(at=float(number), ram_used_bytes=number))
        else:
            journal.append(step(number))
    journal.close()


def seqs(folder: Path, since: int = 0) -> list[int]:
    return [record.seq for record in read_records(folder, since)]


def test_records_get_one_counter_over_both_files(tmp_path: Path) -> None:
    fill(tmp_path, 40)
    assert seqs(tmp_path) == list(range(1, 41))
    assert seqs(tmp_path, 17) == list(range(18, 41))
    assert (tmp_path / EVENTS).read_bytes().count(b"\n") == 8
    assert all(record.run == "r" for record in read_records(tmp_path))


def test_a_line_is_the_record_as_it_goes_over_the_wire(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "r")
    record, line = journal.append(Done(at=1.0, outcome="finished", step=3))
    journal.close()
    assert decode_line(line) == record
    assert (tmp_path / EVENTS).read_bytes() == line


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    count=st.integers(0, 60),
    cuts=st.tuples(st.integers(0, 400), st.integers(0, 400)),
    junk=st.sampled_from([b"", b"{", b"\x00" * 50, b'{"type":"step"', b"\xff\xfe\n", b"\n\n"]),
    since=st.integers(0, 70),
)
def test_any_torn_end_is_recovered(
    tmp_path: Path, count: int, cuts: tuple[int, int], junk: bytes, since: int
) -> None:
    folder = tmp_path / f"{time.monotonic_ns()}"
    folder.mkdir()
    fill(folder, count)
    for name, cut in zip((EVENTS, METRICS), cuts, strict=True):
        path = folder / name
        path.write_bytes(path.read_bytes()[: max(path.stat().st_size - cut, 0)] + junk)
    kept = seqs(folder)
    journal = Journal(folder, "r")
    assert journal.seq == max(kept, default=0)
    journal.append(step(1000))
    journal.append(event())
    journal.close()
    new = [journal.seq - 1, journal.seq]
    assert seqs(folder) == [*kept, *new]
    assert seqs(folder, since) == [n for n in [*kept, *new] if n > since]
    for name in (EVENTS, METRICS):
        assert all(isinstance(decode_line(line), Record) for _, line in lines_back(folder / name))
    assert _column(folder, "step", "seq") == [
        r.seq for r in read_records(folder) if type(r) is Step
    ]


def test_garbage_in_the_middle_is_passed_over(tmp_path: Path) -> None:
    fill(tmp_path, 30)
    path = tmp_path / METRICS
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(
        b"".join([*lines[:9], b"garbage \x00\xff\n", b'{"type":"new","x":1}\n', *lines[9:]])
    )
    for since in range(31):
        assert seqs(tmp_path, since) == list(range(since + 1, 31))


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    content=st.binary(max_size=300).map(lambda b: b.replace(b"a", b"\n")), block=st.integers(1, 40)
)
def test_lines_back_are_the_lines_reversed(tmp_path: Path, content: bytes, block: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("engine.store.records._BLOCK", block)
        found = list(lines_back(path))
    assert [line for _, line in found] == content.split(b"\n")[:-1][::-1]
    assert all(content[end - 1 : end] == b"\n" for end, _ in found)
    assert all(content[:end].endswith(line + b"\n") for end, line in found)


def test_what_is_written_after_the_border_is_not_read(tmp_path: Path) -> None:
    fill(tmp_path, 30)
    assert [seq for seq, _ in records_since(tmp_path, 3, 12)] == list(range(4, 13))
    whole = b"".join(lines for _, lines in chunks_since(tmp_path, 0, 30))
    assert whole.count(b"\n") == 30


def test_a_full_disk_loses_nothing_that_can_be_said_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path, "r")
    journal.append(event())
    real = os.write

    def half_then_full(descriptor: int, data: memoryview) -> int:
        if len(data) < 20:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, data[: len(data) // 2])

    monkeypatch.setattr(os, "write", half_then_full)
    for number in (1, 2, 3):
        journal.append(step(number))
    assert "is full" in journal.problem
    assert (journal.seq, journal.written_seq, len(journal.waiting_since(2))) == (4, 1, 2)
    assert seqs(tmp_path) == [1]
    monkeypatch.undo()
    journal.append(step(4))
    assert (journal.problem, journal.written_seq) == ("", 5)
    journal.close()
    assert seqs(tmp_path) == [1, 2, 3, 4, 5]


def test_what_a_run_ended_with_has_room_on_a_disk_that_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reserve = Reserve(tmp_path)
    reserve.keep()
    real = os.write

    def full(descriptor: int, data: memoryview) -> int:
        if (tmp_path / NAME).exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, data)

    folder = tmp_path / "r"
    folder.mkdir()
    journal = Journal(folder, "r")
    monkeypatch.setattr(os, "write", full)
    for number in range(1, 4):
        journal.append(step(number))
    journal.append(event())
    assert not journal.retry()
    journal.close(reserve.give)
    assert seqs(folder) == [4]
    assert not (tmp_path / NAME).exists()
    # A number that was given is not given again, though its record was lost.
    journal = Journal(folder, "r", counted=9)
    journal.append(step(4))
    journal.append(step(5))
    assert journal.retry()
    journal.close(reserve.give)
    assert seqs(folder) == [4, 10, 11]
    assert read_from_both(folder, 4) == {10, 11}


def read_from_both(folder: Path, since: int) -> set[int]:
    """Numbers of the steps after ``since``, which lines and columns tell alike."""
    newest = newest_seq(folder)
    in_lines = {r.seq for r in read_records(folder, since) if isinstance(r, Step)}
    columns.refresh(folder)
    pieces = [decode_line(piece) for piece in columns.pieces_since(folder, "r", since, newest)]
    texts = [p.data["seq"] for p in pieces if isinstance(p, Columns) and p.kind == "step"]
    data = b"".join(base64.b64decode(text) for text in texts)
    in_columns = {int(seq) for seq in struct.unpack(f"<{len(data) // 8}d", data)}
    assert in_lines == in_columns
    return in_lines


def test_the_reserve_is_taken_once_and_never_in_the_way(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path)
    reserve.keep()
    inode = (tmp_path / NAME).stat().st_ino
    reserve.keep()
    assert (tmp_path / NAME).stat().st_ino == inode
    reserve.give()
    reserve.give()
    Reserve(tmp_path / "nowhere").keep()
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_stays_full_costs_measurements_before_it_costs_an_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, data: memoryview) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    journal = Journal(tmp_path, "r")
    monkeypatch.setattr("engine.store.journal._MOST_WAITING", 10)
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        journal.append(event())
        for number in range(1, 21):
            journal.append(step(number))
            if number % 5 == 0:
                journal.append(event())
    journal.append(event())
    journal.close()
    records = list(read_records(tmp_path))
    assert [r.seq for r in records if isinstance(r, StateChanged)] == [1, 7, 13, 19, 25, 26]
    assert [r.step for r in records if isinstance(r, Step)] == [16, 17, 18, 19, 20]


def test_the_newest_word_of_a_worker_is_found_behind_telemetry(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "r")
    journal.append(step(7, attempt=2))
    journal.append(Finding(at=1.0, attempt=2, worker_seq=8, severity="info", code="c", title="t"))
    for number in range(2000):
        journal.append(Telemetry(at=float(number), attempt=2))
    journal.close()
    assert newest_worker_stamp(tmp_path) == (2, 8)


def test_fifty_records_a_second_cost_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "r")
    began = time.process_time()
    for number in range(1, 2001):
        journal.append(step(number))
    spent = time.process_time() - began
    journal.close()
    assert spent / 2000 < 0.001, "a record must cost less than 1 ms of CPU"


def test_a_damaged_letter_spoils_its_record_only(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "r")
    journal.append(event(1.0))
    journal.append(Finding(at=2.0, severity="info", code="c", title="stutter"))
    journal.append(event(3.0))
    journal.close()
    path = tmp_path / EVENTS
    path.write_bytes(path.read_bytes().replace(b"stutter", b"stutt\xff\xff"))
    assert [record.seq for record in read_records(tmp_path)] == [1, 3]


# ---------------------------------------------------------------- columns


def _pieces(folder: Path, since: int = 0, upto: int | None = None) -> list[Columns]:
    newest = newest_seq(folder) if upto is None else upto
    lines = list(columns.pieces_since(folder, "r", since, newest))
    assert all(len(line) <= MAX_LINE for line in lines)
    return [msgspec.json.decode(line, type=Columns) for line in lines]


def _column(folder: Path, kind: str, name: str, since: int = 0) -> list[float]:
    found: list[float] = []
    for piece in _pieces(folder, since):
        if piece.kind == kind and name in piece.data:
            raw = base64.b64decode(piece.data[name])
            found += struct.unpack(f"<{len(raw) // 8}d", raw)
    return found


def test_columns_hold_what_the_lines_hold(tmp_path: Path) -> None:
    fill(tmp_path, 100)
    records = [r for r in read_records(tmp_path, 33) if isinstance(r, Step)]
    assert _column(tmp_path, "step", "seq", 33) == [r.seq for r in records]
    assert _column(tmp_path, "step", "loss", 33) == [r.loss for r in records]
    assert _column(tmp_path, "telemetry", "ram_used_bytes", 90) == [93, 96, 99]
    assert all("vram_used_bytes" not in piece.data for piece in _pieces(tmp_path))


@pytest.mark.parametrize("damage", ["missing", "short", "behind", "ahead", "torn"])
def test_a_copy_that_is_wrong_is_made_again(tmp_path: Path, damage: str) -> None:
    fill(tmp_path, 50)
    good = _column(tmp_path, "step", "step")
    path = columns.STEPS.path(tmp_path)
    rows = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "short":
        path.write_bytes(b"")
        columns.TELEMETRY.path(tmp_path).write_bytes(b"")
    elif damage == "behind":
        path.write_bytes(rows[: -columns.STEPS.row_bytes])
    elif damage == "ahead":
        path.write_bytes(rows + struct.pack("<d", 60.0) + rows[8 : columns.STEPS.row_bytes])
    else:
        path.write_bytes(rows[:-5])
    columns.refresh(tmp_path)
    assert _column(tmp_path, "step", "step") == good


@pytest.mark.parametrize("damage", ["missing", "torn"])
@pytest.mark.parametrize("victim", columns.SHEETS, ids=["step", "telemetry"])
def test_a_wrong_copy_is_seen_beside_a_right_one(
    tmp_path: Path, victim: columns.Sheet, damage: str
) -> None:
    """The other kind's copy may end where the lines end: that says nothing of this one."""
    fill(tmp_path, 48 if victim is columns.STEPS else 49)
    good = _column(tmp_path, victim.kind, "seq")
    path = victim.path(tmp_path)
    rows = path.read_bytes()
    path.unlink()
    if damage == "torn":
        path.write_bytes(rows[:-5])
    columns.refresh(tmp_path)
    assert _column(tmp_path, victim.kind, "seq") == good


def test_a_copy_that_the_disk_refused_is_not_missed_while_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path, "r")
    journal.append(step(1))
    real = os.write
    rows = journal._rows["step"].descriptor

    def refusing(descriptor: int, data: bytes) -> int:
        if descriptor == rows:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", refusing)
    journal.append(step(2))
    monkeypatch.undo()
    journal.append(step(3))
    journal.append(Telemetry(at=4.0, ram_used_bytes=4))
    columns.refresh(tmp_path)
    assert _column(tmp_path, "step", "step") == [1.0, 2.0, 3.0]
    assert _column(tmp_path, "step", "step", 1) == [2.0, 3.0]
    assert _column(tmp_path, "telemetry", "ram_used_bytes") == [4.0]
    journal.close()
    columns.refresh(tmp_path)
    assert columns.STEPS.path(tmp_path).exists()
    assert _column(tmp_path, "step", "step") == [1.0, 2.0, 3.0]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no disk that is full on demand")
@pytest.mark.parametrize("victim", columns.SHEETS, ids=["step", "telemetry"])
def test_a_copy_that_a_full_disk_does_not_take_keeps_no_journal_from_opening(
    tmp_path: Path, victim: columns.Sheet
) -> None:
    fill(tmp_path, 50)
    good = _column(tmp_path, "step", "step")
    victim.path(tmp_path).unlink()
    victim.path(tmp_path).with_suffix(".new").symlink_to("/dev/full")
    journal = Journal(tmp_path, "r")
    journal.append(step(1000))
    columns.refresh(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"events.jsonl", "metrics.jsonl"}
    assert _column(tmp_path, "step", "step") == [*good, 1000.0]
    journal.close()
    columns.refresh(tmp_path)
    assert all(sheet.path(tmp_path).exists() for sheet in columns.SHEETS)
    assert _column(tmp_path, "step", "step") == [*good, 1000.0]


def test_large_pasts_come_in_pieces_that_fit_a_line(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "r")
    for number in range(1, 20_001):
        journal.append(step(number, loss=None if number % 7 == 0 else 0.5, grad_norm=1.0))
    journal.close()
    assert len(_pieces(tmp_path)) > 1
    assert _column(tmp_path, "step", "step") == list(range(1, 20_001))
    losses = _column(tmp_path, "step", "loss")
    assert sum(value != value for value in losses) == 20_000 // 7
