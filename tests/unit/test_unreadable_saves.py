"""A disk that does not let a save be read costs no save: it stays, and is tried again."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.contract import messages as m
from engine.contract.lifecycle import Event, State
from engine.contract.messages import Done, Finding
from engine.host import resuming
from engine.host.connection import Refused
from engine.host.scheduler import Scheduler
from engine.store import files
from engine.store import manifest as manifests
from engine.store.checkpoints import (
    NewerCheckpoint,
    SaveUnreadable,
    name_of,
    newest_verified,
    published,
)
from engine.store.manifest import MANIFEST, verify
from engine.store.records import read_records
from engine.store.rotation import rotate
from engine.store.soundness import check_saves, in_words, is_well, passed_over, resumes_from
from engine.store.staging import publish, stage
from tests.unit.test_host_duties import House, run_async
from tests.unit.test_store_checkpoints import make_newer

WEIGHTS = "model.safetensors"


def save(run: Path, step: int) -> Path:
    staging = stage(run, step)
    (staging / WEIGHTS).write_bytes(b"weights" * step)
    return publish(staging, step=step, fields={})


class Disk:
    """Fails reading, so many times, in files of the given saves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.waits: list[float] = []
        self._fails: dict[int, int] = {}
        self._error: Callable[[], OSError] = _eio
        real = manifests.hash_of

        def hash_of(path: Path) -> str:
            step = int(path.parent.name.split("-")[1])
            if self._fails.get(step, 0) > 0:
                self._fails[step] -= 1
                raise self._error()
            return real(path)

        monkeypatch.setattr(manifests, "hash_of", hash_of)
        monkeypatch.setattr(files.time, "sleep", self.waits.append)

    def fails(self, *steps: int, times: int = 1 << 30, error: OSError | None = None) -> None:
        self._fails = dict.fromkeys(steps, times)
        self._error = (lambda: error) if error else _eio


def _eio() -> OSError:
    return OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    for step in (10, 20, 30):
        save(tmp_path, step)
    return tmp_path


def test_one_read_error_costs_nothing(run: Path, disk: Disk) -> None:
    disk.fails(30, times=1)
    choice = newest_verified(run)
    assert (choice.step, choice.notes) == (30, [])
    assert len(disk.waits) == 1


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES])
def test_saves_on_a_disk_that_is_away_stay_as_they_are(run: Path, disk: Disk, number: int) -> None:
    before = sorted((run / "checkpoints").iterdir())
    disk.fails(10, 20, 30, error=OSError(number, os.strerror(number)))
    for passes_over in (False, True):
        with pytest.raises(SaveUnreadable, match=f"step 30 cannot be read.*{WEIGHTS}") as caught:
            newest_verified(run, passes_over=passes_over)
        assert (caught.value.errno, caught.value.step) == (number, 30)
    assert sorted((run / "checkpoints").iterdir()) == before
    disk.fails()
    assert newest_verified(run).step == 30


def test_a_last_try_goes_on_from_what_can_be_read_and_leaves_the_rest(
    run: Path, disk: Disk
) -> None:
    disk.fails(30)
    choice = newest_verified(run, passes_over=True)
    assert choice.step == 20
    assert "step 30 is passed over, and stays where it is" in passed_over(choice, 33)
    assert [step for step, _ in published(run)] == [10, 20, 30]


def test_what_was_set_aside_and_is_sound_is_taken_back(run: Path) -> None:
    for step in (20, 30):
        folder = run / "checkpoints" / name_of(step)
        folder.rename(folder.with_name(f".broken-{folder.name}-1"))
    told = in_words(check_saves(run))
    assert "step 30 was set aside by an earlier resume, and is sound now: the next one tak" in told
    assert told.endswith("Resume goes on from step 30.")
    choice = newest_verified(run)
    assert (choice.step, choice.folder) == (30, run / "checkpoints" / name_of(30))
    assert "step 30, which was set aside earlier, is sound and was taken back" in choice.taken_back
    assert passed_over(choice, 30) == choice.taken_back
    assert newest_verified(run).taken_back == ""


def test_a_save_of_a_course_that_was_given_up_is_not_taken_back(run: Path) -> None:
    """The run went on from before it, perhaps with other settings."""
    folder = run / "checkpoints" / name_of(30)
    folder.rename(folder.with_name(f".broken-{folder.name}-1"))
    save(run, 25)
    assert newest_verified(run).step == 25
    told = in_words(check_saves(run))
    assert "is sound now; the run has newer ones" in told
    assert resumes_from(check_saves(run)) == 25


def test_what_is_damaged_stays_set_aside(run: Path) -> None:
    (run / "checkpoints" / name_of(30) / WEIGHTS).write_bytes(b"other")
    assert newest_verified(run).step == 20
    assert newest_verified(run).step == 20
    assert "was set aside by an earlier resume: model.safetensors has 5" in in_words(
        check_saves(run)
    )


def test_verify_tells_unreadable_from_damaged(run: Path, disk: Disk) -> None:
    disk.fails(30)
    saves = check_saves(run)
    assert [each.verdict for each in saves] == ["sound", "sound", "unreadable"]
    assert not is_well(saves)
    told = in_words(saves)
    assert "The save of step 30 is unreadable: " in told
    assert "A resume waits" in told
    assert resumes_from(saves) is None
    disk.fails(10)
    assert resumes_from(check_saves(run)) == 30


def test_a_folder_in_the_place_of_a_file_is_damage(run: Path) -> None:
    victim = run / "checkpoints" / name_of(30)
    for name in (WEIGHTS, MANIFEST):
        (victim / name).unlink()
        (victim / name).mkdir()
        assert verify(victim) == [f"{name} is not a file."]


def test_rotation_counts_no_save_that_it_cannot_read(run: Path, disk: Disk) -> None:
    save(run, 40)
    disk.fails(40)
    assert rotate(run, 2) == [10]
    assert [step for step, _ in published(run)] == [20, 30, 40]


def test_a_newer_one_is_refused_before_anything_is_taken_back(run: Path) -> None:
    make_newer(run / "checkpoints" / name_of(20))
    folder = run / "checkpoints" / name_of(30)
    folder.rename(folder.with_name(f".broken-{folder.name}-1"))
    with pytest.raises(NewerCheckpoint):
        newest_verified(run)


# ---------------------------------------------------------------- what the host makes of it


def test_a_resume_of_unreadable_saves_is_refused_with_the_file(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resuming, "complaints_about", lambda *_, **__: (None, []))

    async def work() -> None:
        house = House(tmp_path)
        run = await house.make(Event.STOP)
        folder = save(house.book.folder(run), 30)
        disk.fails(30)
        with pytest.raises(Refused, match=f"{WEIGHTS}: Input/output error. Nothing is lost"):
            await house.ask(m.Resume(id=1, run=run))
        assert house.book.state(run) is State.STOPPED
        disk.fails()
        assert (await house.ask(m.Resume(id=2, run=run))).data["step"] == 30
        assert folder.is_dir()
        await house.book.close_all()

    run_async(work)


async def _launched(scheduler: Scheduler, run: str) -> None:
    scheduler._book.move(run, Event.LAUNCH)
    await scheduler._launch(run)


@pytest.mark.parametrize("automatic", [True, False])
def test_a_run_whose_save_cannot_be_read_waits_for_the_disk(
    fettle_home: Path, disk: Disk, automatic: bool
) -> None:
    async def work() -> None:
        house = House(fettle_home, automatic=automatic)
        run = await house.make(Event.ENQUEUE)
        folder = save(house.book.folder(run), 30)
        disk.fails(30)
        await _launched(house.scheduler, run)
        assert house.book.state(run) is (State.RECOVERING if automatic else State.FAILED)
        assert folder.is_dir()
        found = [r for r in read_records(house.book.folder(run)) if isinstance(r, Finding)]
        assert [each.code for each in found] == ["save_unreadable"]
        assert WEIGHTS in found[0].cause
        assert (house.book.tallies[run].resumes_at is not None) == automatic
        await house.book.close_all()

    run_async(work)


def test_with_its_last_try_a_run_goes_on_from_an_older_save(fettle_home: Path, disk: Disk) -> None:
    async def work() -> None:
        house = House(fettle_home, automatic=True)
        run = await house.make(Event.ENQUEUE)
        for step in (20, 30):
            save(house.book.folder(run), step)
        disk.fails(30)
        for _ in range(house.scheduler._comeback.options.resume_tries):
            await _launched(house.scheduler, run)
            assert house.book.state(run) is State.RECOVERING
            house.book.move(run, Event.RESUME)
        assert (await house.scheduler._choose(run)).step == 20
        disk.fails(20, 30)
        await _launched(house.scheduler, run)
        assert house.book.state(run) is State.FAILED  # It can be resumed as soon as the disk can.
        *_, done = read_records(house.book.folder(run))
        assert isinstance(done, Done)
        assert "Nothing is lost" in done.sentence
        await house.book.close_all()

    run_async(work)


def test_a_host_that_finds_a_run_with_unreadable_saves_says_so(tmp_path: Path, disk: Disk) -> None:
    async def work() -> None:
        before = House(tmp_path)
        run = await before.make(Event.ENQUEUE, Event.LAUNCH)
        folder = save(before.book.folder(run), 30)
        await before.book.close_all()
        disk.fails(30)
        house = House(tmp_path)
        await house.recovery.work()
        assert house.book.state(run) is State.INTERRUPTED
        assert "step 30 cannot be read" in house.book.tallies[run].sentence
        assert folder.is_dir()
        await house.book.close_all()

    run_async(work)
