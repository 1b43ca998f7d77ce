"""Applies the safe mode: what is known to hang, fail or crawl on this machine is left out.

What it is and why is :mod:`engine.planning.safe_mode`'s; each line that has an effect on the run is
told as a decision.
"""

from __future__ import annotations

import os
import sys
from typing import Literal

import msgspec
import torch

from engine import paths
from engine.contract.spec import Spec
from engine.planning import look, nvml, pinned, safe_mode
from engine.planning.cards import card_index
from engine.planning.facts import is_wsl
from engine.planning.hardware import PlatformKind
from engine.planning.safe_mode import Action, SafeMode, Situation
from engine.worker.offload import Ring, make_ring
from engine.worker.report import Report

_SETTINGS = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")
"""The second is the older name of the first."""
_SEGMENTS = "expandable_segments"
_LEAST_FRACTION = 0.05


def this_platform() -> PlatformKind:
    """Where this worker runs."""
    if sys.platform == "win32":
        return "windows"
    return "wsl" if is_wsl() else "linux"


def before_cuda(switch: safe_mode.Switch, platform: PlatformKind) -> bool:
    """What must be set before CUDA starts; whether anything had to be changed.

    The user's own settings of the allocator stay, but for expandable segments.
    """
    wanted = switch == "on" or (switch == "auto" and platform != "linux")
    changed = False
    for name in _SETTINGS if wanted else ():
        left = without_segments(os.environ.get(name, ""))
        if left != os.environ.get(name, ""):
            os.environ[name] = left
            changed = True
    if changed:
        # torch may have read the variable already, when it was imported.
        torch._C._accelerator_setAllocatorSettings(f"{_SEGMENTS}:False")
    return changed


def without_segments(settings: str) -> str:
    """Allocator settings such as ``a:1,expandable_segments:True`` without those segments."""
    kept = [part for part in settings.split(",") if part.partition(":")[0].strip() != _SEGMENTS]
    return ",".join(kept)


def choose(spec: Spec, device: Literal["cuda", "cpu"], platform: PlatformKind) -> SafeMode:
    """The safe mode of a run on this machine. Starts CUDA on a card."""
    return safe_mode.choose(spec.hardware.safe_mode, _situation(device, platform))


def _situation(device: str, platform: PlatformKind) -> Situation:
    store = look.disk(paths.store()).filesystem
    if device == "cpu":
        return Situation(platform=platform, store_filesystem=store)
    cards = nvml.read()
    index = card_index(0, os.environ.get("CUDA_VISIBLE_DEVICES"), cards.cards)
    card = next((card for card in cards.cards if card.index == index), None)
    measured = pinned.read(paths.home(), look.machine_key(cards))
    return Situation(
        platform=platform,
        compute_capability=torch.cuda.get_device_capability(),
        card_bytes=torch.cuda.mem_get_info()[1],
        drives_display=bool(card and card.drives_display),
        pinned_budget_bytes=pinned.budget_bytes(measured, platform, look.memory().total_bytes),
        store_filesystem=store,
    )


def adjusted(spec: Spec, safe: SafeMode) -> Spec:
    """The spec as it is trained: what the safe mode leaves out is replaced by what gives the same
    result."""
    model, training = spec.model, spec.training
    if safe.has("paged_optimizers") and training.optim == "paged_adamw_8bit":
        training = msgspec.structs.replace(training, optim="adamw_8bit")
    if safe.has("flash_attention") and model.attn_implementation == "flash_attention_2":
        model = msgspec.structs.replace(model, attn_implementation="sdpa")
    return msgspec.structs.replace(spec, model=model, training=training)


def cap_memory(safe: SafeMode) -> None:
    """Let torch take what is free now but for the margin: what is more then ends with an error,
    where Windows would move memory out without a word. Counts without CUDA's own context, which is
    there already."""
    if not safe.margin_bytes:
        return
    free, total = torch.cuda.mem_get_info()
    usable = free + torch.cuda.memory_reserved() - safe.margin_bytes
    fraction = min(max(usable / total, _LEAST_FRACTION), 1.0)
    torch.cuda.set_per_process_memory_fraction(fraction)


def tell(spec: Spec, safe: SafeMode, report: Report, *, precision: str, segments: bool) -> None:
    """A decision for each line that this run would have been otherwise without."""
    idle: dict[Action, bool] = {
        "offload": spec.training.gradient_checkpointing != "offload",
        "paged_optimizers": spec.training.optim != "paged_adamw_8bit",
        "flash_attention": spec.model.attn_implementation != "flash_attention_2",
        "fp16": precision != "fp16",
        "expandable_segments": not segments,
    }
    by_hand = "Safe mode is switched on. " if safe.switch == "on" else ""
    for line in safe.lines:
        if not idle.get(line.action, False):
            report.decided(line.title, by_hand + line.reason, line.cost)


def make_offload_ring(spec: Spec, safe: SafeMode, report: Report) -> Ring | None:
    """The ring that offloaded activations go through; None if they are copied without one."""
    if spec.training.gradient_checkpointing != "offload" or not safe.ring_bytes:
        return None
    ring = make_ring(safe.ring_bytes, pin=torch.cuda.is_available())
    if ring is None:
        report.decided(
            "Offloaded activations are not pinned; their copies block.",
            f"The machine refused to pin {safe.ring_bytes >> 20} MiB.",
            "Each copy stops the card: up to half as slow again.",
        )
    return ring
