"""Which ends of an attempt a run goes on after by itself: the policy as a table."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.diagnosis.comeback import Ending, plan_comeback
from engine.store import options
from engine.store.options import Options

SMALLER = {"training.per_device_train_batch_size": 1}

GOES_ON = {
    "a crash": Ending(code="worker_lost", problem="native_crash"),
    "killed by the system": Ending(code="worker_lost", problem="host_oom_killer"),
    "a stall": Ending(code="stalled"),
    "the host was lost": Ending(is_lost=True),
    "the host was lost before a step": Ending(is_lost=True, code="unknown"),
    "a card that answers wrongly": Ending(code="illegal_access", problem="illegal_access"),
    "a loader that died": Ending(code="dl_worker_died", problem="dl_worker_died"),
    "no memory, nothing to change": Ending(code="out_of_memory", pool="vram"),
    "unknown, in the midst": Ending(code="unknown", has_progress=True),
    "a fix that keeps the result": Ending(code="shm", patch=SMALLER),
}
STOPS = {
    "ruined": Ending(code="diverged", has_progress=True),
    "ruined, and the host lost": Ending(code="diverged", is_lost=True),
    "ruined, with a patch": Ending(code="diverged", patch={"training.learning_rate": 1e-5}),
    "no numbers": Ending(code="nan_loss", has_progress=True),
    "no gradient": Ending(code="no_gradient", has_progress=True),
    "bad data": Ending(code="bad_data", has_progress=True),
    "no model": Ending(code="missing_model"),
    "the data changed": Ending(code="dataset_changed"),
    "a full disk": Ending(code="disk_full", problem="disk_full", pool="disk"),
    "no card": Ending(code="no_gpu"),
    "unknown, before a step": Ending(code="unknown"),
    "asked to end": Ending(code="worker_lost", problem="asked_to_end", has_progress=True),
}


@pytest.mark.parametrize("name", GOES_ON)
def test_what_may_pass_is_tried_again(name: str) -> None:
    assert plan_comeback(GOES_ON[name], 3).action == "resume"


@pytest.mark.parametrize("name", STOPS)
def test_what_does_not_pass_is_left_to_people(name: str) -> None:
    assert plan_comeback(STOPS[name], 3).action == "stop"


@pytest.mark.parametrize("name", [*GOES_ON, *STOPS])
def test_tries_are_bounded(name: str) -> None:
    ending = msgspec.structs.replace((GOES_ON | STOPS)[name], tries=3)
    assert plan_comeback(ending, 3).action == "stop"
    assert plan_comeback(ending, 0).action == "stop"


def test_a_crash_loop_is_told_with_its_numbers() -> None:
    plan = plan_comeback(Ending(code="worker_lost", tries=3, saved_step=40), 3)
    assert plan.reason.startswith(
        "It was resumed 3 times without coming further than the save of step 40"
    )
    assert "its beginning" in plan_comeback(Ending(is_lost=True, tries=1), 1).reason
    assert plan_comeback(Ending(is_lost=True), 0).reason == ""


def test_what_changes_the_result_is_asked_and_never_done() -> None:
    ending = Ending(code="out_of_memory", pool="vram", patch=SMALLER, changes_result=True)
    plan = plan_comeback(ending, 3)
    assert (plan.action, plan.patch) == ("ask", {})
    assert "yours to decide" in plan.reason
    assert plan_comeback(Ending(code="shm", patch=SMALLER, changes_result=True), 3).action == "ask"


def test_at_the_last_rung_what_had_worked_is_tried_three_times_and_then_asked() -> None:
    ending = Ending(
        code="out_of_memory", pool="vram", patch=SMALLER, changes_result=True, saved_step=5
    )
    for tries in range(3):
        plan = plan_comeback(msgspec.structs.replace(ending, tries=tries), 3)
        assert (plan.action, plan.patch) == ("resume", {})
    assert plan_comeback(msgspec.structs.replace(ending, tries=3), 3).action == "ask"


def test_a_fix_is_taken_at_once() -> None:
    plan = plan_comeback(Ending(code="out_of_memory", patch=SMALLER, tries=2), 3)
    assert (plan.action, plan.patch, plan.seconds) == ("resume", SMALLER, 0.0)


def test_a_fix_that_undoes_an_earlier_one_is_left_to_people() -> None:
    ending = Ending(code="shm", patch=SMALLER, undone=[*SMALLER])
    plan = plan_comeback(ending, 3)
    assert (plan.action, plan.patch) == ("stop", {})
    assert "per_device_train_batch_size" in plan.reason
    passing = msgspec.structs.replace(ending, pool="ram", tries=1)
    assert (plan_comeback(passing, 3).patch, plan_comeback(passing, 3).seconds) == ({}, 32.0)


def test_waits_grow_and_end() -> None:
    def seconds(tries: int) -> float:
        return plan_comeback(Ending(code="worker_lost", tries=tries), 100).seconds

    assert [seconds(tries) for tries in range(3)] == [8.0, 32.0, 128.0]
    assert seconds(50) == 900.0
    assert plan_comeback(Ending(is_lost=True), 3).seconds == 0.0
    assert plan_comeback(Ending(is_lost=True, tries=1), 3).seconds == 32.0


@given(
    code=st.sampled_from(["", "worker_lost", "out_of_memory", "diverged", "unknown", "bad_data"]),
    patch=st.sampled_from([{}, SMALLER]),
    changes=st.booleans(),
    tries=st.integers(0, 9),
    most=st.integers(0, 9),
    lost=st.booleans(),
)
def test_never_more_than_allowed_and_never_another_result(
    code: str, patch: dict[str, int], changes: bool, tries: int, most: int, lost: bool
) -> None:
    plan = plan_comeback(
        Ending(code=code, patch=patch, changes_result=changes, tries=tries, is_lost=lost), most
    )
    if plan.action == "resume":
        assert tries < most
        assert not (plan.patch and changes)
        assert code != "diverged"


# ---------------------------------------------------------------- the options


def test_options_are_kept_and_checked(tmp_path: Path) -> None:
    assert options.read(tmp_path) == Options()
    changed, complaints = options.change(tmp_path, {"resume_tries": 7})
    assert (changed.resume_tries, complaints) == (7, [])
    assert options.read(tmp_path) == changed
    same, complaints = options.change(tmp_path, {"resume_tries": -1, "resume_forever": True})
    assert same == changed
    assert [c.field for c in complaints] == ["resume_tries", "resume_forever"]
    _, (text,) = options.change(tmp_path, {"resume_tries": "x"})
    assert text.problem == "'x' does not fit: expected a whole number, got text."
    assert text.remedy == "Write it as in resume_tries=3."
    assert options.read(tmp_path).resume_tries == 7


def test_a_damaged_file_of_options_is_as_none(tmp_path: Path) -> None:
    (tmp_path / options.FILE).write_text('{"format": 1, "options": {"resume_tries": "many"}}')
    assert options.read(tmp_path) == Options()
    (tmp_path / options.FILE).write_bytes(b"\xff{")
    assert options.read(tmp_path) == Options()


def test_each_option_says_what_it_is() -> None:
    said = options.descriptions()
    assert set(said) == set(Options.__struct_fields__)
    assert all(text.endswith(".") for text in said.values())
