"""What conflict rules can say of card and machine. Pure."""

from __future__ import annotations

from typing import Any

from engine.planning.facts import GpuFacts, MachineFacts
from engine.planning.hardware import Machine
from engine.planning.rules import version

Table = dict[str, Any]

_GIB = 2**30


def machine_facts(machine: MachineFacts | Machine | None, number: int) -> Table:
    """Of a machine that is here or planned for; ``number`` is that of the card."""
    if isinstance(machine, Machine):
        return _planned(machine)
    if machine is None:
        return {}
    card = chosen_card(machine, number)
    return {
        "machine.platform": _platform(machine),
        "machine.ram_gib": _gib(machine.ram_total_bytes),
        "gpu.is_there": _has_card(machine),
        "gpu.count": len(machine.gpus) or None,
        "gpu.number": number,
        **(_card_facts(card) if card else {}),
        "torch.cuda": version(machine.torch_cuda) if machine.torch_cuda else None,
        "store.path": machine.store,
        "store.file_system": machine.store_filesystem,
        "store.free_gib": _gib(machine.store_free_bytes),
        "hub.file_system": machine.cache_filesystem,
        "hub.free_gib": _gib(machine.cache_free_bytes),
        "hub.path": machine.cache,
        "hub.has_token": machine.has_hub_token,
        "hub.is_offline": machine.is_offline,
    }


def _planned(machine: Machine) -> Table:
    capability = machine.profile.compute_capability
    return {
        "machine.platform": machine.platform,
        "machine.ram_gib": _gib(machine.ram_bytes),
        "gpu.is_there": capability is not None,
        "gpu.name": machine.profile.name,
        "gpu.capability": capability,
        "gpu.memory_gib": _gib(machine.profile.memory_bytes),
    }


def chosen_card(machine: MachineFacts, number: int) -> GpuFacts | None:
    """The card that the run gets; None if there is none, or it cannot be told which."""
    cards = machine.gpus
    if machine.visible_devices is not None:
        shown = [text.strip() for text in machine.visible_devices.split(",")]
        wanted = shown[number] if number < len(shown) else ""
        return next((c for c in cards if wanted and wanted in (str(c.index), c.uuid)), None)
    return next((card for card in cards if card.index == number), None)


def _has_card(machine: MachineFacts) -> bool | None:
    if machine.visible_devices is not None and machine.visible_devices.strip() in ("", "-1"):
        return False
    if machine.gpus:
        return True
    return False if machine.gpu_trouble in ("no_card", "no_driver") else None


def _card_facts(card: GpuFacts) -> Table:
    return {
        "gpu.name": card.name or "the card",
        "gpu.capability": card.compute_capability,
        "gpu.memory_gib": _gib(card.vram_total_bytes),
        "gpu.driver": version(card.driver) if card.driver else None,
        "gpu.cuda": version(card.cuda) if card.cuda else None,
        "gpu.cuda_major": _major(card.cuda),
    }


def _platform(machine: MachineFacts) -> str:
    if machine.is_wsl:
        return "wsl"
    return {"win32": "windows"}.get(machine.platform, machine.platform)


def _gib(size: int | None) -> float | None:
    return None if size is None else size / _GIB


def _major(text: str | None) -> int | None:
    found = version(text) if text else None
    return found[0] if found else None
