"""What a worker knows of a job that is going wrong, besides the exception."""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec

from engine import paths
from engine.contract.messages import Job, Telemetry
from engine.diagnosis import Evidence
from engine.planning import facts
from engine.planning.cards import card_index
from engine.planning.facts import GpuFacts, MachineFacts
from engine.store.manifest import read_manifest
from engine.worker.report import Report

LOG_BYTES = 1 << 16


def gather(job: Job, report: Report, log_start: int = 0) -> Evidence:
    """Everything but the exception. ``log_start`` is how long the log was when the job began."""
    machine = _machine(job)
    resumed_step = step_of(job)
    return Evidence(
        log=_log_tail(job.log, log_start),
        phase=report.phase.value,
        step=report.step or resumed_step,
        saved_step=report.saved_step or resumed_step,
        is_resumed=job.checkpoint is not None,
        steps=tuple(report.steps),
        telemetry=_telemetry(machine),
        machine=machine,
        spec=job.spec if job.kind in ("train", "rehearse") else {},
    )


def step_of(job: Job) -> int:
    """Where the job was to go on from, 0 for a fresh one."""
    try:
        return read_manifest(Path(job.checkpoint)).step if job.checkpoint else 0
    except ValueError:
        return 0


def size_of(path: str) -> int:
    """Of a log; 0 where there is none."""
    try:
        return Path(path).stat().st_size if path else 0
    except OSError:
        return 0


def _log_tail(path: str, start: int) -> str:
    """The end of what was written since the job began."""
    try:
        with Path(path).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(start, size - LOG_BYTES))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def _machine(job: Job) -> MachineFacts:
    """This machine, with the card that the job has as its only one: of the cards that are hidden
    from this process none is meant."""
    found = facts.gather(paths.store())
    index = card_index(0, os.environ.get("CUDA_VISIBLE_DEVICES"), found.gpus)
    number = job.spec.get("hardware", {}).get("gpu", 0)
    cards = [msgspec.structs.replace(c, index=number) for c in found.gpus if c.index == index]
    return msgspec.structs.replace(found, gpus=cards, visible_devices=None)


def _telemetry(machine: MachineFacts) -> tuple[Telemetry, ...]:
    """How full the card is now: what the job held is let go only with the process."""
    card: GpuFacts | None = machine.gpus[0] if machine.gpus else None
    if card is None or card.vram_total_bytes is None or card.vram_free_bytes is None:
        return ()
    used = card.vram_total_bytes - card.vram_free_bytes
    total = card.vram_total_bytes
    return (Telemetry(at=time.time(), vram_used_bytes=used, vram_total_bytes=total),)
