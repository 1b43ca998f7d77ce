"""Which memory ran out: the right label for every way that it is said, and its own way out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.contract.patching import patched
from engine.contract.toml import to_raw
from engine.diagnosis import diagnose
from engine.diagnosis.comeback import Ending, plan_comeback
from engine.planning import remembered
from engine.planning.facts import MachineFacts
from engine.planning.remembered import Entry
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
