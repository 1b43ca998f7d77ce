"""Whatever ends or hinders a save, there is a sound one to go on from: quick parts of the matrices
in ``tests/bench``, each beside a naive saver in which they must find something."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.failpoints import POINTS, VARIABLE
from engine.store.checkpoints import newest_verified, published
from engine.store.manifest import verify
from tests.bench import saver_under_test
from tests.bench.saver_under_test import STEP

if sys.platform != "linux":
    pytest.skip("faults are made with strace and /proc", allow_module_level=True)

from tests.bench import power_loss, syscall_matrix

QUICK = 47
"""Of the nearly 900 points, one in so many: a prime, so that every fault and call has its turn."""


def base_of(folder: Path) -> Path:
    return syscall_matrix.make_run(folder / "base")


def test_a_power_cut_at_any_moment_leaves_a_sound_save(tmp_path: Path) -> None:
    found = list(power_loss.cuts(base_of(tmp_path), "fettle"))
    assert len(found) > 100
    assert [each for each in found if each[2]] == []


def test_a_power_cut_ruins_a_naive_save(tmp_path: Path) -> None:
    found = list(power_loss.cuts(base_of(tmp_path), "naive"))
    assert sum(bool(problem) for _, _, problem in found) > len(found) / 4


def test_the_model_of_the_disk_sees_what_fsync_is_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = _cuts_without_fsync(base_of(tmp_path), monkeypatch)
    assert [problem for _, _, problem in found if problem]


def _cuts_without_fsync(base: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str, str]]:
    real = power_loss.Disk.play

    def play(disk: power_loss.Disk, operation: power_loss.Operation) -> None:
        if operation.kind != "sync":
            real(disk, operation)

    monkeypatch.setattr(power_loss.Disk, "play", play)
    return list(power_loss.cuts(base, "fettle"))


@pytest.mark.skipif(not syscall_matrix.has_strace(), reason="there is no strace that may trace")
def test_no_fault_of_a_system_call_leaves_a_broken_newest(tmp_path: Path) -> None:
    verdicts = list(syscall_matrix.matrix(tmp_path, "fettle", QUICK))
    assert len(verdicts) > 15
    assert [verdict for verdict in verdicts if verdict.problem] == []


@pytest.mark.skipif(not syscall_matrix.has_strace(), reason="there is no strace that may trace")
def test_faults_of_system_calls_break_a_naive_save(tmp_path: Path) -> None:
    verdicts = list(syscall_matrix.matrix(tmp_path, "naive", 13))
    assert any("is broken" in verdict.problem for verdict in verdicts)


BEFORE_THE_DISK = ("save.snapshot", "save.copy")


@pytest.mark.parametrize("fault", ["kill", "enospc"])
@pytest.mark.parametrize(
    "point",
    [name for name in POINTS if name.startswith("save.") and name not in BEFORE_THE_DISK],
)
def test_a_save_that_meets_a_fault_at_a_failpoint_leaves_a_sound_one(
    point: str, fault: str, tmp_path: Path
) -> None:
    run = base_of(tmp_path)
    done = subprocess.run(
        [sys.executable, str(Path(saver_under_test.__file__)), str(run), "fettle"],
        env={**os.environ, VARIABLE: f"{point}={fault}"}, check=False, capture_output=True,
    )  # fmt: skip
    assert done.returncode != 0
    step, folder = published(run)[-1]
    assert verify(folder) == []
    # From the moment that it has its name it counts, whether anybody hears of it or not.
    assert step == (STEP if point in ("save.published", "save.rotate") else 200)
    saver_under_test.save(run, STEP)
    assert newest_verified(run).step == STEP
    assert not [path for path in folder.parent.iterdir() if path.name.startswith(".")]
