"""The watch over a living worker: finds that it is stuck, keeps what can be seen, and says so."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import msgspec

from engine.contract.lifecycle import Phase
from engine.contract.messages import Finding, Heartbeat, Message
from engine.diagnosis.watchdog import Stall, Watch
from engine.host.course import Course, goes_on_from
from engine.host.power import SleepMeter
from engine.host.settings import Settings
from engine.host.stall_report import Sighting, look_at_stall
from engine.host.threads import apart
from engine.host.worker import Worker
from engine.store.runs import STACKS

log = logging.getLogger(__name__)

_PATIENCE_SECONDS = 40.0


class Watchdog:
    """Watches the worker of one attempt."""

    def __init__(self, settings: Settings, course: Course, worker: Worker) -> None:
        self._course = course
        self._worker = worker
        self._scale = settings.watchdog_scale
        self._mute_seconds = settings.mute_seconds
        self._is_mute = False
        self._sleep = SleepMeter()
        self._watch = Watch(time.monotonic(), self._scale)
        self._is_told = False

    def begin(self) -> None:
        """The worker has its job."""
        self._watch = Watch(time.monotonic(), self._scale)
        self._worker.on_beat = self._on_beat

    def note(self, message: Message) -> None:
        """The worker said something."""
        self._watch.note(message, time.monotonic())
        self._is_told = False

    def look(self) -> Stall | None:
        """Whether it is stuck by now; told once, until it gets on."""
        stall = None if self._scale <= 0 else self._watch.look(time.monotonic())
        if stall is None or self._is_told:
            return None
        self._is_told = True
        return stall

    def confirm(self) -> bool:
        """Whether it still is, after it was examined; if not, it can be found again."""
        is_there = not self._worker.ended.done()
        self._is_told = is_there and self._watch.is_over(time.monotonic())
        return self._is_told

    def listen(self) -> None:
        """Mention a sleep of the computer, and a worker that says nothing at all, long before its
        time is up."""
        if slept_s := self._sleep.slept_seconds():
            self._watch.forgive(time.monotonic())
            self._tell_slept(slept_s)
        silent = time.monotonic() - self._worker.heard_at > self._mute_seconds
        if silent and not self._is_mute and self._worker.ready.done():
            self._course.find(
                "warning",
                "worker_silent",
                f"The worker has said nothing for {self._mute_seconds:.0f} s.",
                cause="It may be stuck in the GPU driver, or the machine is very busy.",
                remedy="If nothing changes, stop at once. "
                + goes_on_from("Resume", self._course.saved_step),
            )
        self._is_mute = silent

    def _tell_slept(self, seconds: float) -> None:
        minutes = max(round(seconds / 60), 1)
        self._course.find(
            "info",
            "slept",
            f"The computer slept for {minutes} min.",
            cause="It was put to sleep although a run was at work; the worker is watched as if it "
            "had just begun.",
            remedy="If the card does not wake up with it, the run goes on from the last save, or "
            "begins anew without one.",
        )

    async def see(self, stall: Stall) -> Sighting:
        """Keep what can be seen of it in the run folder."""
        log.warning("%s: worker %d is %s", self._course.run, self._worker.pid, stall)
        try:
            return await apart(
                look_at_stall, self._worker.pid, self._course.folder, self._course.attempt, stall,
                timeout_s=_PATIENCE_SECONDS,
            )  # fmt: skip
        except TimeoutError:
            return Sighting()

    def _on_beat(self, beat: Heartbeat) -> None:
        now = time.monotonic()
        self._watch.beat(beat.moves, now)
        self._is_told = self._is_told and self._watch.is_over(now)


def finding_of(course: Course, stall: Stall, seen: Sighting, *, is_ended: bool) -> Finding:
    """The stall in words; ``is_ended`` if the worker is ended for it."""
    kept = f" What could be seen of it is in {seen.path.name}." if seen.path else ""
    acts = "The worker is ended." if is_ended else "Stop it at once, then resume."
    return Finding(
        at=time.time(),
        attempt=course.attempt,
        severity="error" if is_ended else "warning",
        code="stalled",
        title=f"Nothing has moved for {stall.silent_seconds:.0f} s {_when(stall)}.",
        cause=cause_of(stall, seen),
        remedy=f"{acts}{kept}",
        why=f"{_what(stall)} may take {stall.budget_seconds:.0f} s without a sign of getting on.",
        detail=seen.stacks,
        step=course.step or None,
    )


def joined(finding: Finding, known: Finding) -> Finding:
    """The finding with what is known of such a stall, if anything is."""
    if not known.problem:
        return finding
    words: dict[str, Any] = {
        name: getattr(known, name)
        for name in ("cause", "patch", "changes_result", "effect", "problem", "pool")
    }
    remedy = f"{finding.remedy} {known.remedy}"
    return msgspec.structs.replace(finding, remedy=remedy, **words)


def cause_of(stall: Stall, seen: Sighting) -> str:
    """What kind of standing still it is."""
    if seen.state == "stopped":
        return "The worker was stopped by a signal (SIGSTOP) and was never let go on."
    if seen.state == "disk-sleep":
        return (
            "The worker waits within the system's kernel, for a disk or a driver. Under WSL "
            "`wsl --shutdown` may be all that helps."
        )
    if seen.dead_children:
        return "A process that worked for it has died, and it waits for that one for ever."
    if stall.kind == "frozen":
        return "Python itself does not answer: the compiled part of a library holds it."
    if seen.state == "running":
        return "It computes and does not get on."
    return "It waits for something that does not come: a lock, a pipe, another process, the card."


def _when(stall: Stall) -> str:
    return f"{'since' if stall.may_be_stepping else 'while'} {_doing(stall.phase)}"


def _what(stall: Stall) -> str:
    return "The step after it" if stall.may_be_stepping else "This phase"


def _doing(phase: Phase) -> str:
    return {
        Phase.WAITING: "it was to begin",
        Phase.LOADING_MODEL: "the model was loaded",
        Phase.TOKENISING: "the data was prepared",
        Phase.FIRST_STEP: "the first step was made",
        Phase.EVALUATING: "it was evaluated",
        Phase.SAVING: "it was saved",
    }.get(phase, "it trained")


def clear_stacks(folder: Path) -> None:
    """The file that workers leave their stacks in is not needed after an attempt."""
    (folder / STACKS).unlink(missing_ok=True)
