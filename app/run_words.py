"""A run's records and state in plain words: what the chip and the activity list say.

Pure: messages in, texts out.
"""

from __future__ import annotations

import msgspec

from app import certificate_words, words
from engine.contract.lifecycle import LIVE, Phase, State
from engine.contract.messages import (
    CheckpointSaved,
    Decision,
    Done,
    Evaluated,
    Finding,
    Record,
    ResumeCertificate,
    RunSummary,
    StateChanged,
)

STATES: dict[State, tuple[str, str]] = {
    State.CREATED: ("New", "info"),
    State.QUEUED: ("Queued", "info"),
    State.STARTING: ("Starting", "info"),
    State.PREPARING: ("Preparing", "info"),
    State.TRAINING: ("Training", "good"),
    State.STOPPING: ("Stopping", "warning"),
    State.STOPPED: ("Stopped", ""),
    State.FINISHED: ("Finished", ""),
    State.FAILED: ("Failed", "danger"),
    State.INTERRUPTED: ("Interrupted", "warning"),
    State.RECOVERING: ("Resuming", "warning"),
    State.PAUSED: ("Paused", "info"),
}
"""Word and tone of each state."""

SAVE_REASONS = {
    "time": "",
    "steps": "",
    "asked": " You asked for it.",
    "stop": " Saved before stopping.",
    "end": " The run was done.",
    "host_lost": " The engine's host had ended, so the run saved and stopped.",
    "signal": " The system asked the run to end.",
}
SEVERITY_TONES = {"info": "info", "warning": "warning", "error": "danger"}


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened."""

    at: float
    tone: str
    title: str
    text: str = ""


def chip_of(summary: RunSummary) -> tuple[str, str]:
    """Word and tone of a run's state."""
    word, tone = STATES[summary.state]
    if summary.state is State.QUEUED and summary.queue_place:
        is_next = summary.queue_place == 1
        word = "Queued, next" if is_next else f"Queued, {ordinal(summary.queue_place)}"
    return word, tone


def ordinal(number: int) -> str:
    """``1st``, ``2nd``, ``3rd``, ``11th``."""
    endings = {1: "st", 2: "nd", 3: "rd"}
    return f"{number}{'th' if 10 <= number % 100 <= 20 else endings.get(number % 10, 'th')}"


def entry_of(record: Record) -> Entry | None:
    """What the activity list says about a record; None where people need not know."""
    match record:
        case CheckpointSaved():
            text = f"Checked and readable. {words.size(record.bytes)}."
            text += SAVE_REASONS[record.reason]
            return _entry(record, "good", f"Saved step {words.count(record.step)}", text)
        case Evaluated():
            title = f"Evaluated at step {words.count(record.step)}"
            text = f"Loss {words.loss(record.eval_loss)} on the rows held back."
            return _entry(record, "info", title, text)
        case Finding():
            text = " ".join(filter(None, (record.cause, record.remedy)))
            return _entry(record, SEVERITY_TONES[record.severity], record.title, text)
        case Decision():
            text = " ".join(filter(None, (record.reason, record.cost)))
            return _entry(record, "info", record.title, text)
        case ResumeCertificate():
            tone = certificate_words.VERDICT_TONES[record.verdict]
            return _entry(record, tone, record.title, certificate_words.what_differs(record))
        case Done():
            return _end(record)
        case StateChanged():
            return _state(record)
    return None


def _entry(record: Record, tone: str, title: str, text: str) -> Entry:
    return Entry(at=record.at, tone=tone, title=title.rstrip("."), text=text)


def _end(done: Done) -> Entry | None:
    if done.outcome == "failed":
        return None  # the state that follows says so, with its sentence
    step = words.count(done.step)
    if done.outcome == "stopped":
        text = done.sentence or "Nothing is lost: press Resume to go on."
        return _entry(done, "", f"Stopped at step {step}", text)
    text = done.sentence or "The result is in the run's folder, under output."
    return _entry(done, "good", f"Finished at step {step}", text)


def _state(change: StateChanged) -> Entry | None:
    titles = {
        State.TRAINING: ("good", "Training"),
        State.STOPPING: ("warning", "Stopping"),
        State.FAILED: ("danger", "Failed"),
        State.INTERRUPTED: ("warning", "Interrupted"),
        State.RECOVERING: ("warning", "Ended before its time"),
        State.PAUSED: ("info", "Paused"),
    }
    if change.state is State.QUEUED and change.attempt > 1:
        return _entry(change, "info", f"Resumed, attempt {change.attempt}", change.sentence)
    if change.state not in titles:
        return None
    tone, title = titles[change.state]
    return _entry(change, tone, title, change.sentence)


# ---------------------------------------------------------------- what it is busy with


def busy_with(summary: RunSummary) -> str:
    """What a run without graphs yet, or between steps, is doing; empty while it trains."""
    if summary.state is State.QUEUED:
        place = summary.queue_place or 1
        before = "Next in the queue" if place == 1 else f"{ordinal(place)} in the queue"
        if summary.is_behind_paused:
            return (
                f"{before}, behind “{summary.behind}”, which is paused. Continue or stop that one "
                "to let this one begin."
            )
        if summary.behind:
            before = f"{before}, behind “{summary.behind}”"
        return f"{before}. One run trains at a time."
    if summary.state is State.PAUSED:
        return (
            "Paused: the card is free, and nothing else trains meanwhile. Press Continue to go on."
        )
    if summary.state is State.STOPPING:
        return "Stopping: the run saves at the end of this step."
    phases = {
        Phase.WAITING: "Starting the worker",
        Phase.LOADING_MODEL: "Loading the model",
        Phase.TOKENISING: "Preparing the data",
        Phase.FIRST_STEP: "First step, which takes longer than the others",
        Phase.EVALUATING: "Evaluating on rows that are not trained on",
    }
    return phases.get(summary.phase, "") if summary.state in LIVE else ""
