"""Which memory ran out: the right label for every way that it is said, and its own way out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.contract.lifecycle import State
from engine.contract.messages import CheckpointSaved, Decision, StateChanged
from engine.contract.patching import changes, patched, undoes
from engine.contract.toml import to_raw
from engine.diagnosis import diagnose
from engine.diagnosis.comeback import MOST_PATCHES, Ending, Plan, plan_comeback
from engine.planning import remembered
from engine.planning.facts import MachineFacts
from engine.planning.remembered import Entry
from engine.store.tally import Tally
from tests.unit.problem_cases import MACHINE, SPEC, evidence_of

CUDA = "CUDA out of memory. Tried to allocate 1.07 GiB. GPU 0 has a total capacity of 23.64 GiB."
NO_CARD: dict[str, Any] = {"cards": 0}
POOLS: dict[str, list[dict[str, Any]]] = {
    "vram": [
        {"error": "OutOfMemoryError", "text": CUDA, "steps": 3},
        {"error": "OutOfMemoryError", "text": CUDA, "phase": "loading model"},
        {"error": "RuntimeError", "text": "CUDA error: CUBLAS_STATUS_ALLOC_FAILED", "card": 0.98},
        {"exit": 1, "log": f"Traceback (most recent call last):\ntorch.OutOfMemoryError: {CUDA}"},
    ],
    "driver": [
        {"error": "AcceleratorError", "text": "CUDA error: out of memory", "card": 0.97},
        {"error": "RuntimeError", "text": "CUDA error: out of memory", "platform": "wsl",
         "card": 0.4},
        {"error": "RuntimeError", "text": "cudaHostAlloc: out of memory", "platform": "wsl",
         "card": 0.5},
    ],
    "shared": [{"hang": True, "platform": "wsl", "card": 0.99, "steps": 60, "slow": 8}],
    "ram": [
        {"error": "MemoryError"},
        {"error": "RuntimeError", "text": "[enforce fail at alloc_cpu.cpp:117] err == 0. "
         "DefaultCPUAllocator: can't allocate memory: you tried to allocate 604800 bytes."},
        {"exit": -6, "log": "terminate called after throwing an instance of 'std::bad_alloc'"},
        {"error": "ArrowMemoryError", "text": "malloc of size 8589934592 failed"},
        {"exit": -9, "oom_kills": 1},
        {"exit": 137, "oom_kills": 2},
    ],
    "disk": [
        {"error": "OSError", "text": "[Errno 28] No space left on device: '/d/runs/x'"},
    ],
    "": [
        {"exit": -9, "oom_kills": 0, "ram": 0.2},
        {"exit": -11},
        {"error": "RuntimeError", "text": "CUDA error: an illegal memory access was encountered"},
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("pool", "case"), [(pool, case) for pool, cases in POOLS.items() for case in cases]
)
def test_the_label_is_right(pool: str, case: dict[str, Any]) -> None:
    found = diagnose(evidence_of(case))
    assert found, "nothing is known of it"
    assert found[0].pool == pool, found[0].id


def climb(case: dict[str, Any], spec: dict[str, Any]) -> list[dict[str, Any]]:
    """The changes that a run goes through which dies of the same each time, and never saves."""
    taken: list[dict[str, Any]] = []
    changed = patched(spec, [])
    for _ in range(20):
        whole = {**case, "spec": {**case.get("spec", {}), **_flat(taken)}}
        found = diagnose(evidence_of(whole))[0]
        ending = Ending(
            code=found.code, pool=found.pool, problem=found.id, patch=found.patch,
            changes_result=found.changes_result, effect=found.effect, has_progress=True,
        )  # fmt: skip
        plan = plan_comeback(ending, 3)
        if not plan.patch:
            return taken
        taken.append(plan.patch)
        changed = patched(changed, [plan.patch])
    raise AssertionError("the ladder has no end")


def _flat(patches: list[dict[str, Any]]) -> dict[str, Any]:
    return {field: value for patch in patches for field, value in patch.items()}


BATCH = "training.per_device_train_batch_size"
STEPS = "training.gradient_accumulation_steps"
CHECKPOINTING = "training.gradient_checkpointing"


def test_the_ladder_of_the_card_keeps_the_result_and_ends() -> None:
    start = {BATCH: 4, STEPS: 2, CHECKPOINTING: "none"}
    case = {"error": "OutOfMemoryError", "text": CUDA, "steps": 3, "spec": start}
    taken = climb(case, to_raw(SPEC))
    assert taken == [
        {BATCH: 2, STEPS: 4},
        {BATCH: 1, STEPS: 8},
        {CHECKPOINTING: "full"},
        {CHECKPOINTING: "offload"},
    ]


def test_the_drivers_memory_has_a_ladder_of_its_own() -> None:
    start = {BATCH: 4, STEPS: 2, CHECKPOINTING: "offload"}
    text = "CUDA error: out of memory"
    case = {"error": "AcceleratorError", "text": text, "card": 0.5, "steps": 3, "spec": start}
    assert climb(case, to_raw(SPEC)) == [
        {"hardware.safe_mode": "on"},
        {CHECKPOINTING: "full"},
    ]


def rounds_until_it_ends(saves: bool, batch: int) -> list[Plan]:
    """A run whose card is too small without offload and whose RAM is too small with it, as the host
    takes it: its plans, the last of them the end."""
    start = patched(to_raw(SPEC), [{BATCH: batch, STEPS: 1, CHECKPOINTING: "none"}])
    known = Tally(run="r", name="r", created_at=0.0, state=State.TRAINING)
    plans: list[Plan] = []
    for number in range(1, 100):
        spec = patched(start, known.patches)
        offloads = spec["training"][CHECKPOINTING.partition(".")[2]] == "offload"
        case = {"exit": -9, "oom_kills": 1} if offloads else {"error": "OOM", "text": CUDA}
        evidence = evidence_of({**case, "steps": 3})
        found = diagnose(msgspec.structs.replace(evidence, spec=spec))[0]
        patch = found.patch if changes(spec, found.patch) else {}
        chosen = len(known.patches) - known.own_patches
        before = patched(start, known.patches[:chosen])
        ending = Ending(
            code=found.code, pool=found.pool, problem=found.id, patch=patch,
            changes_result=found.changes_result, effect=found.effect, has_progress=True,
            undone=undoes(before, known.patches[chosen:], patch), tries=known.tries,
            vain_patches=known.vain_patches, saved_step=known.saved_step,
        )  # fmt: skip
        plans.append(plan_comeback(ending, 3))
        if plans[-1].action != "resume":
            return plans
        if plans[-1].patch:
            known.apply(Decision(at=0.0, title="T", reason="R", patch=plans[-1].patch))
        for state in (State.RECOVERING, State.QUEUED, State.TRAINING):
            known.apply(StateChanged(at=0.0, attempt=number, state=state))
        if saves and number < 10:
            known.apply(
                CheckpointSaved(
                    at=0.0, step=number, folder="c", bytes=1, seconds=1.0, reason="time"
                )
            )
    raise AssertionError("it never ends")


@pytest.mark.parametrize("saves", [False, True])
def test_two_memories_that_are_both_too_small_end(saves: bool) -> None:
    plans = rounds_until_it_ends(saves, 4)
    assert [plan.patch for plan in plans if plan.patch] == [
        {BATCH: 2, STEPS: 2},
        {BATCH: 1, STEPS: 4},
        {CHECKPOINTING: "full"},
        {CHECKPOINTING: "offload"},
    ]
    assert plans[-1].action == "stop"
    assert "takes back what helped before" in plans[-1].reason
    waits = [plan.seconds for plan in plans]
    assert waits[:4] == ([0.0] * 4 if saves else [0.0, 8.0, 32.0, 60.0])
    assert all(plan.seconds >= 8.0 for plan in plans[4:-1])


def test_changes_without_a_newer_save_are_bounded() -> None:
    plans = rounds_until_it_ends(False, 4096)
    assert sum(1 for plan in plans if plan.patch) == MOST_PATCHES
    assert plans[-1].action == "stop"
    assert "no newer save" in plans[-1].reason


def test_what_a_person_chose_is_no_change_to_keep() -> None:
    known = Tally(run="r", name="r", created_at=0.0, state=State.TRAINING)
    known.apply(Decision(at=0.0, title="T", reason="R", patch={BATCH: 2}))
    assert (known.own_patches, known.vain_patches) == (1, 1)
    known.apply(StateChanged(at=0.0, state=State.STOPPED))
    known.apply(StateChanged(at=0.0, state=State.QUEUED))
    assert (known.own_patches, known.vain_patches) == (1, 0)
    known.apply(Decision(at=0.0, title="T", reason="As you chose.", patch={BATCH: 4}))
    assert (known.own_patches, known.vain_patches) == (0, 0)


def test_a_value_is_taken_back_only_by_another_that_was_there() -> None:
    raw = patched(to_raw(SPEC), [{BATCH: 4, CHECKPOINTING: "full"}])
    offload = {CHECKPOINTING: "offload"}
    assert undoes(raw, [offload], {CHECKPOINTING: "full", BATCH: 2}) == [CHECKPOINTING]
    assert undoes(raw, [offload, {BATCH: 2}], offload) == []
    assert undoes(raw, [offload], {BATCH: 2}) == []
    assert undoes(raw, [], offload) == []


# ---------------------------------------------------------------- remembered


def key(spec: dict[str, Any], machine: MachineFacts = MACHINE) -> str:
    return remembered.key_of(spec, machine)


def test_a_spec_is_known_by_what_it_does_and_not_by_its_name() -> None:
    raw = to_raw(SPEC)
    assert key(raw) == key({**raw, "name": "another"})
    assert key(raw) != key(patched(raw, [{BATCH: 64}]))
    smaller = msgspec.structs.replace(MACHINE, ram_total_bytes=4 << 30)
    assert key(raw) != key(raw, smaller)


def test_what_helped_is_kept_on_top_of_what_did_not_suffice(tmp_path: Path) -> None:
    assert remembered.recall(tmp_path, "k") is None
    remembered.remember(tmp_path, "k", Entry(patch={BATCH: 2, STEPS: 4}, pool="ram", run="a"))
    remembered.remember(tmp_path, "k", Entry(patch={BATCH: 1, STEPS: 8}, pool="ram", run="b"))
    remembered.remember(tmp_path, "k", Entry(patch={CHECKPOINTING: "full"}, pool="ram", run="b"))
    found = remembered.recall(tmp_path, "k")
    assert found is not None
    assert found.patch == {BATCH: 1, STEPS: 8, CHECKPOINTING: "full"}
    (tmp_path / remembered.FILE).write_bytes(b"{")
    assert remembered.recall(tmp_path, "k") is None
