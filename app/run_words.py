"""A run's records and numbers in plain words: what the tiles, the chip and the activity list say.

Pure: messages and series in, texts out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from app import certificate_words, words
from engine.contract.lifecycle import LIVE, RESTING, Phase, State
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

if TYPE_CHECKING:
    # Only for its shape: the list of runs must not pay for numpy.
    from app.series import RunSeries

MINUS = "\N{MINUS SIGN}"

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


class TileText(msgspec.Struct, frozen=True, kw_only=True):
    """One number on top of a run's page."""

    label: str
    number: str
    small: str = ""
    tip: str = ""
    """Instead of ``small`` where the mouse rests; empty where that says it all."""


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


# ---------------------------------------------------------------- tiles


def tiles_of(summary: RunSummary, series: RunSeries, now: float) -> list[TileText]:
    """The six numbers on top."""
    return [
        _step_tile(summary, series),
        _time_tile(summary, now),
        _loss_tile(summary, series),
        _speed_tile(summary, series),
        _memory_tile(series),
        _save_tile(summary, series, now),
    ]


def _step_tile(summary: RunSummary, series: RunSeries) -> TileText:
    if not summary.max_steps:
        number, parts = words.count(summary.step) if summary.step else words.NONE, []
    else:
        number = f"{words.count(summary.step)} / {words.count(summary.max_steps)}"
        parts = [f"{100 * summary.step // summary.max_steps} %"]
    epoch = series.steps.last("epoch")
    if epoch is not None:
        parts.append(f"epoch {epoch:.2f}")
    return TileText(label="Step", number=number, small=" · ".join(parts))


def _time_tile(summary: RunSummary, now: float) -> TileText:
    if summary.state in RESTING:
        ended = f"ended {words.when(summary.ended_at, now)}" if summary.ended_at else ""
        number = words.taken(summary.train_seconds)
        return TileText(label="Time taken", number=number, small=ended)
    eta = summary.eta_seconds
    if eta is None:
        small = "after the first steps" if summary.state in LIVE else "not started yet"
        return TileText(label="Time left", number=words.NONE, small=small)
    return TileText(
        label="Time left", number=words.span(eta), small=f"ends {words.when(now + eta, now)}"
    )


def _loss_tile(summary: RunSummary, series: RunSeries) -> TileText:
    """The loss of the newest step, as the list and the terminal have it."""
    smoothed, trend = series.steps.last("smoothed"), series.loss_trend()
    small = f"smoothed {words.loss(smoothed)}" if smoothed is not None else ""
    tip = small
    if trend is not None:
        change = f"{MINUS if trend < 0 else '+'}{abs(trend):.3f}"
        small, tip = f"{small}, {change}", f"{small}, {change} over 50 steps"
    if summary.eval_loss is not None:
        tip += f"\nevaluated {words.loss(summary.eval_loss)}"
    return TileText(label="Loss", number=words.loss(summary.loss), small=small, tip=tip.strip())


def _speed_tile(summary: RunSummary, series: RunSeries) -> TileText:
    """The speed of now; of a run at rest that of all its steps."""
    is_over = summary.state in RESTING
    tokens_a_second, step_seconds = series.mean_speed() if is_over else series.speed()
    if tokens_a_second is None:
        return TileText(label="Throughput", number=words.NONE)
    return TileText(
        label="Throughput",
        number=f"{words.count(tokens_a_second)} tok/s",
        small=f"{words.seconds(step_seconds)} / step" + (" on average" if is_over else ""),
    )


def _memory_tile(series: RunSeries) -> TileText:
    if series.has_gpu:
        peak = series.telemetry.peak("vram_used_bytes")
        total = series.telemetry.last("vram_total_bytes")
        left = f"{words.size(total - peak)} never used" if peak and total else "of the card"
        return TileText(label="VRAM peak", number=words.size_of(peak, total), small=left)
    peak = series.telemetry.peak("ram_used_bytes")
    small = "of the process, no GPU" if peak is not None else ""
    return TileText(label="RAM peak", number=words.size(peak), small=small)


def _save_tile(summary: RunSummary, series: RunSeries, now: float) -> TileText:
    save = series.last_save()
    if save is None:
        small = "the first is on its way" if summary.state in LIVE else ""
        return TileText(label="Last save", number="none yet", small=small)
    age = now - save.at
    when = words.ago(age) if age < 86400 else words.when(save.at, now)
    return TileText(
        label="Last save", number=f"step {words.count(save.step)}", small=f"{when} · verified"
    )


# ---------------------------------------------------------------- what it is busy with


def busy_with(summary: RunSummary) -> str:
    """What a run without graphs yet, or between steps, is doing; empty while it trains."""
    if summary.state is State.QUEUED:
        place = summary.queue_place or 1
        before = "Next in the queue" if place == 1 else f"{ordinal(place)} in the queue"
        if summary.behind:
            before = f"{before}, behind {summary.behind}"
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


# ---------------------------------------------------------------- when it went wrong


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why a run ended before its time, and what can be done."""

    title: str
    cause: str
    why: str = ""
    """Why Fettle thinks so; empty where the cause is plain, or nothing is known."""
    did: str
    remedy: str
    detail: str
    tone: str
    step: int = 0
    at: float | None = None
    patch: dict[str, Any] = {}
    """What mends it; empty where that is more than a change of settings."""
    changes_result: bool = False
    effect: str = ""
    """What the patch does to the result, as a sentence."""
    problem: str = ""
    """Id of the known problem."""


def failure_of(summary: RunSummary, series: RunSeries) -> Failure | None:
    """The story of a run that failed, was interrupted, or was not to be resumed after that; None
    for all others."""
    events = [event for event in series.events if event.attempt == summary.attempt]
    if summary.state not in (State.FAILED, State.INTERRUPTED) and not _was_left_be(summary, events):
        return None
    errors = [e for e in events if isinstance(e, Finding) and e.severity == "error"]
    finding = errors[-1] if errors else None
    word = STATES[summary.state][0].lower()
    step = f" at step {words.count(summary.step)}" if summary.step else ""
    cause = finding.cause if finding else summary.sentence
    remedy = finding.remedy if finding else ""
    return Failure(
        title=finding.title
        if finding
        else f"The run was {word}{step}"
        if summary.state is State.INTERRUPTED
        else f"The run {word}{step}",
        cause=cause or "The worker ended without saying why. The log may tell.",
        why=finding.why if finding else "",
        did=_what_fettle_did(events, series, finding),
        remedy=" ".join(filter(None, (remedy, _what_resuming_costs(summary, series)))),
        detail=finding.detail if finding else "",
        tone=STATES[summary.state][1],
        step=summary.step,
        at=finding.at if finding else summary.ended_at,
        patch=finding.patch if finding else {},
        changes_result=finding.changes_result if finding else False,
        effect=finding.effect if finding else "",
        problem=finding.problem if finding else "",
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


def moment_of(failure: Failure, now: float) -> str:
    """Where in the run it was, and when."""
    step = f"step {words.count(failure.step)}" if failure.step else ""
    return " · ".join(filter(None, (step, words.when(failure.at, now) if failure.at else "")))


def settings_of(failure: Failure) -> str:
    """What the fix sets, such as ``gradient_accumulation_steps 8, quantization.bits 4``."""
    return ", ".join(_setting(field, value) for field, value in failure.patch.items())


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
    cost = f", about {words.span(again * step_seconds)}" if step_seconds else ""
    steps = words.counted(again, "step")
    return f"Resume goes on after step {words.count(save.step)}: {steps} to do again{cost}."
