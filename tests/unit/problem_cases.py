"""Ends of runs, for the tests of what is known to go wrong: from a few words to whole evidence."""

from __future__ import annotations

import random
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from engine.contract.messages import Step, Telemetry
from engine.contract.patching import patched
from engine.contract.toml import to_raw
from engine.diagnosis import ErrorSeen, Evidence
from engine.planning.facts import GpuFacts, MachineFacts
from tests.unit.conflict_cases import GIB, GPU, MACHINE, PACKAGES, SPEC

DATA = Path(__file__).parents[1] / "data" / "problems"
CASES: dict[str, dict[str, Any]] = tomllib.loads((DATA / "cases.toml").read_text("utf-8"))
CARD_BYTES = 12 * GIB
_PLATFORMS = {"windows": "win32", "wsl": "linux"}


def evidence_of(case: dict[str, Any]) -> Evidence:
    """The evidence that a case stands for; see the head of ``cases.toml``."""
    return Evidence(
        errors=tuple(_errors(case)),
        error_code=case.get("error_code", ""),
        exit_code=case.get("exit"),
        oom_kills=case.get("oom_kills"),
        is_hanging=case.get("hang", False),
        log=case.get("log", ""),
        phase=case.get("phase", "training"),
        step=case.get("saved_step", 0) + case.get("steps", 0),
        saved_step=case.get("saved_step"),
        is_resumed=case.get("resumed"),
        steps=_steps(case),
        telemetry=_telemetry(case),
        machine=machine_of(case),
        spec=patched(to_raw(SPEC), [case.get("spec", {})]),
    )


def cases(side: str) -> list[tuple[str, dict[str, Any]]]:
    """``yes`` or ``no`` of every problem, with its id; some have several."""
    found = [(id, case[side]) for id, case in CASES.items()]
    return [(id, each) for id, many in found for each in (many if type(many) is list else [many])]


def _errors(case: dict[str, Any]) -> list[ErrorSeen]:
    found = []
    if "cause_error" in case:
        text = case.get("cause_text", "")
        found.append(ErrorSeen(type=case["cause_error"], text=text, link="cause"))
    if "error" in case:
        text, frames = case.get("text", ""), case.get("frames", "")
        found.append(ErrorSeen(type=case["error"], text=text, frames=frames))
    return found


def _steps(case: dict[str, Any]) -> tuple[Step, ...]:
    count, slow = case.get("steps", 0), case.get("slow", 1)
    made = [
        Step(
            at=float(n), step=n + 1, loss=1.5, learning_rate=1e-4,
            step_ms=1000.0 * (slow if n >= count - 15 else 1),
        )
        for n in range(count)
    ]  # fmt: skip
    if made and case.get("loss") is False:
        made[-1] = msgspec.structs.replace(made[-1], loss=None)
    return tuple(made)


def _telemetry(case: dict[str, Any]) -> tuple[Telemetry, ...]:
    card, ram = case.get("card"), case.get("ram")
    sample = Telemetry(
        at=1.0,
        vram_used_bytes=round(card * CARD_BYTES) if card else None,
        vram_total_bytes=CARD_BYTES if card else None,
        ram_used_bytes=round(ram * 32 * GIB) if ram else None,
        gpu_busy_percent=case.get("busy"),
        cpu_percent=case.get("cpu"),
    )
    return (sample,) * 5


def machine_of(case: dict[str, Any]) -> MachineFacts:
    """The calm machine of the conflicts' tests, with what the case says of it."""
    platform = case.get("platform", "linux")
    given = dict(case.get("gpu", {}))
    if "compute_capability" in given:
        given["compute_capability"] = tuple(given["compute_capability"])
    gpu: GpuFacts = msgspec.structs.replace(GPU, **given)
    return msgspec.structs.replace(
        MACHINE,
        platform=_PLATFORMS.get(platform, platform),
        is_wsl=platform == "wsl",
        gpus=[gpu],
        packages={**PACKAGES, **case.get("packages", {})},
    )


# ---------------------------------------------------------------- whole logs


class Mixed(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a log that was written without a look at the patterns."""

    id: str
    """Of the problem that must come first; ``none`` where nothing known fits."""
    case: dict[str, Any]
    text: str
    has_noise_after: bool


def blocks(name: str) -> list[str]:
    """The texts of ``noise.txt`` or ``healthy.txt``."""
    return [_real(block) for block in _text(name).split("\n---\n")[1:]]


def mixed() -> list[Mixed]:
    """All of ``mix.txt`` and ``provoked.txt``."""
    texts = [_text("mix.txt"), _text("provoked.txt")]
    return [_mixed(part) for text in texts for part in text.split("\n=== ")[1:]]


def _mixed(part: str) -> Mixed:
    head, _, text = part.partition("\n")
    id, *words = head.split()
    pairs = (word.partition("=") for word in words if "=" in word)
    case = {key: _value(value) for key, _, value in pairs}
    return Mixed(id=id, case=case, text=_real(text), has_noise_after="after" in words)


def _value(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def _text(name: str) -> str:
    return (DATA / name).read_text("utf-8")


def _real(text: str) -> str:
    return text.replace("␛", "\x1b").replace("␍", "\r")


def embedded(text: str, noise: list[str], seed: int, *, after: bool = False) -> str:
    """The text at the end of a long log of healthy noise."""
    chance = random.Random(seed)
    before = [chance.choice(noise) for _ in range(chance.randrange(15, 40))]
    behind = [chance.choice(noise) for _ in range(2)] if after else []
    return "\n".join([*before, text, *behind, ""])
