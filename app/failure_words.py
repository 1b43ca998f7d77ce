"""What the failure card and the banner of a run that goes on say. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from app import words
from app.run_words import STATES
from engine.contract.lifecycle import State
from engine.contract.messages import Decision, Finding, Record, RunSummary, StateChanged
from engine.contract.patching import Patch

if TYPE_CHECKING:
    # Only for its shape: the list of runs must not pay for numpy.
    from app.series import RunSeries


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why a run ended before its time, and what can be done."""

    finding: Finding
    """The story in whole sentences, what a resume costs included."""
    did: str
    """What Fettle did."""
    tone: str


def failure_of(summary: RunSummary, series: RunSeries) -> Failure | None:
    """The story of a run that failed, was interrupted, or was not to be resumed after that; None
    for all others."""
    events = [event for event in series.events if event.attempt == summary.attempt]
    if summary.state not in (State.FAILED, State.INTERRUPTED) and not _was_left_be(summary, events):
        return None
    errors = [e for e in events if isinstance(e, Finding) and e.severity == "error"]
    known = errors[-1] if errors else None
    found = known or _untold(summary)
    remedy = " ".join(filter(None, (found.remedy, _what_resuming_costs(summary, series))))
    cause = found.cause or "The worker ended without saying why. The log may tell."
    return Failure(
        finding=msgspec.structs.replace(found, cause=cause, remedy=remedy, step=summary.step),
        did=_what_fettle_did(events, series, known),
        tone=STATES[summary.state][1],
    )


def _untold(summary: RunSummary) -> Finding:
    """Where no finding says why."""
    was = "was " if summary.state is State.INTERRUPTED else ""
    step = f" at step {words.count(summary.step)}" if summary.step else ""
    title = f"The run {was}{STATES[summary.state][0].lower()}{step}"
    return Finding(
        at=summary.ended_at or 0.0, severity="error", code="", title=title, cause=summary.sentence
    )


def _was_left_be(summary: RunSummary, events: list[Record]) -> bool:
    states = [event.state for event in events if isinstance(event, StateChanged)]
    return summary.state is State.STOPPED and State.RECOVERING in states


def comeback_of(summary: RunSummary, now: float) -> str:
    """When a recovering run goes on, as a sentence; empty for all others."""
    if summary.state is not State.RECOVERING:
        return ""
    left = (summary.resumes_at or now) - now
    return f"Resuming in {words.span(left)}" if left >= 1 else "Resuming now"


def moment_of(finding: Finding, now: float) -> str:
    """Where in the run it was, and when."""
    step = f"step {words.count(finding.step)}" if finding.step else ""
    return " · ".join(filter(None, (step, words.when(finding.at, now) if finding.at else "")))


def settings_of(patch: Patch) -> str:
    """What the fix sets, such as ``gradient_accumulation_steps 8, quantization.bits 4``."""
    return ", ".join(_setting(field, value) for field, value in patch.items())


def _setting(field: str, value: Any) -> str:
    name = field.removeprefix("training.")
    if value is None:
        return f"no {name}"
    if isinstance(value, bool):
        value = "true" if value else "false"
    elif isinstance(value, list):
        value = ", ".join(map(str, value)) or "empty"
    return f"{name} {value}"


def _what_fettle_did(events: list[Record], series: RunSeries, finding: Finding | None) -> str:
    after = [e for e in events if finding and e.seq > finding.seq]
    decisions = [f"{e.title}. {e.reason}".strip() for e in after if isinstance(e, Decision)]
    save = series.last_save()
    kept = (
        f"Kept the save of step {words.count(save.step)}, which is checked and readable."
        if save
        else "No save had been made yet."
    )
    return " ".join([*decisions[-2:], kept])


def _what_resuming_costs(summary: RunSummary, series: RunSeries) -> str:
    save = series.last_save()
    if save is None:
        return "Resume begins again at step 1."
    again = max(0, summary.step - save.step)
    if not again:
        return f"Resume goes on after step {words.count(save.step)}: nothing is lost."
    _, step_seconds = series.speed()
    seconds = again * (step_seconds or 0.0)
    cost = f", about {words.span(seconds)}" if seconds >= 1 else ""
    steps = words.counted(again, "step")
    return f"Resume goes on after step {words.count(save.step)}: {steps} to do again{cost}."
