"""Hardware profiles, and the machine that a run is planned for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.contract.validate import check
from engine.planning import conflicts, hardware, learnt
from engine.planning.facts import GpuFacts, MachineFacts, judge
from engine.planning.hardware import UnknownProfile, find, machine_of
from tests.unit.machines import (
    GIB,
    MIB,
    NO_DRIVER,
    RTX2080TI,
    RTX3060,
    RTX3090,
    card,
    linux,
    memory,
    nvml,
    windows,
    wsl,
)  # fmt: skip

IDS = (
    "gtx-1080-ti", "t4", "rtx-2060", "rtx-2080-ti", "rtx-3060-12", "rtx-3080-10", "rtx-3090",
    "rtx-4060-ti-16", "rtx-4070", "rtx-4090", "rtx-5090", "a10", "l4", "a100-40", "a100-80",
    "h100", "h200", "2x-rtx-3090", "3x-rtx-3090", "cpu",
)  # fmt: skip
OWN = """
[[card]]
id = "rtx-a2000"
name = "RTX A2000"
driver_names = ["RTX A2000 12GB"]
memory_mib = 12282
compute_capability = [8, 6]
bandwidth_gb_per_second = 288
half_tflops = 32
single_tflops = 8
"""


def facts(*cards: Any, **more: Any) -> MachineFacts:
    return judge(linux(nvml(*cards), **more))


# ---------------------------------------------------------------- the list


def test_the_list_is_whole() -> None:
    known = {profile.id: profile for profile in hardware.profiles()}
    assert set(IDS) <= set(known)
    for profile in known.values():
        assert profile.name
        assert 0 < profile.single_flops <= profile.half_flops or profile.id == "cpu"
        assert profile.bandwidth_bytes_per_second > 1e10
        capability = profile.compute_capability
        assert profile.has_bf16 == (capability is not None and capability >= (8, 0))
        assert (profile.memory_bytes is None) == (profile.id == "cpu")
        if profile.memory_bytes is not None:
            assert 4 * GIB < profile.memory_bytes < 200 * GIB
            assert 0 < profile.context_bytes < GIB
            # Measured on an H200: 32 MiB for each of two threads.
            assert profile.workspace_bytes == 64 << 20


@pytest.mark.parametrize(
    ("id", "mib", "capability", "bf16", "half", "bandwidth"),
    [
        ("gtx-1080-ti", 11264, (6, 1), False, 11.3, 484),
        ("t4", 15360, (7, 5), False, 65, 320),
        ("rtx-3090", 24576, (8, 6), True, 71, 936),
        ("rtx-4090", 24564, (8, 9), True, 165.2, 1008),
        ("a100-80", 81920, (8, 0), True, 312, 1935),
        ("h100", 81559, (9, 0), True, 989, 3350),
        ("rtx-5090", 32607, (12, 0), True, 209.5, 1792),
    ],
)
def test_figures_are_the_makers(
    id: str, mib: int, capability: tuple[int, int], bf16: bool, half: float, bandwidth: float
) -> None:
    found = hardware.find(id)
    assert found is not None
    assert found.memory_bytes == mib * MIB
    assert (found.compute_capability, found.has_bf16) == (capability, bf16)
    assert found.half_flops == pytest.approx(half * 1e12)
    assert found.bandwidth_bytes_per_second == pytest.approx(bandwidth * 1e9)


def test_several_cards_are_described_by_one() -> None:
    one, two, three = (hardware.find(f"{many}rtx-3090") for many in ("", "2x-", "3x-"))
    assert one is not None
    assert two is not None
    assert three is not None
    assert (one.card_count, two.card_count, three.card_count) == (1, 2, 3)
    assert one.memory_bytes == two.memory_bytes == three.memory_bytes


def test_an_id_may_be_written_in_any_case() -> None:
    assert hardware.find(" RTX-3090 ") == hardware.find("rtx-3090") != None  # noqa: E711
    assert hardware.find("rtx-9999") is None


# ---------------------------------------------------------------- the user's own


def own(home: Path, text: str, name: str = "mine.toml") -> None:
    (home / "hardware").mkdir(exist_ok=True)
    (home / "hardware" / name).write_text(text)


def test_users_add_their_own(fettle_home: Path) -> None:
    own(fettle_home, OWN)
    found = hardware.find("rtx-a2000")
    assert found is not None
    assert found.memory_bytes == 12282 * MIB
    assert machine_of(facts(card("RTX A2000 12GB", 12282, (8, 6)))).profile == found
    assert not hardware.problems()


def test_their_own_replaces_a_bundled_one(fettle_home: Path) -> None:
    own(fettle_home, OWN.replace('"rtx-a2000"', '"rtx-3090"'))
    assert [p.name for p in hardware.profiles() if p.id == "rtx-3090"] == ["RTX A2000"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[[card", "expected"),
        ('[[card]]\nid = "x"', "missing required field"),
        (OWN + "colour = 3", "colour"),
        (OWN.replace("288", "-1"), "above 0"),
        (OWN.replace('"rtx-a2000"', '"auto"'), "small letters"),
        (OWN.replace("12282", '"12 GB"'), "int"),
    ],
)
def test_a_file_that_makes_no_sense_is_left_out_and_told_of(
    fettle_home: Path, text: str, why: str
) -> None:
    own(fettle_home, text)
    own(fettle_home, OWN.replace('"rtx-a2000"', '"good"'), "other.toml")
    assert {p.id for p in hardware.profiles()} >= {*IDS, "good"}
    problems = hardware.problems()
    assert len(problems) == 1
    assert "mine.toml" in problems[0]
    assert why.lower() in problems[0].lower()


# ---------------------------------------------------------------- a machine


def test_the_card_that_is_there() -> None:
    machine = machine_of(facts(RTX3090))
    assert machine.name == "RTX 3090"
    assert machine.is_detected
    assert machine.platform == "linux"
    assert machine.available_bytes == RTX3090.free_bytes
    assert machine.ram_bytes == 64 * GIB
    assert machine.pinned_budget_bytes is None
    assert machine.driver == "570.86"
    assert machine.packages["torch"] == "2.13.0+cu128"


def test_a_run_may_fill_the_memory_that_is_free() -> None:
    here = machine_of(judge(linux(NO_DRIVER)))
    assert here.ram_free_bytes == int(0.8 * 64 * GIB)
    # Where nobody says what is free, the system keeps its share.
    silent = machine_of(judge(linux(NO_DRIVER, memory=memory(64, available_bytes=None))))
    assert silent.ram_free_bytes is not None
    assert 56 * GIB < silent.ram_free_bytes < 63 * GIB
    small = machine_of(judge(linux(NO_DRIVER, memory=memory(1, available_bytes=None))))
    assert small.ram_free_bytes == 0
    # What is free now says nothing of another machine.
    assert machine_of(judge(linux(NO_DRIVER)), "rtx-2080-ti").ram_free_bytes is None


def test_a_card_that_is_not_there() -> None:
    machine = machine_of(judge(linux(NO_DRIVER)), "rtx-2080-ti")
    assert not machine.is_detected
    assert machine.available_bytes is not None
    assert 10 * GIB < machine.available_bytes < 11 * GIB
    assert machine.driver is None


def test_another_platform_takes_its_share() -> None:
    here = judge(linux(NO_DRIVER))
    linux_, wsl_, windows_ = (
        machine_of(here, "rtx-2080-ti", platform) for platform in ("linux", "wsl", "windows")
    )
    assert wsl_.name == "RTX 2080 Ti, WSL"
    assert wsl_.available_bytes is not None
    assert linux_.available_bytes is not None
    assert wsl_.available_bytes == windows_.available_bytes < linux_.available_bytes
    assert linux_.pinned_budget_bytes is None
    assert wsl_.pinned_budget_bytes == 200 * MIB
    assert windows_.pinned_budget_bytes == 16 * GIB


def test_under_wsl_a_margin_is_left_to_windows() -> None:
    machine = machine_of(judge(wsl(nvml(RTX2080TI))))
    assert RTX2080TI.free_bytes is not None
    assert machine.available_bytes == RTX2080TI.free_bytes - round(0.03 * 11264 * MIB)


def test_windows_is_known() -> None:
    assert machine_of(judge(windows(nvml(RTX3090)))).name == "RTX 3090, Windows"


def test_no_card_is_the_processor() -> None:
    machine = machine_of(judge(linux(NO_DRIVER)))
    assert machine.profile.id == "cpu"
    assert machine.available_bytes is None
    assert machine.pinned_budget_bytes is None


def test_the_processor_has_the_rates_of_its_cores_and_its_own_lessons(fettle_home: Path) -> None:
    here = msgspec.structs.replace(
        facts(), cpu="Ryzen 7", cpu_count=16, cpu_cores=8, packages={"torch": "2.13.0"}
    )
    half = msgspec.structs.replace(here, cpu_count=4)
    assert machine_of(here).processor == "Ryzen 7, 8 cores", "hyper-threads are no cores"
    assert machine_of(half).processor == "Ryzen 7, 4 cores", "a process may have fewer"
    eight, four = (machine_of(seen).profile for seen in (here, half))
    assert eight == find("cpu")
    assert four.single_flops == eight.single_flops / 2
    assert four.bandwidth_bytes_per_second == eight.bandwidth_bytes_per_second
    expected = learnt.Expected(
        card="Ryzen 7, 8 cores", driver="", torch="2.13.0", peak_bytes=0, context_bytes=0
    )
    learnt.record(fettle_home, expected, ratio=1.7)
    taught = msgspec.structs.replace(here, lessons=learnt.read(fettle_home))
    assert machine_of(taught).time.ratio == 1.7
    assert machine_of(taught, "cpu").time.runs == 0, "a profile chosen by hand is another machine"
    assert machine_of(msgspec.structs.replace(taught, cpu_count=4)).time.runs == 0


def test_the_card_of_a_number() -> None:
    two = facts(RTX3060, RTX3090)
    assert machine_of(two).profile.id == "rtx-3060-12"
    assert machine_of(two, gpu=1).profile.id == "rtx-3090"
    hidden = facts(RTX3060, RTX3090, environ={"CUDA_VISIBLE_DEVICES": "1,0"})
    assert machine_of(hidden).profile.id == "rtx-3090"
    assert machine_of(hidden, gpu=2).profile.id == "cpu"


def test_what_earlier_runs_taught_counts_for_the_card_that_is_there(fettle_home: Path) -> None:
    expected = learnt.Expected(
        card="RTX 3090", driver="570.86", torch="2.13.0+cu128", peak_bytes=8 * GIB,
        context_bytes=0,
    )  # fmt: skip
    learnt.record(fettle_home, expected, 8 * GIB + 100 * MIB)
    here = facts(RTX3090, lessons=learnt.read(fettle_home))
    machine = machine_of(here)
    assert machine.learnt_offset_bytes == 100 * MIB
    assert machine.error_share < 0.05
    assert machine_of(here, "rtx-3090").learnt_offset_bytes == 0
    # What lies in the home of whoever plans says nothing of the engine's card.
    assert machine_of(facts(RTX3090)).learnt_offset_bytes == 0


@pytest.mark.parametrize(
    ("written", "nearest"),
    [("rtx3090", "rtx-3090"), ("RTX 4090", "rtx-4090"), ("a100", "a100-"), ("2080ti", "2080-ti")],
)
def test_an_unknown_profile_names_the_nearest(written: str, nearest: str) -> None:
    with pytest.raises(UnknownProfile, match=nearest):
        machine_of(judge(linux(NO_DRIVER)), written)


def test_an_unknown_platform_is_refused() -> None:
    with pytest.raises(ValueError, match="amiga"):
        machine_of(judge(linux(NO_DRIVER)), platform="amiga")


# ---------------------------------------------------------------- cards without a profile


def test_a_card_without_a_profile_is_what_its_driver_tells() -> None:
    found = hardware.profile_of(
        GpuFacts(
            index=0, name="NVIDIA GeForce RTX 4090", vram_total_bytes=16 * GIB,
            compute_capability=(8, 9), cores=9728, sm_clock_mhz=2040, memory_clock_mhz=9001,
            memory_bus_bits=256,
        )
    )  # fmt: skip
    assert found.id == "auto"
    assert found.name == "RTX 4090"
    assert found.memory_bytes == 16 * GIB
    assert found.has_bf16
    assert found.bandwidth_bytes_per_second == pytest.approx(576e9, rel=0.01)
    # Half of what the desktop card of that name has, and not more than the chip can.
    assert 50e12 < found.half_flops < 80e12


@pytest.mark.parametrize(
    ("name", "capability", "ratio"),
    [
        ("NVIDIA GeForce GTX 1060", (6, 1), 1),
        ("NVIDIA GeForce GTX 1660 Ti", (7, 5), 1),
        ("NVIDIA Quadro RTX 5000", (7, 5), 4),
        ("NVIDIA RTX A4000", (8, 6), 2),
        (None, None, 1),
    ],
)
def test_rates_are_cautious(
    name: str | None, capability: tuple[int, int] | None, ratio: float
) -> None:
    found = hardware.profile_of(GpuFacts(index=0, name=name, compute_capability=capability))
    assert found.half_flops == ratio * found.single_flops
    assert found.bandwidth_bytes_per_second == 200e9


def test_an_empty_card_is_no_error() -> None:
    machine = machine_of(facts(card("?", 0, None, total_bytes=None, free_bytes=None, name=None)))
    assert machine.available_bytes is None
    assert machine.name == "NVIDIA card"


def test_a_desktop_is_guessed_where_nothing_is_told() -> None:
    blind = card("GeForce RTX 3090", 24576, (8, 6), free_bytes=None)
    machine = machine_of(facts(blind, memory=memory(16)))
    assert machine.available_bytes == (24576 - 400) * MIB


# ---------------------------------------------------------------- the spec's field


def complaints(profile: str) -> list[Any]:
    raw = {"name": "a", "model": {"path": "m"}, "dataset": {"path": "d.jsonl"}}
    spec, found = check({**raw, "hardware": {"profile": profile}})
    assert spec is not None, found
    return conflicts.check(spec)


@pytest.mark.parametrize("profile", ["auto", "rtx-3090", "RTX-3090", "cpu", "3x-rtx-3090"])
def test_a_spec_names_a_profile(profile: str) -> None:
    assert not complaints(profile)


def test_a_spec_with_an_unknown_profile_is_refused_with_the_nearest() -> None:
    (found,) = complaints("rtx3060-12")
    assert found.field == "hardware.profile"
    assert "rtx-3060-12" in found.remedy
    assert found.patch == {"hardware.profile": "rtx-3060-12"}
    (far,) = complaints("§" * 500)
    assert len(str(far)) < 600
    assert far.patch == {"hardware.profile": "auto"}
