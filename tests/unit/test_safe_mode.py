"""Safe mode: which lines a machine takes, and what they come to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.planning import hardware
from engine.planning.facts import judge
from engine.planning.hardware import DESKTOP_MARGIN_BYTES
from engine.planning.pinned import ASSUMED_WSL_BYTES, Measured, budget_bytes
from engine.planning.safe_mode import (
    NOTHING_LEFT_OUT,
    SafeMode,
    Situation,
    choose,
    ring_bytes,
    situation_of,
)
from tests.unit.machines import GIB, MIB, RTX3090, linux, nvml, wsl

AMPERE = Situation(platform="linux", compute_capability=(8, 6), card_bytes=24 * GIB)
WSL = Situation(
    platform="wsl", compute_capability=(8, 6), card_bytes=24 * GIB, pinned_budget_bytes=600 * MIB
)
TURING = Situation(platform="linux", compute_capability=(7, 5), card_bytes=11 * GIB)
ALL_OF_WSL = {
    "offload", "loader_pin", "loader_workers", "no_fork", "tokenizers", "expandable_segments",
    "paged_optimizers", "memory_cap",
}  # fmt: skip


def actions(safe: SafeMode) -> set[str]:
    return {line.action for line in safe.lines}


def test_a_new_card_on_linux_leaves_nothing_out() -> None:
    safe = choose("auto", AMPERE)
    assert safe == SafeMode(switch="auto", lines=[], offload="pinned")


def test_wsl_leaves_out_what_it_cannot() -> None:
    safe = choose("auto", WSL)
    assert actions(safe) == ALL_OF_WSL
    assert (safe.offload, safe.ring_bytes) == ("ring", 256 * MIB)
    assert safe.margin_bytes == hardware.spill_margin_bytes(24 * GIB, "wsl") > 0


def test_switched_off_wsl_leaves_nothing_out() -> None:
    safe = choose("off", WSL)
    assert not safe.lines
    assert safe.offload == "pinned"
    assert not safe.margin_bytes


def test_switched_on_linux_takes_what_wsl_takes_and_pins_nothing() -> None:
    safe = choose("on", AMPERE)
    assert actions(safe) == ALL_OF_WSL
    assert safe.offload == "blocking"
    assert safe.margin_bytes > 0


def test_windows_has_lines_of_its_own() -> None:
    windows = Situation(
        platform="windows", compute_capability=(8, 9), card_bytes=12 * GIB,
        pinned_budget_bytes=8 * GIB,
    )  # fmt: skip
    safe = choose("auto", windows)
    assert {line.group for line in safe.lines} == {"Windows"}
    assert actions(safe) == {
        "offload", "loader_workers", "expandable_segments", "paged_optimizers", "memory_cap",
    }  # fmt: skip


@pytest.mark.parametrize("switch", ["auto", "on", "off"])
def test_what_a_card_cannot_do_is_no_matter_of_choice(switch: str) -> None:
    safe = choose(switch, TURING)  # type: ignore[arg-type]
    assert {"fp16", "flash_attention"} <= actions(safe)
    assert any("7.5" in line.reason for line in safe.lines)


def test_runs_on_a_windows_drive_are_told_of() -> None:
    on_c = Situation(platform="wsl", store_filesystem="9p")
    assert choose("auto", on_c).has("store")
    assert not choose("auto", Situation(platform="wsl", store_filesystem="ext4")).has("store")
    assert not choose("on", Situation(platform="linux", store_filesystem="9p")).has("store")


def test_without_a_card_nothing_is_said_of_cards() -> None:
    safe = choose("on", Situation(platform="linux"))
    assert actions(safe) == {"loader_workers", "no_fork", "tokenizers"}


@pytest.mark.parametrize(
    ("size", "screen", "capped"), [(6, True, True), (6, False, False), (12, True, False)]
)
def test_a_small_card_keeps_room_for_its_screen(size: int, screen: bool, capped: bool) -> None:
    safe = choose(
        "auto",
        Situation(
            platform="linux", compute_capability=(8, 6), card_bytes=size * GIB,
            drives_display=screen,
        ),
    )  # fmt: skip
    assert safe.has("memory_cap") is capped
    assert safe.margin_bytes == (DESKTOP_MARGIN_BYTES if capped else 0)


@pytest.mark.parametrize(
    ("budget", "ring", "way"),
    [
        (0, 0, "blocking"),
        (63 * MIB, 0, "blocking"),
        (64 * MIB, 64 * MIB, "ring"),
        (200 * MIB, 128 * MIB, "ring"),
        (GIB, 256 * MIB, "ring"),
    ],
)
def test_the_ring_stays_within_the_budget(budget: int, ring: int, way: str) -> None:
    safe = choose(
        "auto", Situation(platform="wsl", card_bytes=11 * GIB, pinned_budget_bytes=budget)
    )
    assert (safe.ring_bytes, safe.offload) == (ring, way)
    assert ring_bytes(budget) == ring


SITUATIONS = st.builds(
    Situation,
    platform=st.sampled_from(["linux", "windows", "wsl"]),
    compute_capability=st.none() | st.tuples(st.integers(3, 12), st.integers(0, 9)),
    card_bytes=st.none() | st.integers(0, 200 * GIB),
    drives_display=st.booleans(),
    pinned_budget_bytes=st.none() | st.integers(0, 64 * GIB),
    store_filesystem=st.none() | st.sampled_from(["9p", "ext4", "NTFS"]),
)


@given(situation=SITUATIONS, switch=st.sampled_from(["auto", "on", "off"]))
def test_lines_are_whole_on_any_machine(situation: Situation, switch: str) -> None:
    safe = choose(switch, situation)  # type: ignore[arg-type]
    assert len(actions(safe)) == len(safe.lines)
    assert all(line.title.endswith(".") and line.reason.endswith(".") for line in safe.lines)
    assert (safe.offload == "ring") == bool(safe.ring_bytes)
    assert safe.ring_bytes <= (situation.pinned_budget_bytes or 0)
    assert bool(safe.margin_bytes) == (safe.has("memory_cap") and situation.card_bytes is not None)
    if switch == "auto":
        assert actions(safe) <= actions(choose("on", situation)) | {"store"}
        assert actions(choose("off", situation)) <= actions(safe)


def test_a_plan_and_the_worker_see_the_same_situation() -> None:
    machine = hardware.machine_of(judge(wsl(nvml(RTX3090), 210_000_000)))
    situation = situation_of(machine, "9p")
    assert situation.platform == "wsl"
    assert situation.compute_capability == (8, 6)
    assert situation.card_bytes == RTX3090.total_bytes
    assert situation.pinned_budget_bytes == int(0.8 * 210_000_000)
    assert choose("auto", situation).ring_bytes == 128 * MIB


def test_nothing_left_out_is_what_linux_has() -> None:
    off = choose("off", AMPERE)
    assert (off.lines, off.offload) == (NOTHING_LEFT_OUT.lines, NOTHING_LEFT_OUT.offload)


# ---------------------------------------------------------------- pinned memory


@pytest.mark.parametrize(
    ("measured", "platform", "ram", "budget"),
    [
        (None, "linux", 64 * GIB, None),
        (None, "wsl", 64 * GIB, ASSUMED_WSL_BYTES),
        (None, "windows", 32 * GIB, 8 * GIB),
        (None, "windows", None, GIB),
        (Measured(why="No."), "wsl", None, ASSUMED_WSL_BYTES),
        (Measured(pinned_bytes=1000, cap_bytes=4000), "linux", None, 800),
        (Measured(pinned_bytes=4000, cap_bytes=4000), "linux", None, None),
        (Measured(pinned_bytes=4000, cap_bytes=4000), "wsl", None, 3200),
        (Measured(pinned_bytes=0, cap_bytes=4000), "wsl", None, 0),
    ],
)
def test_what_a_run_may_pin(
    measured: Measured | None, platform: str, ram: int | None, budget: int | None
) -> None:
    assert budget_bytes(measured, platform, ram) == budget


def test_another_platform_does_not_inherit_the_measurement() -> None:
    facts = judge(linux(nvml(RTX3090), pinned=Measured(pinned_bytes=GIB, cap_bytes=16 * GIB)))
    assert hardware.machine_of(facts).pinned_budget_bytes == int(0.8 * GIB)
    assert hardware.machine_of(facts, platform="wsl").pinned_budget_bytes == ASSUMED_WSL_BYTES
