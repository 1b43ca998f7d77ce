"""The doctor's checks of cards, drivers, and of the memory that matters beside a card. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from engine.planning.cards import card_index
from engine.planning.checkup import GIB, Check, gib
from engine.planning.facts import GpuFacts, GpuTrouble, MachineFacts
from engine.planning.pinned import ASSUMED_WSL_BYTES, budget_bytes
from engine.planning.platforms import WSL_LIBRARIES
from engine.planning.support import BF16, dotted

_BUSY_SHARE = 0.25
_SMALL_CARD_BYTES = 6 * GIB
_WSL_DRIVER = "Install NVIDIA's driver in Windows, none in WSL; then run `wsl --update` and \
`wsl --shutdown` in Windows."


def checks(facts: MachineFacts) -> Iterator[Check]:
    """One for each card, or why there is none; then what goes with cards."""
    if not facts.gpus:
        yield _no_card(facts)
        return
    for card in facts.gpus:
        yield _card(card)
    if facts.visible_devices is not None:
        yield _hidden(facts)
    if len(facts.gpus) > 1:
        yield _several(facts)
    if facts.wsl_foreign_driver:
        yield _foreign_driver(facts)
    answering = [card for card in facts.gpus if not card.problem]
    for card in answering:
        yield from _number_format(card)
        yield from _free(card)
    if answering:
        yield _driver(answering[0])
    yield _pinned(facts)
    yield _spill(facts)


# ---------------------------------------------------------------- no card


def _no_card(facts: MachineFacts) -> Check:
    state, remedy = "problem", _remedy(facts.gpu_trouble, facts)
    why = "Training runs on the processor, 10 to 100 times slower than on a card."
    if facts.gpu_trouble == "no_driver" and not _has_nvidia(facts) and not facts.is_wsl:
        # Nothing is broken: there is just no such card, or nobody can tell.
        state = "warning"
    return Check(
        id="cards", group="Card", name="Graphics card", value=_seen(facts), why=why,
        state="warning" if state == "warning" else "problem", remedy=remedy,
    )  # fmt: skip


def _has_nvidia(facts: MachineFacts) -> bool:
    return "NVIDIA" in facts.display_vendors


def _seen(facts: MachineFacts) -> str:
    if facts.is_wsl and facts.gpu_trouble == "no_driver" and facts.wsl_has_driver is False:
        return f"Windows lends WSL no driver: there is no libcuda in {WSL_LIBRARIES}."
    if facts.gpu_trouble != "no_driver" or not facts.display_vendors:
        return facts.gpu_problem or "None."
    if _has_nvidia(facts):
        return "There is an NVIDIA card, but no driver for it."
    others = " and ".join(sorted(set(facts.display_vendors)))
    return f"No NVIDIA card, only one of {others}."


def _remedy(trouble: GpuTrouble, facts: MachineFacts) -> str:
    if trouble in ("no_driver", "no_card", "blocked") and facts.is_wsl:
        if facts.wsl_version == 1:
            return "WSL 1 reaches no card. Run `wsl --set-version <distribution> 2` in Windows."
        if facts.wsl_foreign_driver:
            return f"Remove the Linux driver from WSL ({facts.wsl_foreign_driver}). {_WSL_DRIVER}"
        return _WSL_DRIVER
    if trouble in ("no_driver", "no_card") and facts.container:
        return f"Start the container with the card: for {_ENGINE.get(facts.container, 'Docker')}."
    if trouble == "no_driver" and facts.display_vendors and not _has_nvidia(facts):
        return "Fettle trains on NVIDIA cards. Small models train on the processor too."
    return _REMEDIES.get(
        trouble,
        "Restart the computer; if that does not help, reinstall the \
driver.",
    )


_ENGINE = {
    "docker": "Docker `docker run --gpus all …`, with NVIDIA's Container Toolkit installed",
    "podman": "Podman `podman run --device nvidia.com/gpu=all …`",
}
_REMEDIES: dict[GpuTrouble, str] = {
    "no_nvml": "Install it: `pip install nvidia-ml-py`.",
    "no_driver": "Install NVIDIA's driver and restart the computer.",
    "no_card": "Run `nvidia-smi`. On a laptop, switch to the NVIDIA card (`prime-select nvidia`, \
or the maker's own program); else check that the card sits well and has power.",
    "blocked": "Check that you may open /dev/nvidia0; in a container, that the card is passed in.",
    "mismatch": "Restart the computer, so that the new driver is loaded.",
    "silent": "A program may hang in the driver. End what uses the card, or restart the computer.",
}


# ---------------------------------------------------------------- cards that are there


def _card(card: GpuFacts) -> Check:
    place = f"Card {card.index}"
    if card.problem:
        return Check(
            id=f"card-{card.index}", group="Card", name=place, state="problem",
            value=f"{card.name or 'NVIDIA card'}. {card.problem}",
            why="A run on this card would hang or fail.",
            remedy="Restart the computer. If it comes back, check the card's power and seat.",
        )  # fmt: skip
    support = card.support
    if support and support.torch is False:
        return Check(
            id=f"card-{card.index}", group="Card", name=place, state="problem",
            value=_described(card), why="torch cannot use this card.", remedy=support.torch_reason,
        )  # fmt: skip
    missing = card.vram_total_bytes is None or card.compute_capability is None
    return Check(
        id=f"card-{card.index}", group="Card", name=place, state="note" if missing else "ok",
        value=_described(card),
        why="The driver does not tell everything; a plan is made from the card's profile."
        if missing
        else "Its memory decides what can be trained.",
    )  # fmt: skip


def _described(card: GpuFacts) -> str:
    parts = [card.name or "NVIDIA card of unknown name"]
    if card.vram_total_bytes is not None:
        parts.append(gib(card.vram_total_bytes))
    else:
        parts.append("memory not told")
    if card.compute_capability is not None:
        parts.append(f"compute capability {dotted(card.compute_capability)}")
    if card.drives_display:
        parts.append("drives a screen")
    return ", ".join(parts)


def _number_format(card: GpuFacts) -> Iterator[Check]:
    capability = card.compute_capability
    if capability is None:
        return
    has = capability >= BF16
    yield Check(
        id=f"bf16-{card.index}", group="Card", name=f"Number format, card {card.index}",
        state="ok" if has else "note",
        value="bf16 in hardware" if has else f"no bf16 in hardware ({dotted(capability)} is below \
8.0)",
        why="bf16 needs no loss scaling."
        if has
        else "Runs use fp16 with loss scaling; torch would emulate bf16, slowly. There is no flash "
        "attention either.",
    )  # fmt: skip


def _free(card: GpuFacts) -> Iterator[Check]:
    total, free = card.vram_total_bytes, card.vram_free_bytes
    if total is None:
        return
    held = None if free is None else total - free
    busy = held is not None and held > _BUSY_SHARE * total
    small = total <= _SMALL_CARD_BYTES and bool(card.drives_display)
    state = "warning" if busy else "note" if small or free is None else "ok"
    yield Check(
        id=f"vram-{card.index}", group="Card", name=f"Free memory, card {card.index}",
        state="warning" if state == "warning" else "note" if state == "note" else "ok",
        value=f"{gib(free)} of {gib(total)} free" if free is not None else "not told",
        why="What other programs hold is missing to a run."
        if not small
        else "The desktop takes its part of a small card, and more as windows open.",
        remedy="Close what uses the card: games, browsers, other training. `nvidia-smi` lists them."
        if busy
        else "Let the screen hang on the processor's own graphics, if it has any." if small else "",
    )  # fmt: skip


def _driver(card: GpuFacts) -> Check:
    unknown = card.driver is None
    return Check(
        id="driver", group="Card", name="Driver", state="note" if unknown else "ok",
        value="not told" if unknown else f"{card.driver}, up to CUDA {card.cuda or 'unknown'}",
        why="It limits which builds of torch run.",
    )  # fmt: skip


def _hidden(facts: MachineFacts) -> Check:
    index = card_index(0, facts.visible_devices, facts.gpus)
    known = index is not None and any(card.index == index for card in facts.gpus)
    value = f"CUDA_VISIBLE_DEVICES={facts.visible_devices}"
    if known:
        return Check(
            id="visible", group="Card", name="Visible cards", state="note", value=value,
            why=f"hardware.gpu counts only what is left: 0 is card {index} of nvidia-smi.",
        )  # fmt: skip
    return Check(
        id="visible", group="Card", name="Visible cards", state="problem", value=value,
        why="It hides every card, so runs use the processor.",
        remedy="Remove it from the environment that Fettle starts in.",
    )  # fmt: skip


def _several(facts: MachineFacts) -> Check:
    best = max(facts.gpus, key=lambda card: card.vram_total_bytes or 0)
    index = card_index(0, facts.visible_devices, facts.gpus)
    used = next((card for card in facts.gpus if card.index == index), facts.gpus[0])
    larger = (best.vram_total_bytes or 0) > (used.vram_total_bytes or 0)
    equal = len({(card.name, card.vram_total_bytes) for card in facts.gpus}) == 1
    return Check(
        id="several", group="Card", name="Several cards", state="warning" if larger else "note",
        value=f"{len(facts.gpus)} {'equal' if equal else 'different'} cards",
        why="A run uses one card; without hardware.gpu it is card "
        f"{used.index}{', which has less memory than card ' + str(best.index) if larger else ''}.",
        remedy=f"Write hardware.gpu = {best.index} to use the larger one."
        if larger and facts.visible_devices is None
        else "",
    )  # fmt: skip


def _foreign_driver(facts: MachineFacts) -> Check:
    return Check(
        id="wsl-driver", group="Card", name="Driver in WSL", state="warning",
        value=f"{facts.wsl_foreign_driver} belongs to a Linux driver",
        why="It can hide the driver that Windows lends to WSL, and block the card.",
        remedy="Remove the packages nvidia-utils and nvidia-driver in WSL, then `wsl --shutdown` \
in Windows.",
    )  # fmt: skip


# ---------------------------------------------------------------- memory beside the card


def _pinned(facts: MachineFacts) -> Check:
    measured = facts.pinned
    limited = facts.is_wsl or facts.platform == "win32"
    why = "Quick copies between card and RAM need it; offloading runs through a small ring of it."
    if measured is None or measured.pinned_bytes is None:
        reason = measured.why if measured else "it was not measured yet."
        assumed = f" A run counts on {gib(ASSUMED_WSL_BYTES)}." if facts.is_wsl else ""
        return Check(
            id="pinned", group="Memory", name="Pinned memory", state="note",
            value=f"Unknown: {reason}{assumed}", why=why,
        )  # fmt: skip
    scarce = not measured.is_capped
    platform = "wsl" if facts.is_wsl else facts.platform.replace("win32", "windows")
    usable = budget_bytes(measured, platform, facts.ram_total_bytes)
    least = "at least " if not scarce else ""
    return Check(
        id="pinned", group="Memory", name="Pinned memory",
        state="warning" if scarce and (measured.pinned_bytes < GIB // 2) else
        "note" if scarce else "ok",
        value=f"{least}{gib(measured.pinned_bytes)} measured"
        + (f", {gib(usable)} used at most" if usable is not None else ""),
        why=why,
        remedy="Windows limits it. Close other programs; more memory for WSL (.wslconfig) rarely "
        "helps." if scarce and limited else
        "Raise the limit of locked memory (`ulimit -l`)." if scarce else "",
    )  # fmt: skip


def _spill(facts: MachineFacts) -> Check:
    common = "A run that needs more than the card has then goes on, 3 to 50 times slower."
    if facts.spill == "always":
        return Check(
            id="spill", group="Memory", name="Spill to RAM", state="note",
            value="Windows may move the card's memory to RAM; WSL cannot switch that off.",
            why=f"{common} Fettle caps its own use, so that it ends with an error instead.",
        )  # fmt: skip
    if facts.spill == "possible":
        return Check(
            id="spill", group="Memory", name="Spill to RAM", state="note",
            value="Windows may move the card's memory to RAM.",
            why=f"{common} Fettle caps its own use, so that it ends with an error instead.",
            remedy="NVIDIA Control Panel, Manage 3D settings, CUDA - Sysmem Fallback Policy: \
Prefer No Sysmem Fallback.",
        )  # fmt: skip
    return Check(
        id="spill", group="Memory", name="Spill to RAM", state="ok",
        value="The driver refuses what does not fit.", why=common,
    )  # fmt: skip
