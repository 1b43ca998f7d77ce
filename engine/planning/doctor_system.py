"""The doctor's checks of memory, disks, packages and the system. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from engine.planning.checkup import GIB, Check, State, gib
from engine.planning.facts import MachineFacts
from engine.planning.platforms import is_network, is_windows_drive
from engine.planning.support import bitsandbytes_support, version

_LITTLE_RAM_BYTES = 12 * GIB
_LITTLE_PAGE_FILE_BYTES = 8 * GIB
_FULL_DISK_BYTES, _TIGHT_DISK_BYTES = 2 * GIB, 20 * GIB
_NEEDED = ("transformers", "trl", "peft", "datasets", "accelerate", "safetensors", "tokenizers")


def checks(facts: MachineFacts) -> Iterator[Check]:
    """Of everything but cards."""
    yield _ram(facts)
    yield _swap(facts)
    yield _store(facts)
    if facts.cache:
        yield _cache(facts)
    yield _torch(facts)
    yield _bitsandbytes(facts)
    yield _packages(facts)
    yield _hub(facts)
    yield _system(facts)
    yield _sleep(facts)


# ---------------------------------------------------------------- memory


def _ram(facts: MachineFacts) -> Check:
    total = facts.ram_total_bytes
    little = total is not None and total < _LITTLE_RAM_BYTES
    value = f"{gib(facts.ram_available_bytes)} of {gib(total)} available" if total else "not told"
    remedy = ""
    if little and facts.is_wsl:
        remedy = "WSL gets half of the computer's memory. Write memory=24GB below [wsl2] in \
%UserProfile%\\.wslconfig, then `wsl --shutdown`."
    elif little and facts.container:
        remedy = "Give the container more memory."
    return Check(
        id="ram", group="Memory", name="Memory of the computer",
        state="warning" if little else "ok" if total else "note", value=value,
        why="A model passes through it on its way to the card; merging needs it whole.",
        remedy=remedy,
    )  # fmt: skip


def _swap(facts: MachineFacts) -> Check:
    total = facts.swap_total_bytes
    windows = facts.platform == "win32"
    little = windows and total is not None and total < _LITTLE_PAGE_FILE_BYTES
    none = total == 0 and not windows
    return Check(
        id="swap", group="Memory", name="Page file" if windows else "Swap",
        state="warning" if little else "note" if none or total is None else "ok",
        value="none" if total == 0 else gib(total) if total is not None else "not told",
        why="Windows counts the libraries of CUDA against it: with too little, starting a worker "
        "ends with WinError 1455."
        if windows
        else "Without any, the system ends the largest program when memory runs out.",
        remedy="Let Windows manage the page file: System, Advanced, Performance, Virtual memory."
        if little
        else "",
    )  # fmt: skip


# ---------------------------------------------------------------- disks


def _store(facts: MachineFacts) -> Check:
    why = "Checkpoints are written here; a full disk stops a run."
    return _disk(
        facts, "store", "Runs", facts.store, facts.store_filesystem, facts.store_free_bytes, why,
        "Move it into Linux: set FETTLE_HOME to a folder such as ~/fettle.",
    )  # fmt: skip


def _cache(facts: MachineFacts) -> Check:
    why = "Downloaded models are kept here; an 8B model takes 16 GB."
    return _disk(
        facts, "cache", "Models", facts.cache, facts.cache_filesystem, facts.cache_free_bytes, why,
        "Move it into Linux: set HF_HOME to a folder such as ~/.cache/huggingface.",
    )  # fmt: skip


def _disk(
    facts: MachineFacts, id: str, name: str, path: str, filesystem: str | None, free: int | None,
    why: str, move: str,
) -> Check:  # fmt: skip
    state, remedy = _room(free)
    if is_windows_drive(filesystem, is_wsl=facts.is_wsl):
        state, remedy = max(state, "warning", key=_ORDER.index), move
        why = f"WSL reaches this folder through Windows: 5 to 20 times slower. {why}"
    elif is_network(filesystem) and state == "ok":
        state, why = "note", f"This folder is on another computer. {why}"
    kind = f", {filesystem}" if filesystem else ""
    return Check(
        id=id, group="Disk", name=name, state=state, value=f"{path} ({gib(free)} free{kind})",
        why=why, remedy=remedy,
    )  # fmt: skip


_ORDER: tuple[State, ...] = ("ok", "note", "warning", "problem")


def _room(free: int | None) -> tuple[State, str]:
    if free is None:
        return "note", ""
    if free < _FULL_DISK_BYTES:
        return "problem", "Make room: remove old runs and models."
    return ("warning", "Make room soon.") if free < _TIGHT_DISK_BYTES else ("ok", "")


# ---------------------------------------------------------------- packages


def _torch(facts: MachineFacts) -> Check:
    found = facts.packages.get("torch")
    if found is None:
        return Check(
            id="torch", group="Software", name="torch", state="problem", value="not installed",
            why="Nothing can be trained without it.",
            remedy="Install Fettle again, or `pip install torch` into its environment.",
        )  # fmt: skip
    built = f"for CUDA {facts.torch_cuda}" if facts.torch_cuda else "without CUDA"
    broken = [card for card in facts.gpus if card.support and card.support.torch is False]
    state: State = "problem" if broken and len(broken) == len(facts.gpus) else "ok"
    return Check(
        id="torch", group="Software", name="torch", state=state, value=f"{found}, built {built}",
        why="Its build decides which cards it can use.",
        remedy=broken[0].support.torch_reason if state == "problem" and broken[0].support else "",
    )  # fmt: skip


def _bitsandbytes(facts: MachineFacts) -> Check:
    found = facts.packages.get("bitsandbytes")
    judged = [card.support for card in facts.gpus if card.support]
    reasons = [support.bitsandbytes_reason for support in judged if support.bitsandbytes_reason]
    works = all(support.four_bit is not False for support in judged)
    if found is None:
        works, reasons = False, [bitsandbytes_support(facts.packages, None, [])[1]]
    return Check(
        id="bitsandbytes", group="Software", name="bitsandbytes",
        state="ok" if not reasons else "note" if works else "warning",
        value=found or "not installed",
        why="It holds 4-bit and 8-bit weights and the 8-bit optimizer.",
        remedy=reasons[0] if reasons and found else
        "Install it: `pip install bitsandbytes`." if reasons else "",
    )  # fmt: skip


def _packages(facts: MachineFacts) -> Check:
    missing = [name for name in _NEEDED if name not in facts.packages]
    there = [f"{name} {facts.packages[name]}" for name in _NEEDED if name in facts.packages]
    old = [
        f"{name} {facts.packages[name]} (needs {major}.{minor})"
        for name, (major, minor) in {"transformers": (5, 17), "trl": (1, 16)}.items()
        if name in facts.packages and version(facts.packages[name]) < (major, minor)
    ]
    value = f"missing: {', '.join(missing)}" if missing else ", ".join(there)
    return Check(
        id="packages", group="Software", name="Training packages",
        state="problem" if missing else "warning" if old else "ok",
        value=f"too old: {', '.join(old)}" if old and not missing else value,
        why="Their versions decide the result; a run notes them.",
        remedy="Install Fettle again, or update these packages." if missing or old else "",
    )  # fmt: skip


def _hub(facts: MachineFacts) -> Check:
    token = "a token is there" if facts.has_hub_token else "no token"
    value = f"{token}{', offline' if facts.is_offline else ''}"
    return Check(
        id="hub", group="Software", name="Hugging Face", state="ok" if facts.has_hub_token else
        "note", value=value,
        why="Models with terms to accept, such as Llama and Gemma, download only with a token.",
        remedy="" if facts.has_hub_token else "Run `hf auth login` if you need such a model.",
    )  # fmt: skip


# ---------------------------------------------------------------- system


def _system(facts: MachineFacts) -> Check:
    kernel = facts.kernel if facts.platform == "linux" else ""
    parts = [facts.system, f"kernel {kernel}" if kernel else ""]
    if facts.is_wsl:
        name = f" ({facts.wsl_distribution})" if facts.wsl_distribution else ""
        parts.insert(0, f"WSL {facts.wsl_version}{name}")
    if facts.container:
        parts.append(f"in a container ({facts.container})")
    parts.append(f"Python {facts.python}, Fettle {facts.engine}")
    state, why, remedy = _system_state(facts)
    return Check(
        id="system", group="System", name="System", state=state,
        value=", ".join(part for part in parts if part), why=why, remedy=remedy,
    )  # fmt: skip


def _system_state(facts: MachineFacts) -> tuple[State, str, str]:
    if facts.is_wsl and facts.wsl_version == 1:
        return (
            "problem", "WSL 1 has no way to the graphics card.",
            "Run `wsl --set-version <distribution> 2` in Windows.",
        )  # fmt: skip
    if facts.is_wsl:
        return (
            "note",
            "Runs are made in safe mode: some of what WSL cannot do well is left out.",
            "",
        )
    if facts.platform == "darwin":
        return "warning", "There are no NVIDIA cards for it, so runs use the processor.", ""
    if facts.container:
        return "note", "What lies outside its volumes goes when the container goes.", ""
    return "ok", "", ""


def _sleep(facts: MachineFacts) -> Check:
    minutes, battery = facts.sleep_minutes, facts.on_battery
    why = "A computer that sleeps stops a run; some drivers do not wake up."
    if battery:
        return Check(
            id="sleep", group="System", name="Power", state="warning", value="runs on its battery",
            why="Cards run slower on a battery, and the night is long.", remedy="Plug it in.",
        )  # fmt: skip
    if minutes:
        return Check(
            id="sleep", group="System", name="Sleep", state="warning",
            value=f"Windows sleeps after {minutes:.0f} min", why=why,
            remedy="Set it to never while you train: `powercfg /change standby-timeout-ac 0`.",
        )  # fmt: skip
    if minutes == 0:
        return Check(
            id="sleep", group="System", name="Sleep", state="ok", value="switched off", why=why
        )
    return Check(
        id="sleep", group="System", name="Sleep", state="note",
        value="this system does not say when it sleeps", why=why,
        remedy="Switch it off in the settings, or keep it awake with `systemd-inhibit fettle "
        "follow last`." if facts.has_inhibitor else "Switch it off in the system's settings.",
    )  # fmt: skip
