"""Parts of the host by themselves: followers, settings, facts, workers' ends, lists that fit."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import paths
from engine.contract.lifecycle import Phase, State
from engine.contract.messages import (
    CaughtUp,
    Columns,
    Message,
    Record,
    RunSummary,
    StateChanged,
    Step,
    Telemetry,
    decode_line,
)
from engine.contract.wire import MAX_LINE
from engine.host import follow, worker
from engine.host.follow import Follower
from engine.host.hub import fit_to_line
from engine.host.place import PlaceError, make_token, peer_is_owner, prepare_folder, take_lock
from engine.host.recovery import read_orphan
from engine.host.settings import Settings, read_settings
from engine.host.telemetry import ProcessTree
from engine.host.threads import apart
from engine.planning import facts
from engine.store.journal import Journal

# ---------------------------------------------------------------- followers


class Source:
    """A run whose journal the test writes."""

    def __init__(self, folder: Path) -> None:
        self.run = folder.name
        self.folder = folder
        self.journal = Journal(folder, self.run)
        self.follower: Follower | None = None

    def write(self, record: Record) -> None:
        numbered, line = self.journal.append(record)
        if self.follower:
            self.follower.offer(numbered.seq, line)

    async def newest(self) -> int:
        return self.journal.seq

    def waiting_since(self, seq: int) -> list[tuple[int, bytes]]:
        return self.journal.waiting_since(seq)


def record(number: int) -> Record:
    if number % 4 == 0:
        return StateChanged(at=float(number), state=State.TRAINING)
    if number % 4 == 1:
        return Telemetry(at=float(number))
    return Step(at=float(number), step=number, loss=1.0, learning_rate=1.0, step_ms=1.0)


async def _follow(source: Source, since: int, plan: list[int], *, columns: bool) -> list[Message]:
    """Follow while records are written: ``plan`` says how many between two chances to send."""
    received: list[Message] = []

    async def send(lines: bytes) -> None:
        received.extend(decode_line(line) for line in lines.splitlines())
        await asyncio.sleep(0)

    source.follower = Follower(source, send, since=since, as_columns=columns)
    upto = source.journal.seq
    task = asyncio.create_task(source.follower.run(upto))
    for count in plan:
        for _ in range(count):
            source.write(record(source.journal.seq + 1))
        await asyncio.sleep(0)
    # Of what it says it has, nothing is sent.
    await _settle(received, source.journal.seq if source.journal.seq > since else upto)
    task.cancel()
    await asyncio.wait({task})
    return received


def _has_come(received: list[Message], newest: int) -> bool:
    """The last record may come before the border of the past, which has its number."""
    seqs = [m.seq for m in received if isinstance(m, Record | CaughtUp)]
    return any(isinstance(m, CaughtUp) for m in received) and max(seqs) >= newest


async def _settle(received: list[Message], newest: int) -> None:
    deadline = time.monotonic() + 2
    while not _has_come(received, newest):
        assert time.monotonic() < deadline, "the follower has stopped short"
        await asyncio.sleep(0.001)


@settings(max_examples=40)
@given(
    past=st.integers(0, 30),
    since=st.integers(0, 40),
    plan=st.lists(st.integers(0, 12), max_size=12),
    room=st.integers(1, 8),
)
def test_followers_get_each_record_once_however_small_their_queue(
    tmp_path_factory: pytest.TempPathFactory, past: int, since: int, plan: list[int], room: int
) -> None:
    source = Source(tmp_path_factory.mktemp("run"))
    for number in range(1, past + 1):
        source.write(record(number))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(follow, "_MOST_QUEUED", room)
        received = asyncio.run(_follow(source, since, plan, columns=False))
    source.journal.close()
    seqs = [m.seq for m in received if isinstance(m, Record)]
    assert seqs == list(range(since + 1, source.journal.seq + 1))
    assert [m.seq for m in received if isinstance(m, CaughtUp)] == [past]


@pytest.mark.parametrize("columns", [False, True])
def test_followers_of_a_full_disk_miss_nothing_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: bool
) -> None:
    source = Source(tmp_path)
    for number in range(1, 11):
        source.write(record(number))
    real = os.write

    def full(descriptor: int, data: memoryview) -> int:
        if Path(f"/proc/self/fd/{descriptor}").readlink().suffix == ".jsonl":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", full)
    for number in range(11, 21):
        source.write(record(number))
    assert source.journal.written_seq == 10
    received = asyncio.run(_follow(source, 4, [3, 3], columns=columns))
    monkeypatch.undo()
    source.journal.close()
    seqs = {m.seq for m in received if isinstance(m, Record)}
    pieces = [m for m in received if isinstance(m, Columns)]
    by_column = {5, 6, 7, 9, 10} if columns else set()
    assert seqs == set(range(5, 27)) - by_column
    assert bool(pieces) == columns
    assert [m.seq for m in received if isinstance(m, Record)] == sorted(seqs)


# ---------------------------------------------------------------- settings, place


def test_settings_come_from_the_environment() -> None:
    given = {"FETTLE_IDLE_SECONDS": "1.5", "FETTLE_TELEMETRY": "off",
             "FETTLE_WORKER_COMMAND": '["a", "b"]', "FETTLE_OTHER": "x"}  # fmt: skip
    found = read_settings(given)
    assert (found.idle_seconds, found.telemetry, found.worker_command) == (1.5, False, ("a", "b"))
    assert read_settings({}) == Settings()
    assert Settings().worker_command[1:] == ("-m", "engine", "work")


@pytest.mark.parametrize("text", ["ten", "[]", "1e"])
def test_a_setting_of_the_wrong_kind_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="FETTLE_IDLE_SECONDS="):
        read_settings({"FETTLE_IDLE_SECONDS": text})


def test_the_private_folder_is_closed_to_others(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "host"
    prepare_folder(folder)
    folder.chmod(0o755)
    prepare_folder(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(PlaceError, match="somebody else"):
        prepare_folder(tmp_path / "link")


def test_a_folder_of_somebody_else_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(PlaceError, match="somebody else"):
        prepare_folder(tmp_path)


def test_the_peer_of_a_socket_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert peer_is_owner(ours)
        monkeypatch.setattr(os, "getuid", lambda: 12345)
        assert not peer_is_owner(ours)


def test_the_lock_is_taken_once(fettle_home: Path) -> None:
    prepare_folder(fettle_home / "host")
    held = take_lock()
    assert held is not None
    assert take_lock() is None
    held.close()
    again = take_lock()
    assert again is not None
    again.close()


@pytest.fixture
def full_disk() -> Iterator[None]:
    """As on a disk without a free byte: what is there stays, and nothing more goes in."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def token_of_before(fettle_home: Path) -> str:
    prepare_folder(fettle_home / "host")
    return make_token()


def test_a_full_disk_keeps_nobody_from_the_lock(token_of_before: str, full_disk: None) -> None:
    held = take_lock()
    assert held is not None
    assert take_lock() is None
    held.close()


def test_on_a_full_disk_the_token_of_before_is_used_again(
    token_of_before: str, full_disk: None
) -> None:
    assert make_token() == token_of_before
    assert [path.name for path in paths.token_file().parent.iterdir()] == ["token"]


@pytest.mark.parametrize("flaw", ["open", "missing", "torn", "link"])
def test_a_token_that_others_may_know_is_not_used_again(
    token_of_before: str, flaw: str, full_disk: None
) -> None:
    path = paths.token_file()
    if flaw == "open":
        path.chmod(0o640)
    elif flaw == "missing":
        path.unlink()
    elif flaw == "torn":
        os.truncate(path, 12)
    else:
        path.rename(path.with_name("other"))
        path.symlink_to(path.with_name("other"))
    with pytest.raises(PlaceError, match=r"cannot be written|is full"):
        make_token()


# ---------------------------------------------------------------- facts


def test_facts_describe_this_machine(tmp_path: Path) -> None:
    found = facts.gather(tmp_path / "not" / "there" / "yet")
    assert found.python.count(".") == 2
    assert found.cpu_count
    assert found.cpu_count >= 1
    assert found.ram_total_bytes
    assert found.ram_available_bytes
    assert 0 < found.ram_available_bytes <= found.ram_total_bytes
    assert found.store_free_bytes
    assert found.packages["numpy"]
    assert bool(found.gpus) != bool(found.gpu_problem)
    assert msgspec.json.decode(msgspec.json.encode(found), type=facts.MachineFacts) == found


@pytest.mark.parametrize(
    ("release", "is_wsl"),
    [
        ("5.15.167.4-microsoft-standard-WSL2", True),
        ("4.4.0-19041-Microsoft", True),
        ("6.8.0-45-generic", False),
    ],
)
def test_wsl_is_known_by_its_kernel(release: str, is_wsl: bool) -> None:
    assert facts.is_wsl(release) == (is_wsl and sys.platform == "linux")


# ---------------------------------------------------------------- processes


def test_a_process_is_told_from_its_successor() -> None:
    process = subprocess.Popen(["sleep", "60"])
    started_at = worker.start_time_of(process.pid)
    assert started_at is not None
    assert worker.is_alive(process.pid, started_at)
    assert not worker.is_alive(process.pid, started_at - 0.01)
    process.kill()
    until_zombie = time.monotonic() + 5
    while worker.is_alive(process.pid, started_at):
        assert time.monotonic() < until_zombie
    process.wait()
    assert worker.start_time_of(process.pid) is None


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "ended with exit code 0"),
        (3, "ended with exit code 3"),
        (-9, "was ended by signal 9 (killed)"),
        (-11, "was ended by signal 11 (memory fault)"),
        (-10, "was ended by signal 10 (SIGUSR1)"),
        (-99, "was ended by signal 99"),
    ],
)
def test_the_end_of_a_process_is_told_in_words(code: int, words: str) -> None:
    assert worker.describe_exit(code) == words


def test_memory_and_processor_of_a_family_are_measured() -> None:
    script = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'while True: pass'])"
    process = subprocess.Popen([sys.executable, "-c", script], start_new_session=True)
    tree = ProcessTree(process.pid)
    try:
        deadline = time.monotonic() + 20
        while len((found := tree.measure())[2]) < 2 or not found[1] or found[1] < 5:
            assert time.monotonic() < deadline, found
            time.sleep(0.2)
        assert found[0]
        assert found[0] > 5 << 20
    finally:
        worker.kill_family(process.pid)
        process.wait()
    assert tree.measure() == (None, None, set())


def test_what_hangs_in_a_thread_is_given_up() -> None:
    async def work() -> None:
        with pytest.raises(TimeoutError):
            await apart(time.sleep, 0.5, timeout_s=0.02)
        with pytest.raises(ZeroDivisionError):
            await apart(divmod, 1, 0)
        assert await apart(divmod, 7, 2) == (3, 1)

    asyncio.run(work())


def test_an_orphans_unreadable_lines_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "orphan.jsonl"
    assert read_orphan(path) == []
    line = msgspec.json.encode(Step(at=1.0, step=1, loss=1.0, learning_rate=1.0, step_ms=1.0))
    path.write_bytes(
        b"\xff\n" + line + b'\n{"type":"ready","pid":1,"import_seconds":1}\n' + line[:9]
    )
    assert [type(r) for r in read_orphan(path)] == [Step]


# ---------------------------------------------------------------- the list of runs


def _summary(number: int, curve: int) -> RunSummary:
    return RunSummary(
        run=f"run-{number}", folder=f"/home/somebody/.local/share/fettle/runs/run-{number}",
        name="n", state=State.FINISHED, phase=Phase.ENDED, step=1, max_steps=1, checkpoints=1,
        attempt=1, method="sft", model="m", dataset="d", kind="LoRA", created_at=1.0,
        loss_curve=[1.2345] * curve,
    )  # fmt: skip


@pytest.mark.parametrize("count", [0, 3, 900, 1500, 4000])
def test_a_list_of_runs_always_fits_a_line(count: int) -> None:
    summaries = [_summary(number, 60) for number in range(count)]
    fitting, left_out = fit_to_line(summaries)
    assert len(msgspec.json.encode(fitting)) < MAX_LINE
    assert len(fitting) + left_out == count
    assert [s.run for s in fitting] == [s.run for s in summaries[: len(fitting)]]
    if count <= 900:
        assert fitting == summaries
    if left_out > 0:
        assert fitting[-1].loss_curve == []


def test_sums_are_the_same_each_time_where_that_is_cheap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PROCESSOR_IDENTIFIER", raising=False)
    info = tmp_path / "cpuinfo"
    info.write_text("vendor_id\t: GenuineIntel\n")
    assert worker.same_sums(info) == {"MKL_DYNAMIC": "FALSE", "MKL_CBWR": "AUTO"}
    info.write_text("vendor_id\t: AuthenticAMD\n")
    assert worker.same_sums(info) == {"MKL_DYNAMIC": "FALSE"}
    assert worker.same_sums(tmp_path / "nowhere") == {"MKL_DYNAMIC": "FALSE"}
