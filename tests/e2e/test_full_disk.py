"""A disk that is full in the middle of a training costs no step, and the end is the same."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from engine.contract.messages import (
    CheckpointSaved,
    Done,
    Finding,
    ListRuns,
    Record,
    Remove,
    Step,
    VerifySaves,
)
from engine.worker.sample_model import write_sample_model
from tests.e2e import host_driver
from tests.e2e.host_driver import HostUnderTest, messages_of, records_to_done, start_run

DISK_BYTES = 12 << 20
STEPS = 28


@pytest.fixture
def small_disk(fettle_home: Path) -> Iterator[Path]:
    """The store of this home is a disk of its own, of 12 MiB."""
    store = fettle_home / "runs"
    store.mkdir()
    yield from _mounted(store, DISK_BYTES)


def _mounted(folder: Path, size: int) -> Iterator[Path]:
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root can mount a small disk; the failpoints do the same elsewhere")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def small_home(fettle_home: Path) -> Iterator[Path]:
    """All of this home is a disk of its own, of 4 MiB."""
    yield from _mounted(fettle_home, 4 << 20)


def fill(ballast: Path) -> None:
    """Take every byte of the disk."""
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 16))
    with suppress(OSError), ballast.open("ab", buffering=0) as file:
        while True:
            file.write(b"\0")


def digest(store: Path, run: str) -> str:
    weights = store / run / "output/adapter_model.safetensors"
    return hashlib.sha256(weights.read_bytes()).hexdigest()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_run_outlives_a_full_disk(
    small_disk: Path, hosts: HostUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two real workers begin, on a machine that may do other things as well.
    monkeypatch.setattr(host_driver, "PATIENCE_SECONDS", 120.0)
    del hosts.environment["FETTLE_WORKER_COMMAND"]
    model = write_sample_model(hosts.home / "tiny", hidden=32, vocab=600)
    spec = hosts.spec(max_steps=STEPS, max_length=32, save_steps=4, save_minutes=0.0)
    spec |= {"model": {"path": str(model)}}
    hosts.start(FETTLE_FAILPOINTS="worker.step=sleep(0.03)")
    client = hosts.connect()
    calm = start_run(client, spec)
    records_to_done(calm)
    run = start_run(client, spec)
    told = _with_a_full_disk(run, small_disk / "ballast")
    done = told[-1]
    assert isinstance(done, Done)
    assert done.outcome == "finished", done
    assert [record.step for record in told if isinstance(record, Step)] == list(range(1, STEPS + 1))
    codes = [record.code for record in told if isinstance(record, Finding)]
    assert codes.count("save_failed") == 1
    assert "save_works_again" in codes
    assert digest(small_disk, run) == digest(small_disk, calm)
    # Nothing half written is left, and the history has everything.
    assert not list((small_disk / run / "checkpoints").glob(".*"))
    assert [r.seq for r in records_to_done(run)] == [r.seq for r in told]
    saves = client.request(VerifySaves(id=0, run=run))["saves"]
    assert [save["verdict"] for save in saves] == ["sound"] * 3


def _with_a_full_disk(run: str, ballast: Path) -> list[Record]:
    """Follow the run to its end; after its first save the disk is full, until five steps after
    Fettle has said so."""
    told: list[Record] = []
    room_at = 0
    for message in messages_of(run):
        if isinstance(message, Record):
            told.append(message)
        if isinstance(message, CheckpointSaved) and not ballast.exists() and not room_at:
            fill(ballast)
        elif isinstance(message, Finding) and message.code == "save_failed":
            room_at = (message.step or 0) + 5
        elif isinstance(message, Step) and message.step == room_at:
            ballast.unlink()
        elif isinstance(message, Done):
            break
    return told


def test_where_no_byte_is_free_a_host_starts_and_removes_runs(
    small_home: Path, hosts: HostUnderTest
) -> None:
    process = hosts.start()
    client = hosts.connect()
    run = start_run(client, hosts.spec())
    records_to_done(run)
    process.terminate()
    assert process.wait(20) == 0
    fill(small_home / "ballast")
    process = hosts.start()
    client = hosts.connect()
    assert client.request(Remove(id=0, run=run)) == {"run": run}
    assert client.request(ListRuns(id=0)) == {"runs": []}
