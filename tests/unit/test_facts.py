"""How a machine is looked at: drivers that answer badly, mounts, settings, what is measured."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine.host import telemetry
from engine.planning import look, nvml, pinned_probe
from engine.planning.cards import card_index, chosen, visible
from engine.planning.examination import examine_this
from engine.planning.facts import gather, judge
from engine.planning.look import machine_key, parse_mount
from engine.planning.pinned import Measured, keep, read
from engine.planning.pinned_probe import fill, measure
from engine.planning.platforms import container, is_network, wsl_settings, wsl_version
from engine.planning.seen import NO_NVML, SILENT, CardSeen, NvmlSeen, Seen
from engine.planning.support import bitsandbytes_support, torch_support, version
from tests.unit.machines import GIB, MIB, RTX3060, RTX3090, WSL2

NO_ANSWER = "Not Supported"

# ---------------------------------------------------------------- the driver's library


class Error(Exception):
    """As pynvml's: with a number."""

    def __init__(self, value: int = 3, text: str = NO_ANSWER) -> None:
        super().__init__(text)
        self.value = value


class Library:
    """Stands for pynvml: answers what it was given, and is at a loss for the rest."""

    NVMLError = Error

    def __init__(self, count: int = 1, **answers: Any) -> None:
        self.count = count
        self.answers = answers
        self.ended = 0

    def nvmlInit(self) -> None:
        self._answer("nvmlInit", None)

    def nvmlShutdown(self) -> None:
        self.ended += 1

    def nvmlDeviceGetCount(self) -> int:
        return self.count

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return int(self._answer("nvmlDeviceGetHandleByIndex", index) or index)

    def _answer(self, name: str, default: Any) -> Any:
        found = self.answers.get(name, default)
        if isinstance(found, Exception):
            raise found
        return found

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("nvml"):
            raise AttributeError(name)

        def answer(*_: Any) -> Any:
            return self._answer(name, Error())

        return answer


def test_a_driver_that_tells_all() -> None:
    library = Library(
        nvmlDeviceGetName=b"NVIDIA GeForce RTX 3090",
        nvmlDeviceGetMemoryInfo=SimpleNamespace(total=24 * GIB, free=20 * GIB),
        nvmlDeviceGetCudaComputeCapability=(8, 6),
        nvmlSystemGetDriverVersion="570.86",
        nvmlSystemGetCudaDriverVersion_v2=12080,
        nvmlDeviceGetNumGpuCores=10496,
        nvmlDeviceGetDisplayActive=1,
        nvmlDeviceGetEnforcedPowerLimit=350000,
    )
    found = nvml.ask(library)
    (card,) = found.cards
    assert card.name == "NVIDIA GeForce RTX 3090"
    assert (card.total_bytes, card.free_bytes) == (24 * GIB, 20 * GIB)
    assert (card.compute_capability, card.cores, card.drives_display) == ((8, 6), 10496, True)
    assert card.power_limit_watts == 350
    assert (found.driver, found.cuda, found.error_code) == ("570.86", 12080, 0)
    assert library.ended == 1


def test_a_driver_that_tells_nothing() -> None:
    found = nvml.ask(Library(count=2))
    assert found.cards == [CardSeen(index=0), CardSeen(index=1)]
    assert found.driver is None


@pytest.mark.parametrize(
    ("answers", "field"),
    [
        ({"nvmlDeviceGetCudaComputeCapability": None}, "compute_capability"),
        ({"nvmlDeviceGetCudaComputeCapability": "8.6"}, "compute_capability"),
        ({"nvmlDeviceGetMemoryInfo": SimpleNamespace(total=(1 << 64) - 1)}, "total_bytes"),
        ({"nvmlDeviceGetMemoryInfo": SimpleNamespace(total=-1, free="N/A")}, "free_bytes"),
        ({"nvmlDeviceGetMaxClockInfo": (1 << 32) - 1}, "sm_clock_mhz"),
        ({"nvmlDeviceGetNumGpuCores": 0}, "cores"),
        ({"nvmlDeviceGetName": UnicodeDecodeError("utf-8", b"", 0, 1, "no")}, "name"),
        ({"nvmlDeviceGetUUID": AttributeError("old library")}, "uuid"),
    ],
)
def test_answers_that_make_no_sense_are_none(answers: dict[str, Any], field: str) -> None:
    (card,) = nvml.ask(Library(**answers)).cards
    assert getattr(card, field) is None


def test_a_lost_card_does_not_take_the_others_with_it() -> None:
    library = Library(count=1, nvmlDeviceGetHandleByIndex=Error(15, "GPU is lost"))
    (card,) = nvml.ask(library).cards
    assert card.error == "GPU is lost"
    assert "It does not answer: GPU is lost." in judge(Seen(nvml=nvml.ask(library))).gpus[0].problem


@pytest.mark.parametrize(
    ("error", "code"),
    [(Error(12, "Not Found"), 12), (Error(18, "Mismatch"), 18), (OSError("cannot load"), 12)],
)
def test_a_library_that_cannot_start(error: Exception, code: int) -> None:
    found = nvml.ask(Library(nvmlInit=error))
    assert found == NvmlSeen(error_code=code, error=str(error))


def test_a_driver_that_hangs_is_left_to_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    let_go = threading.Event()
    monkeypatch.setattr(nvml, "ANSWER_SECONDS", 0.05)

    def hang(_: object) -> NvmlSeen:
        let_go.wait(20)
        return NvmlSeen()

    monkeypatch.setattr(nvml, "ask", hang)
    found = nvml.read()
    let_go.set()
    assert found.error_code == SILENT
    assert judge(Seen(nvml=found)).gpu_trouble == "silent"


def test_a_missing_library_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pynvml", None)
    assert nvml.read().error_code == NO_NVML


# ---------------------------------------------------------------- which card a number means


@pytest.mark.parametrize(
    ("setting", "left"),
    [
        (None, None), ("", []), ("-1", []), ("2", ["2"]), ("1, 0", ["1", "0"]),
        ("0,-1,1", ["0"]), ("0,,1", ["0"]), ("GPU-a,1", ["GPU-a", "1"]),
    ],
)  # fmt: skip
def test_what_is_left_visible(setting: str | None, left: list[str] | None) -> None:
    assert visible(setting) == left


@pytest.mark.parametrize(
    ("number", "setting", "index"),
    [
        (0, None, 0), (1, None, 1), (0, "1", 1), (1, "1", None), (0, "", None), (1, "1,0", 0),
        (0, "GPU-bb", 1), (0, "GPU-zz", None), (0, "MIG-GPU-bb/1/0", 1),
    ],
)  # fmt: skip
def test_a_number_is_a_place_in_what_is_left(
    number: int, setting: str | None, index: int | None
) -> None:
    cards = [CardSeen(index=0, uuid="GPU-aa11"), CardSeen(index=1, uuid="GPU-bb22")]
    assert card_index(number, setting, cards) == index
    assert (chosen(number, setting) is None) == (index is None and setting != "GPU-zz")


def test_telemetry_means_the_card_that_the_worker_trains_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    library = Library(count=2, nvmlDeviceGetTemperature=50)
    asked: list[int] = []
    monkeypatch.setattr(library, "nvmlDeviceGetHandleByIndex", lambda i: asked.append(i) or i)
    monkeypatch.setitem(__import__("sys").modules, "pynvml", library)
    card = telemetry.Card(0)
    card.open()
    assert asked[-1] == 1
    assert card.measure(set())["gpu_temperature_celsius"] == 50
    hidden = telemetry.Card(1)
    hidden.open()
    assert hidden.measure(set()) == {}


# ---------------------------------------------------------------- platform


@pytest.mark.parametrize(
    ("release", "dxg", "wsl"),
    [
        (WSL2, True, 2), (WSL2, False, 2), ("6.18.20-microsoft-custom", True, 2),
        ("4.19.128-microsoft-standard", False, 2), ("4.4.0-19041-Microsoft", False, 1),
        ("6.6.36-mine", True, 2), ("6.8.0-45-generic", False, None), ("", False, None),
        ("5.15.0-1051-azure", False, None),
    ],
)  # fmt: skip
def test_wsl_is_known_by_kernel_and_device(release: str, dxg: bool, wsl: int | None) -> None:
    assert wsl_version(Seen(release=release, has_dxg=dxg)) == wsl


def test_only_linux_is_wsl() -> None:
    assert wsl_version(Seen(platform="win32", release="11", has_dxg=True)) is None


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, "/usr/lib/wsl/lib"),
        ({"LD_LIBRARY_PATH": "/a:/b"}, "/usr/lib/wsl/lib:/a:/b"),
        ({"LD_LIBRARY_PATH": "/a:/usr/lib/wsl/lib:"}, "/usr/lib/wsl/lib:/a"),
    ],
)
def test_a_worker_under_wsl_finds_the_driver(before: dict[str, str], after: str) -> None:
    found = wsl_settings(before)
    assert found == {"LD_LIBRARY_PATH": after, "TRITON_LIBCUDA_PATH": "/usr/lib/wsl/lib"}
    assert wsl_settings({"TRITON_LIBCUDA_PATH": "/x"})["TRITON_LIBCUDA_PATH"] == "/x"


@pytest.mark.parametrize(
    ("seen", "name"),
    [
        (Seen(), None),
        (Seen(cgroup="0::/init.scope"), None),
        (Seen(cgroup="12:cpuset:/docker/0123"), "docker"),
        (Seen(cgroup="0::/lxc.payload.x"), "lxc"),
        (Seen(environ={"container": "systemd-nspawn"}), "systemd-nspawn"),
        (Seen(container_marks=["/run/.containerenv"], cgroup="0::/"), "podman"),
    ],
)
def test_containers(seen: Seen, name: str | None) -> None:
    assert container(seen) == name


def test_a_mount_with_a_blank_in_its_name() -> None:
    assert parse_mount(r"C:\134 /mnt/my\040disk 9p rw,aname=drvfs 0 0") == ("/mnt/my disk", "9p")


def test_a_folder_lies_on_its_innermost_mount(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    mounts = [("/", "ext4"), (str(tmp_path), "btrfs"), (str(inner), "9p"), (str(inner), "nfs")]
    monkeypatch.setattr(look, "_mounts", lambda: mounts)
    assert look.disk(tmp_path / "runs").filesystem == "btrfs"
    # What is mounted later lies on top.
    assert look.disk(inner / "not" / "there").filesystem == "nfs"
    assert is_network("nfs")


# ---------------------------------------------------------------- packages and cards


@pytest.mark.parametrize(
    ("capability", "torch", "cuda", "driver", "works"),
    [
        ((8, 6), "2.13.0", "12.8", "12.8", True),
        ((12, 0), "2.7.0", "12.8", "12.8", True),
        ((12, 0), "2.6.0", "12.8", "12.8", False),
        ((12, 0), "2.13.0", "12.6", "12.8", False),
        ((12, 1), "2.13.0", "13.0", "13.0", True),
        ((6, 1), "2.13.0", "12.6", "12.8", True),
        ((6, 1), "2.13.0", "12.8", "12.8", False),
        ((7, 0), "2.13.0", "12.8", "12.8", True),
        ((7, 0), "2.13.0", "13.0", "13.0", False),
        ((7, 5), "2.13.0", "13.0", "12.8", False),
        ((7, 5), "2.13.0", "13.0", "13.1", True),
        (None, "2.13.0", "12.8", "12.8", None),
        ((8, 6), None, None, "12.8", False),
        ((8, 6), "2.13.0", None, "12.8", False),
        ((8, 6), "2.13.0", "12.8", None, True),
        ((8, 6), "nightly", "?", "12.8", None),
    ],
)
def test_which_card_a_torch_can_use(
    capability: tuple[int, int] | None, torch: str | None, cuda: str | None, driver: str | None,
    works: bool | None,
) -> None:  # fmt: skip
    found, why = torch_support(capability, torch, cuda, driver)
    assert found is works
    assert bool(why) == (works is False)


def test_bitsandbytes_needs_a_library_for_torchs_cuda() -> None:
    there = {"bitsandbytes": "0.50.2"}
    assert bitsandbytes_support(there, "12.8", ["128"]) == (True, "")
    assert bitsandbytes_support(there, None, [])[0] is None
    works, why = bitsandbytes_support(there, "13.2", ["128", "130"])
    assert works is False
    assert "12.8, 13.0" in why


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("2.13.0+cu128", (2, 13)), ("12.8", (12, 8)), ("13", (13, 0)), ("x", (0, 0))],
)
def test_versions(text: str, numbers: tuple[int, int]) -> None:
    assert version(text) == numbers


def test_packages_are_read_without_importing_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, file, text in (
        ("torch", "version.py", "from typing import Optional\ncuda: Optional[str] = '12.8'\n"),
        ("bitsandbytes", "libbitsandbytes_cuda128.so", ""),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text(text)
    monkeypatch.setattr(look, "_package_folder", lambda name: tmp_path / name)
    assert look._torch_cuda() == "12.8"
    assert look._bitsandbytes_cuda() == ["128"]
    monkeypatch.setattr(look, "_package_folder", lambda name: None)
    assert look._torch_cuda() is None
    assert look._bitsandbytes_cuda() == []


# ---------------------------------------------------------------- this machine


def test_a_token_is_seen_and_not_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    assert not gather(tmp_path).has_hub_token
    (tmp_path / "token").write_text("hf_secretsecret")
    found = gather(tmp_path)
    assert found.has_hub_token
    assert "hf_secret" not in str(found)
    assert "hf_secret" not in str(look.look(tmp_path))


def test_a_store_that_cannot_be_reached_is_no_error(tmp_path: Path) -> None:
    found = gather(tmp_path / ("x" * 300) / "runs")
    assert found.store_free_bytes is None or found.store_free_bytes > 0


def test_this_machine_is_looked_over_in_time(tmp_path: Path, fettle_home: Path) -> None:
    facts, checks = examine_this(tmp_path)
    assert facts.store == str(tmp_path)
    assert {"ram", "store", "torch", "system"} <= {check.id for check in checks}
    assert facts.cpu_count == len(os.sched_getaffinity(0))


# ---------------------------------------------------------------- pinned memory


def granting(limit: int, largest: int = GIB) -> Any:
    left = [limit]

    def allocate(size: int) -> bool:
        if size > largest or size > left[0]:
            return False
        left[0] -= size
        return True

    return allocate


@pytest.mark.parametrize(
    ("limit", "largest", "got", "capped"),
    [
        (210_000_000, GIB, 200 * MIB, False),
        (GIB, GIB, GIB, False),
        (64 * GIB, GIB, 4 * GIB, True),
        (0, GIB, 0, False),
        (64 * GIB, 8 * MIB, 4 * GIB, True),
        (3 * MIB, GIB, 0, False),
    ],
)
def test_blocks_are_asked_for_until_one_is_refused(
    limit: int, largest: int, got: int, capped: bool
) -> None:
    found = fill(granting(limit, largest), 4 * GIB)
    assert found.pinned_bytes == got
    assert found.is_capped is capped
    assert (found.largest_block_bytes or 0) <= largest


def test_asking_ends_in_time() -> None:
    found = fill(granting(64 * GIB), 16 * GIB, seconds=0.0)
    assert found.pinned_bytes == 0
    assert found.is_capped
    assert "stopped" in found.why


def test_the_probe_asks_for_a_quarter_and_no_more_than_half_of_what_is_free() -> None:
    assert pinned_probe.cap_bytes(64 * GIB, 60 * GIB) == 16 * GIB
    assert pinned_probe.cap_bytes(64 * GIB, 4 * GIB) == 2 * GIB
    assert pinned_probe.cap_bytes(None, None) == 0


def test_without_a_driver_the_process_says_why(fettle_home: Path) -> None:
    found = measure(fettle_home, "key", 8 * GIB, 8 * GIB)
    if found.pinned_bytes is None:
        assert "CUDA" in found.why
        assert not (fettle_home / "pinned.json").exists()
    assert "memory is unknown" in measure(fettle_home, "key", None, None).why


def test_a_measurement_holds_for_these_cards_this_driver_and_this_start(fettle_home: Path) -> None:
    here = machine_key(NvmlSeen(cards=[RTX3090], driver="570"))
    for other in (
        NvmlSeen(cards=[RTX3090], driver="575"),
        NvmlSeen(cards=[RTX3090, RTX3060], driver="570"),
    ):
        assert machine_key(other) != here
    measured = Measured(pinned_bytes=GIB, cap_bytes=4 * GIB)
    keep(fettle_home, here, measured)
    assert read(fettle_home, here) == measured
    assert read(fettle_home, "another") is None
    (fettle_home / "pinned.json").write_text("{")
    assert read(fettle_home, here) is None
