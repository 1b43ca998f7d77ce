"""A hundred machines as values: what each shows, and what must be made of it."""

from __future__ import annotations

from typing import Any

import msgspec

from engine.planning.pinned import Measured
from engine.planning.seen import NO_NVML, SILENT, CardSeen, DiskSeen, MemorySeen, NvmlSeen, Seen
from engine.planning.seen import SleepSeen as Sleep

GIB, MIB = 1 << 30, 1 << 20
WSL2 = "5.15.167.4-microsoft-standard-WSL2"
PACKAGES = {
    "torch": "2.13.0+cu128", "transformers": "5.23.0", "trl": "1.16.0", "peft": "0.21.2",
    "bitsandbytes": "0.50.2", "datasets": "5.2.0", "accelerate": "1.15.0",
    "safetensors": "0.8.0", "tokenizers": "0.23.3", "numpy": "2.4.6",
}  # fmt: skip
NVIDIA, AMD, INTEL = "0x10de", "0x1002", "0x8086"
GERMAN = "    Index der aktuellen Wechselstromeinstellung: 0x00000708\n    Index der aktuellen \
Gleichstromeinstellung: 0x00000384\n"
ENGLISH = "Current AC Power Setting Index: 0x000004b0\nCurrent DC Power Setting Index: 0x00000258\n"
NEVER = "Current AC Power Setting Index: 0x00000000\nCurrent DC Power Setting Index: 0x00000258\n"


class Case(msgspec.Struct, frozen=True):
    """A machine and what must be said of it."""

    name: str
    seen: Seen
    state: str
    """The worst of all checks."""
    checks: dict[str, str]
    """Some checks by id, with their states; ``-`` where there must be none."""
    says: tuple[str, ...] = ()
    """What the report must hold."""
    facts: dict[str, Any] = {}
    """Some facts; with ``support.`` those of the first card's support."""
    profile: str = ""
    """What a plan is made for; ``auto`` for a card without a profile."""
    offload: str = ""
    """The way of offloaded activations."""


def card(model: str, mib: int, capability: tuple[int, int] | None, **more: Any) -> CardSeen:
    total = mib * MIB
    known: dict[str, Any] = {
        "index": 0, "name": f"NVIDIA {model}", "total_bytes": total,
        "free_bytes": total - 300 * MIB, "compute_capability": capability,
        "drives_display": False, "uuid": "GPU-11111111-aaaa",
    }  # fmt: skip
    return CardSeen(**(known | more))


RTX3090 = card("GeForce RTX 3090", 24576, (8, 6))
GTX1080TI = card("GeForce GTX 1080 Ti", 11264, (6, 1))
RTX2080TI = card("GeForce RTX 2080 Ti", 11264, (7, 5))
RTX3060 = card("GeForce RTX 3060", 12288, (8, 6))
RTX5090 = card("GeForce RTX 5090", 32607, (12, 0))


def nvml(*cards: CardSeen, driver: str | None = "570.86", cuda: int | None = 12080) -> NvmlSeen:
    placed = [msgspec.structs.replace(c, index=place) for place, c in enumerate(cards)]
    return NvmlSeen(cards=placed, driver=driver, cuda=cuda)


def failed(code: int, text: str) -> NvmlSeen:
    return NvmlSeen(error_code=code, error=text)


NO_DRIVER = failed(12, "NVML Shared Library Not Found")


def disk(path: str, filesystem: str | None = "ext4", free: int = 300 * GIB) -> DiskSeen:
    return DiskSeen(path=path, free_bytes=free, total_bytes=1000 * GIB, filesystem=filesystem)


def memory(gib: float, **more: Any) -> MemorySeen:
    known: dict[str, Any] = {
        "total_bytes": int(gib * GIB), "available_bytes": int(0.8 * gib * GIB),
        "swap_total_bytes": 8 * GIB, "swap_free_bytes": 8 * GIB,
    }  # fmt: skip
    return MemorySeen(**(known | more))


def linux(found: NvmlSeen, **more: Any) -> Seen:
    known: dict[str, Any] = {
        "release": "6.8.0-45-generic", "system": "Ubuntu 24.04.1 LTS", "cpu_count": 16,
        "memory": memory(64), "store": disk("/home/ada/.local/share/fettle/runs"),
        "cache": disk("/home/ada/.cache/huggingface/hub"), "nvml": found, "packages": PACKAGES,
        "torch_cuda": "12.8", "bitsandbytes_cuda": ["126", "128", "130"], "has_token": True,
        "pci_vendors": [NVIDIA], "sleep": Sleep(has_inhibitor=True, is_masked=True),
    }  # fmt: skip
    return Seen(**(known | more))


def wsl(found: NvmlSeen, pinned: int | None = None, **more: Any) -> Seen:
    ram = more.get("memory", memory(32))
    measured = None
    if pinned is not None:
        measured = Measured(pinned_bytes=pinned, cap_bytes=int(0.25 * ram.total_bytes))
    known: dict[str, Any] = {
        "release": WSL2, "has_dxg": True, "has_wsl_driver": True, "memory": ram,
        "environ": {"WSL_DISTRO_NAME": "Ubuntu-24.04"}, "pinned": measured, "pci_vendors": [],
        "sleep": Sleep(powercfg=NEVER),
    }  # fmt: skip
    return linux(found, **(known | more))


def windows(found: NvmlSeen, **more: Any) -> Seen:
    home = r"C:\Users\Ada"
    known: dict[str, Any] = {
        "platform": "win32", "release": "11", "system": "Windows 11", "machine": "AMD64",
        "store": disk(home + r"\AppData\Local\fettle\runs", "NTFS"),
        "cache": disk(home + r"\.cache\huggingface\hub", "NTFS"), "pci_vendors": [],
        "memory": memory(32, swap_total_bytes=16 * GIB), "sleep": Sleep(powercfg=NEVER),
    }  # fmt: skip
    return linux(found, **(known | more))


def without(*names: str, **changed: str) -> dict[str, str]:
    return {k: v for k, v in PACKAGES.items() if k not in names} | changed


IN_WSL = {"is_wsl": True, "wsl_version": 2, "spill": "always"}
OLD_LINES = {"safe-fp16": "note", "safe-flash_attention": "note"}

WSL_CASES = [
    Case("wsl, 3090, 0.75 GiB pinned", wsl(nvml(RTX3090), 768 * MIB, memory=memory(62.8)), "note",
         {"pinned": "note", "safe-memory_cap": "note", "safe-offload": "note", "bf16-0": "ok"},
         ("768 MiB measured, 614 MiB used at most", "ring of 256 MiB"), IN_WSL, "rtx-3090", "ring"),
    Case("wsl, 3090, 1 GiB pinned", wsl(nvml(RTX3090), GIB, memory=memory(62.8)), "note",
         {"pinned": "note"}, ("1.0 GiB measured, 819 MiB used at most",), IN_WSL, "rtx-3090",
         "ring"),
    Case("wsl, half of 192 GiB pinned", wsl(nvml(RTX3090), 48 * GIB, memory=memory(192)), "note",
         {"pinned": "ok"}, ("at least 48.0 GiB measured",), IN_WSL, "rtx-3090", "ring"),
    Case("wsl, 1080 Ti, 210 MB pinned",
         wsl(nvml(GTX1080TI), 210_000_000, packages=without(torch="2.13.0+cu126"),
             torch_cuda="12.6"),
         "warning", {"pinned": "warning", "card-0": "ok", "bf16-0": "note", **OLD_LINES},
         ("ring of 128 MiB", "no bf16 in hardware (6.1 is below 8.0)"),
         IN_WSL | {"support.int8": False, "support.four_bit": True}, "gtx-1080-ti", "ring"),
    Case("wsl, a few MB pinned", wsl(nvml(RTX3090), 8 * MIB), "warning", {"pinned": "warning"},
         ("their copies block",), IN_WSL, "rtx-3090", "blocking"),
    Case("wsl, 500 MB pinned", wsl(nvml(RTX3090), 500 * MIB), "warning", {"pinned": "warning"},
         ("500 MiB measured, 400 MiB used at most",), IN_WSL, "rtx-3090", "ring"),
    Case("wsl, nothing pinned", wsl(nvml(RTX3090), 0), "warning", {"pinned": "warning"},
         ("0 MiB measured", "their copies block"), IN_WSL, "rtx-3090", "blocking"),
    Case("wsl, not measured", wsl(nvml(RTX3090)), "note", {"pinned": "note"},
         ("not measured yet. A run counts on 200 MiB.",), IN_WSL, "rtx-3090", "ring"),
    Case("wsl, measuring failed",
         msgspec.structs.replace(
             wsl(nvml(RTX3090)), pinned=Measured(why="the driver did not answer within 2.2 s.")),
         "note", {"pinned": "note"}, ("Unknown: the driver did not answer",), IN_WSL, "rtx-3090",
         "ring"),
    Case("wsl, NVML without capability",
         wsl(nvml(card("GeForce RTX 4090", 24564, None), cuda=None)), "note",
         {"card-0": "note", "bf16-0": "-", "driver": "ok"},
         ("The driver does not tell everything",), {"support.torch": None}, "rtx-4090", "ring"),
    Case("wsl, NVML without memory",
         wsl(nvml(card("GeForce RTX 4090", 24564, (8, 9), total_bytes=None, free_bytes=None))),
         "note", {"card-0": "note", "vram-0": "-"}, ("memory not told",), {}, "rtx-4090", "ring"),
    Case("wsl, NVML tells a name only",
         wsl(nvml(CardSeen(index=0, name="NVIDIA GeForce RTX 3060"), driver=None, cuda=None)),
         "note", {"card-0": "note", "driver": "note"}, ("not told",), {}, "rtx-3060-12", "ring"),
    Case("wsl, NVML tells nothing of its card",
         wsl(nvml(CardSeen(index=0), driver="591.44", cuda=13010)), "note",
         {"card-0": "note"}, ("NVIDIA card of unknown name", "may not fill the card"), {}, "auto",
         "ring"),
    Case("wsl, more free than there is",
         wsl(nvml(card("GeForce RTX 3060", 12288, (8, 6), free_bytes=17179869184))), "note",
         {"vram-0": "note"}, ("not told",), {}, "rtx-3060-12", "ring"),
    Case("wsl, driver 591.44", wsl(nvml(RTX3060, driver="591.44", cuda=13010)), "note",
         {"driver": "ok"}, ("591.44, up to CUDA 13.1",), IN_WSL, "rtx-3060-12", "ring"),
    Case("wsl, blocked",
         wsl(failed(17, "GPU access blocked by the operating system")), "problem",
         {"cards": "problem"},
         ("not let through", "wsl --update", "GPU access blocked by the operating system"),
         {"gpu_trouble": "blocked", "gpus": []}, "cpu"),
    Case("wsl, blocked by a Linux driver",
         wsl(failed(17, "GPU access blocked by the operating system"),
             foreign_driver="/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1"), "problem",
         {"cards": "problem"}, ("Remove the Linux driver from WSL",), IN_WSL, "cpu"),
    Case("wsl, a Linux driver beside a card that works",
         wsl(nvml(RTX3090), foreign_driver="/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1"),
         "warning", {"wsl-driver": "warning"}, ("nvidia-utils",), IN_WSL, "rtx-3090", "ring"),
    Case("wsl, no driver", wsl(NO_DRIVER), "problem", {"cards": "problem"},
         ("Install NVIDIA's driver in Windows, none in WSL",), {"gpu_trouble": "no_driver"}, "cpu"),
    Case("wsl, no driver in Windows", wsl(NO_DRIVER, has_wsl_driver=False), "problem",
         {"cards": "problem"}, ("Windows lends WSL no driver", "wsl --update"),
         {"wsl_has_driver": False}, "cpu"),
    Case("wsl 1", wsl(NO_DRIVER, release="4.4.0-19041-Microsoft", has_dxg=False), "problem",
         {"system": "problem", "cards": "problem"}, ("wsl --set-version",),
         {"wsl_version": 1, "is_wsl": True}, "cpu"),
    Case("wsl, a kernel of one's own", wsl(nvml(RTX3090), release="6.6.36-mine"), "note",
         {"system": "note", "safe-offload": "note"}, ("WSL 2 (Ubuntu-24.04)",), IN_WSL, "rtx-3090",
         "ring"),
    Case("wsl, as a service", wsl(nvml(RTX3090), environ={}), "note", {"system": "note"},
         ("WSL 2 (Ubuntu 24.04.1 LTS)",), IN_WSL, "rtx-3090", "ring"),
    Case("wsl, kernel without its device", wsl(NO_DRIVER, has_dxg=False), "problem",
         {"cards": "problem"}, ("wsl --update",), {"wsl_version": 2}, "cpu"),
    Case("wsl, runs on drive C",
         wsl(nvml(RTX3090), store=disk("/mnt/c/Users/Ada/fettle/runs", "9p")), "warning",
         {"store": "warning", "safe-store": "note", "cache": "ok"},
         ("through Windows", "FETTLE_HOME", "~/fettle/runs"), {"store_filesystem": "9p"},
         "rtx-3090", "ring"),
    Case("wsl, models on drive C",
         wsl(nvml(RTX3090), cache=disk("/mnt/c/Users/Ada/hub", "drvfs")), "warning",
         {"store": "ok", "cache": "warning", "safe-store": "-"}, ("HF_HOME",), {}, "rtx-3090"),
    Case("wsl, drive C by virtiofs", wsl(nvml(RTX3090), store=disk("/mnt/c/runs", "virtiofs")),
         "warning", {"store": "warning"}, ("through Windows",), {}, "rtx-3090"),
    Case("wsl, little memory", wsl(nvml(RTX3090), memory=memory(7.7)), "warning",
         {"ram": "warning"}, (".wslconfig",), {}, "rtx-3090"),
    Case("wsl, in Docker Desktop", wsl(nvml(RTX3090), container_marks=["/.dockerenv"]), "note",
         {"system": "note"}, ("in a container (docker)",), IN_WSL | {"container": "docker"},
         "rtx-3090"),
    Case("wsl, 2080 Ti", wsl(nvml(RTX2080TI), GIB), "note", {"bf16-0": "note", **OLD_LINES},
         ("fp16 in place of bf16",), {"support.int8": True, "support.bf16": False}, "rtx-2080-ti",
         "ring"),
    Case("wsl, 5090, newest kernel",
         wsl(nvml(RTX5090, driver="610.62", cuda=13020), GIB, release="6.18.20-microsoft-WSL2"),
         "note", {"card-0": "ok"}, (), {"support.torch": True}, "rtx-5090", "ring"),
    Case("wsl, sleeps after half an hour",
         wsl(nvml(RTX3090), sleep=Sleep(powercfg=GERMAN)), "warning", {"sleep": "warning"},
         ("sleeps after 30 min",), {"sleep_minutes": 30}, "rtx-3090"),
    Case("wsl, a silent driver", wsl(failed(SILENT, "no answer within 2 s")), "problem",
         {"cards": "problem"}, ("does not answer",), {"gpu_trouble": "silent"}, "cpu"),
]  # fmt: skip

LINUX_CASES = [
    Case("3090", linux(nvml(RTX3090)), "note",
         {"card-0": "ok", "torch": "ok", "pinned": "note", "spill": "ok", "safe-offload": "-"},
         ("Ready to train.", "NVIDIA GeForce RTX 3090, 24.0 GiB, compute capability 8.6"),
         {"is_wsl": False, "container": None, "spill": "never"}, "rtx-3090", "pinned"),
    Case("3090, all measured",
         linux(nvml(RTX3090), pinned=Measured(pinned_bytes=16 * GIB, cap_bytes=16 * GIB)), "ok",
         {"pinned": "ok"}, ("Ready to train.",), {}, "rtx-3090", "pinned"),
    Case("locked memory is limited",
         linux(nvml(RTX3090), pinned=Measured(pinned_bytes=64 * MIB, cap_bytes=16 * GIB)),
         "warning", {"pinned": "warning"}, ("ulimit -l",), {}, "rtx-3090", "pinned"),
    Case("two different cards", linux(nvml(RTX3060, GTX1080TI)), "problem",
         {"card-0": "ok", "card-1": "problem", "several": "note", "torch": "ok"},
         ("2 different cards", "leaves out cards below 7.0"), {}, "rtx-3060-12"),
    Case("the larger card comes second", linux(nvml(RTX3060, RTX3090)), "warning",
         {"several": "warning"}, ("hardware.gpu = 1",), {}, "rtx-3060-12"),
    Case("two 3090", linux(nvml(RTX3090, RTX3090)), "note", {"several": "note", "card-1": "ok"},
         ("2 equal cards",), {}, "rtx-3090"),
    Case("three 3090", linux(nvml(RTX3090, RTX3090, RTX3090)), "note", {"card-2": "ok"},
         ("3 equal cards",), {}, "rtx-3090"),
    Case("one of two is lost", linux(nvml(RTX3090, CardSeen(index=1, error="GPU is lost"))),
         "problem", {"card-0": "ok", "card-1": "problem", "vram-1": "-"}, ("GPU is lost",), {},
         "rtx-3090"),
    Case("the only one is lost", linux(nvml(CardSeen(index=0, error="GPU is lost"))), "problem",
         {"card-0": "problem"}, ("check the card's power and seat",), {}, "auto"),
    Case("no NVML package", linux(failed(NO_NVML, "")), "problem", {"cards": "problem"},
         ("pip install nvidia-ml-py",), {"gpu_trouble": "no_nvml"}, "cpu"),
    Case("a card and no driver", linux(NO_DRIVER), "problem", {"cards": "problem"},
         ("There is an NVIDIA card, but no driver",), {"display_vendors": ["NVIDIA"]}, "cpu"),
    Case("the driver is not loaded", linux(failed(9, "Driver Not Loaded")), "problem",
         {"cards": "problem"}, ("restart the computer",), {"gpu_trouble": "no_driver"}, "cpu"),
    Case("an AMD card", linux(NO_DRIVER, pci_vendors=[AMD]), "warning", {"cards": "warning"},
         ("only one of AMD", "Fettle trains on NVIDIA cards"), {}, "cpu"),
    Case("Intel's graphics", linux(NO_DRIVER, pci_vendors=[INTEL]), "warning",
         {"cards": "warning"}, ("only one of Intel",), {}, "cpu"),
    Case("no card at all", linux(NO_DRIVER, pci_vendors=[]), "warning", {"cards": "warning"},
         ("No NVIDIA driver was found",), {}, "cpu"),
    Case("hybrid laptop",
         linux(nvml(card("GeForce RTX 4060 Laptop GPU", 8188, (8, 9))),
               pci_vendors=[INTEL, NVIDIA]), "note", {"card-0": "ok"},
         ("RTX 4060 Laptop GPU",), {"display_vendors": ["Intel", "NVIDIA"]}, "auto", "pinned"),
    Case("hybrid laptop, card switched off", linux(nvml(), pci_vendors=[INTEL, NVIDIA]),
         "problem", {"cards": "problem"}, ("prime-select nvidia",), {"gpu_trouble": "no_card"},
         "cpu"),
    Case("on battery", linux(nvml(RTX3060), sleep=Sleep(on_battery=True, has_inhibitor=True)),
         "warning", {"sleep": "warning"}, ("runs on its battery",), {"on_battery": True},
         "rtx-3060-12"),
    Case("driver updated, not restarted", linux(failed(18, "Driver/library version mismatch")),
         "problem", {"cards": "problem"}, ("the new driver is loaded",),
         {"gpu_trouble": "mismatch"}, "cpu"),
    Case("no right to the card", linux(failed(4, "Insufficient Permissions")), "problem",
         {"cards": "problem"}, ("/dev/nvidia0",), {"gpu_trouble": "blocked"}, "cpu"),
    Case("an error nobody knows", linux(failed(999, "Unknown Error")), "problem",
         {"cards": "problem"}, ("Unknown Error", "reinstall the driver"), {}, "cpu"),
    Case("old driver", linux(nvml(RTX3090, driver="470.82", cuda=11040)), "problem",
         {"card-0": "problem", "torch": "problem"},
         ("up to CUDA 11.4", "Update the driver to 525 or newer"), {"support.torch": False},
         "rtx-3090"),
    Case("driver too old for CUDA 13",
         linux(nvml(RTX3090, driver="535.104", cuda=12020), torch_cuda="13.0",
               packages=without(torch="2.13.0")), "problem", {"torch": "problem"},
         ("Update the driver to 580 or newer",), {"support.torch": False}, "rtx-3090"),
    Case("driver one minor behind", linux(nvml(RTX3090, driver="535.104", cuda=12020)), "note",
         {"torch": "ok"}, (), {"support.torch": True}, "rtx-3090"),
    Case("5090 and an old torch",
         linux(nvml(RTX5090), torch_cuda="12.4", packages=without(torch="2.6.0+cu124")),
         "problem", {"card-0": "problem"}, ("needs torch 2.7 or newer", "cu128"),
         {"support.torch": False}, "rtx-5090"),
    Case("5090 and a new torch", linux(nvml(RTX5090)), "note", {"card-0": "ok"}, (),
         {"support.torch": True, "support.bf16": True}, "rtx-5090", "pinned"),
    Case("1080 Ti and torch for CUDA 12.8", linux(nvml(GTX1080TI)), "problem",
         {"card-0": "problem"}, ("leaves out cards below 7.0", "whl/cu126"),
         {"support.torch": False}, "gtx-1080-ti"),
    Case("1080 Ti and torch for CUDA 12.6",
         linux(nvml(GTX1080TI), torch_cuda="12.6", packages=without(torch="2.13.0+cu126")),
         "note", {"card-0": "ok", "bitsandbytes": "note", **OLD_LINES},
         ("Use 4-bit or 16-bit weights",), {"support.int8": False, "support.four_bit": True},
         "gtx-1080-ti"),
    Case("T4", linux(nvml(card("Tesla T4", 15360, (7, 5), name="Tesla T4"))), "note",
         {"bf16-0": "note", **OLD_LINES}, (), {"support.int8": True}, "t4"),
    Case("V100 and CUDA 13",
         linux(nvml(card("Tesla V100-SXM2-16GB", 16384, (7, 0)), cuda=13000), torch_cuda="13.0"),
         "problem", {"card-0": "problem"}, ("below 7.5", "cu126"), {"support.torch": False},
         "auto"),
    Case("GTX 980",
         linux(nvml(card("GeForce GTX 980", 4096, (5, 2))), torch_cuda="12.6"), "warning",
         {"bitsandbytes": "warning", "card-0": "ok"}, ("Use 16-bit weights",),
         {"support.four_bit": False}, "auto"),
    Case("torch without CUDA",
         linux(nvml(RTX3090), torch_cuda=None, packages=without(torch="2.13.0+cpu")), "problem",
         {"torch": "problem", "card-0": "problem"}, ("built without CUDA", "whl/cu128"),
         {"support.torch": False}, "rtx-3090"),
    Case("torch missing", linux(nvml(RTX3090), torch_cuda=None, packages=without("torch")),
         "problem", {"torch": "problem"}, ("Nothing can be trained without it",), {}, "rtx-3090"),
    Case("bitsandbytes missing",
         linux(nvml(RTX3090), packages=without("bitsandbytes"), bitsandbytes_cuda=[]), "warning",
         {"bitsandbytes": "warning", "card-0": "ok"}, ("pip install bitsandbytes",),
         {"support.four_bit": False, "support.torch": True}, "rtx-3090"),
    Case("bitsandbytes for another CUDA", linux(nvml(RTX3090), bitsandbytes_cuda=["118", "121"]),
         "warning", {"bitsandbytes": "warning"}, ("no library for CUDA 12.8, only for 11.8, 12.1",),
         {"support.four_bit": False}, "rtx-3090"),
    Case("nothing installed",
         linux(nvml(RTX3090), packages={}, torch_cuda=None, bitsandbytes_cuda=[]), "problem",
         {"packages": "problem", "torch": "problem"}, ("missing: transformers",), {}, "rtx-3090"),
    Case("old transformers", linux(nvml(RTX3090), packages=without(transformers="4.57.1")),
         "warning", {"packages": "warning"}, ("4.57.1 (needs 5.17)",), {}, "rtx-3090"),
    Case("Docker without the card",
         linux(NO_DRIVER, pci_vendors=[], container_marks=["/.dockerenv"]), "warning",
         {"cards": "warning", "system": "note"}, ("docker run --gpus all",),
         {"container": "docker"}, "cpu"),
    Case("Podman without the card",
         linux(NO_DRIVER, container_marks=["/run/.containerenv"]), "problem",
         {"cards": "problem"}, ("nvidia.com/gpu=all",), {"container": "podman"}, "cpu"),
    Case("Docker with the card", linux(nvml(RTX3090), container_marks=["/.dockerenv"]), "note",
         {"card-0": "ok", "system": "note"}, ("in a container (docker)",), {}, "rtx-3090"),
    Case("Kubernetes with little memory",
         linux(nvml(card("A10", 23028, (8, 6))), cgroup="0::/kubepods/besteffort/pod1",
               memory=memory(256, limit_bytes=8 * GIB)), "warning", {"ram": "warning"},
         ("Give the container more memory",),
         {"container": "kubernetes", "ram_total_bytes": 8 * GIB, "ram_available_bytes": 8 * GIB},
         "a10"),
    Case("full disk", linux(nvml(RTX3090), store=disk("/home/ada/runs", free=GIB)), "problem",
         {"store": "problem", "cache": "ok"}, ("Make room",), {}, "rtx-3090"),
    Case("disk almost full", linux(nvml(RTX3090), cache=disk("/data/hub", free=9 * GIB)),
         "warning", {"cache": "warning"}, ("Make room soon",), {}, "rtx-3090"),
    Case("runs on another computer", linux(nvml(RTX3090), store=disk("/net/runs", "nfs4")),
         "note", {"store": "note"}, (), {}, "rtx-3090"),
    Case("9p outside of WSL", linux(nvml(RTX3090), store=disk("/share/runs", "9p")), "note",
         {"store": "ok"}, (), {}, "rtx-3090"),
    Case("all cards hidden", linux(nvml(RTX3090), environ={"CUDA_VISIBLE_DEVICES": ""}),
         "problem", {"visible": "problem"}, ("hides every card",), {"visible_devices": ""}, "cpu"),
    Case("the second card only",
         linux(nvml(RTX3060, RTX3090), environ={"CUDA_VISIBLE_DEVICES": "1"}), "note",
         {"visible": "note", "several": "note"}, ("CUDA_VISIBLE_DEVICES=1",), {}, "rtx-3090"),
    Case("a card by its UUID",
         linux(nvml(RTX3060, msgspec.structs.replace(RTX3090, uuid="GPU-22222222-bbbb")),
               environ={"CUDA_VISIBLE_DEVICES": "GPU-2222"}), "note", {"visible": "note"}, (), {},
         "rtx-3090"),
    Case("small card with a screen",
         linux(nvml(card("GeForce RTX 2060", 6144, (7, 5), drives_display=True))), "note",
         {"vram-0": "note", "safe-memory_cap": "note"}, ("drives a screen", "may not fill"), {},
         "rtx-2060", "pinned"),
    Case("small card without a screen", linux(nvml(card("GeForce RTX 2060", 6144, (7, 5)))),
         "note", {"vram-0": "ok", "safe-memory_cap": "-"}, (), {}, "rtx-2060"),
    Case("somebody else is on the card",
         linux(nvml(card("GeForce RTX 3090", 24576, (8, 6), free_bytes=2 * GIB))), "warning",
         {"vram-0": "warning"}, ("2.0 GiB of 24.0 GiB free", "Close what uses the card"), {},
         "rtx-3090"),
    Case("a card of one's own kind",
         linux(nvml(card("RTX A2000 12GB", 12282, (8, 6), cores=3328, sm_clock_mhz=2100,
                         memory_clock_mhz=6001, memory_bus_bits=192))), "note",
         {"card-0": "ok"}, (), {}, "auto"),
    Case("a 3080 of 12 GB", linux(nvml(card("GeForce RTX 3080", 12288, (8, 6)))), "note",
         {"card-0": "ok"}, (), {}, "auto"),
    Case("A100 80 GB", linux(nvml(card("A100-SXM4-80GB", 81920, (8, 0)))), "note",
         {"bf16-0": "ok"}, (), {"support.flash_attention": True}, "a100-80"),
    Case("A100 40 GB", linux(nvml(card("A100-PCIE-40GB", 40960, (8, 0)))), "note", {}, (), {},
         "a100-40"),
    Case("H100", linux(nvml(card("H100 80GB HBM3", 81559, (9, 0)))), "note", {}, (), {}, "h100"),
    Case("H200", linux(nvml(card("H200", 143771, (9, 0)))), "note", {}, (), {}, "h200"),
    Case("L4, no token", linux(nvml(card("L4", 23034, (8, 9))), has_token=False), "note",
         {"hub": "note"}, ("no token",), {"has_hub_token": False}, "l4"),
    Case("offline", linux(nvml(RTX3090), environ={"HF_HUB_OFFLINE": "1"}), "note", {"hub": "ok"},
         ("offline",), {"is_offline": True}, "rtx-3090"),
    Case("sleep is not told", linux(nvml(RTX3090), sleep=Sleep(has_inhibitor=True)), "note",
         {"sleep": "note"}, (), {"sleep_minutes": None}, "rtx-3090"),
    Case("nothing is known", Seen(nvml=failed(NO_NVML, "")), "problem",
         {"cards": "problem", "ram": "note", "swap": "note", "torch": "problem", "cache": "-"},
         (), {"ram_total_bytes": None, "packages": {}}, "cpu"),
]  # fmt: skip

WINDOWS_CASES = [
    Case("Windows, 4070", windows(nvml(card("GeForce RTX 4070", 12282, (8, 9)))), "note",
         {"spill": "note", "safe-memory_cap": "note", "safe-offload": "note", "sleep": "ok"},
         ("Prefer No Sysmem Fallback",), {"spill": "possible", "is_wsl": False}, "rtx-4070",
         "ring"),
    Case("Windows, much pinned",
         windows(nvml(RTX3090), pinned=Measured(pinned_bytes=8 * GIB, cap_bytes=8 * GIB)), "note",
         {"pinned": "ok"}, ("6.4 GiB used at most",), {}, "rtx-3090", "ring"),
    Case("Windows, little page file",
         windows(nvml(RTX3090), memory=memory(32, swap_total_bytes=2 * GIB)), "warning",
         {"swap": "warning"}, ("Page file: 2.0 GiB", "WinError 1455"), {}, "rtx-3090"),
    Case("Windows, sleeps after 20 minutes",
         windows(nvml(RTX3090), sleep=Sleep(powercfg=ENGLISH)), "warning", {"sleep": "warning"},
         ("sleeps after 20 min", "standby-timeout-ac 0"), {"sleep_minutes": 20}, "rtx-3090"),
    Case("Windows, no driver", windows(NO_DRIVER), "warning", {"cards": "warning"},
         ("Install NVIDIA's driver",), {}, "cpu"),
    Case("Windows, torch from PyPI",
         windows(nvml(RTX3090), torch_cuda=None, packages=without(torch="2.13.0")), "problem",
         {"torch": "problem"}, ("built without CUDA",), {}, "rtx-3090"),
    Case("Windows, GTX 1650 with a screen",
         windows(nvml(card("GeForce GTX 1650", 4096, (7, 5), drives_display=True))), "note",
         {"vram-0": "note", "safe-memory_cap": "note", **OLD_LINES}, (), {}, "auto", "ring"),
    Case("macOS", linux(NO_DRIVER, platform="darwin", pci_vendors=[], system="macOS 15"),
         "warning", {"system": "warning", "cards": "warning"}, ("runs use the processor",), {},
         "cpu"),
]  # fmt: skip

CASES = [*WSL_CASES, *LINUX_CASES, *WINDOWS_CASES]
