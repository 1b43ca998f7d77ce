"""``fettle runs`` and ``fettle show``."""

from __future__ import annotations

import time
from argparse import Namespace
from operator import itemgetter
from typing import Any

import msgspec

from engine.cli import certificate, pace, words
from engine.cli.output import Exit, Output
from engine.client import connect
from engine.contract.lifecycle import LIVE, Phase, State
from engine.contract.messages import CheckpointSaved, Finding, ListRuns, RunSummary, Show
from engine.contract.queue_words import in_line
from engine.contract.spec import TrainingSpec

_COLOUR_OF = {
    State.FINISHED: "green",
    State.STOPPED: "yellow",
    State.FAILED: "red",
    State.INTERRUPTED: "red",
    State.RECOVERING: "yellow",
    State.PAUSED: "yellow",
}


def runs(arguments: Namespace, output: Output) -> Exit:
    """A line for each run, newest first."""
    with connect() as client:
        found = client.request(ListRuns(id=0))["runs"]
    for run in found:
        output.emit(run)
    if output.as_json:
        return Exit.FINISHED
    if not found:
        output.say("There are no runs yet. `fettle demo` makes one in a minute.")
        return Exit.FINISHED
    summaries = [msgspec.convert(run, RunSummary) for run in found]
    for line in _table(summaries, output):
        output.say(line)
    return Exit.FINISHED


def _table(summaries: list[RunSummary], output: Output) -> list[str]:
    head = ("STATE", "STEP", "LOSS", "TIME", "RUN", "NAME")
    rows = [head, *(_row(summary) for summary in summaries)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(head))]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    states: list[State | None] = [None, *(summary.state for summary in summaries)]
    return [_coloured(line, state, output) for line, state in zip(lines, states, strict=True)]


def _row(summary: RunSummary) -> tuple[str, ...]:
    return (
        summary.state.value,
        f"{summary.step}/{summary.max_steps or '?'}",
        "-" if summary.loss is None else words.loss(summary.loss),
        words.duration(summary.train_seconds) if summary.train_seconds else "-",
        summary.run,
        summary.name,
    )


def _coloured(line: str, state: State | None, output: Output) -> str:
    if state is None:
        return output.paint(line, "dim")
    colour = _COLOUR_OF.get(state, "blue")
    return line.replace(state.value, output.paint(state.value, colour), 1)


_GOES_ON = "Nothing: it goes on by itself {when}, from its last save."
_BEGINS_ANEW = "Nothing: it begins anew by itself {when}, as there was no save yet."


def show(arguments: Namespace, output: Output) -> Exit:
    """Everything about one run."""
    with connect() as client:
        shown = client.request(Show(id=0, run=arguments.run))
    saved = shown.get("checkpoints", [])
    output.emit(
        {
            **shown["summary"],
            "saved": saved,
            "spec": shown.get("spec", {}),
            "versions": shown.get("versions", {}),
            "pace": shown.get("pace", {}),
            "certificate": shown.get("certificate"),
            "failure": shown.get("failure"),
            "passed_over": shown.get("passed_over", ""),
        }
    )
    if not output.as_json:
        summary = msgspec.convert(shown["summary"], RunSummary)
        failure = msgspec.convert(shown.get("failure"), Finding | None)
        facts = _facts(
            summary, msgspec.convert(saved, list[CheckpointSaved]), limit_of(shown.get("spec", {}))
        )
        facts.append(("Resumed", shown.get("passed_over")))
        if summary.state is State.RECOVERING:
            when = _until(summary.resumes_at)
            remedy = (_GOES_ON if saved else _BEGINS_ANEW).format(when=when)
            failure = msgspec.structs.replace(failure, remedy=remedy) if failure else None
        for name, text in [*filter(itemgetter(1), facts), *_reasons(failure)]:
            output.say(f"{output.paint(f'{name:<12}', 'dim')}{text}")
        certificate.say(shown.get("certificate"), output)
        pace.say(shown.get("pace", {}), output)
    return Exit.FINISHED


def _until(resumes_at: float | None) -> str:
    left = (resumes_at or 0.0) - time.time()
    return f"in {words.duration(left)}" if left > 2 else "in a moment"


def _facts(summary: RunSummary, saved: list[CheckpointSaved], limit: int) -> list[tuple[str, Any]]:
    facts = [
        ("Run", summary.run),
        ("Name", summary.name),
        ("State", f"{_standing(summary)} {summary.sentence}".rstrip()),
        ("Model", f"{summary.model} · {summary.kind} · {summary.method}"),
        ("Dataset", summary.dataset),
        ("Loss", words.loss(summary.loss) if summary.loss is not None else ""),
        ("Held back", words.loss(summary.eval_loss) if summary.eval_loss is not None else ""),
        ("Trained", words.duration(summary.train_seconds) if summary.train_seconds else ""),
        ("Checkpoints", _saves(saved, limit)),
        ("Folder", summary.folder),
        ("Output", summary.output or ""),
    ]
    return [(name, text) for name, text in facts if text]


def _reasons(failure: Finding | None) -> list[tuple[str, str]]:
    """Why it failed, and what helps."""
    if failure is None:
        return []
    fix = f"`fettle resume {failure.run} --fix` does it." if failure.patch else ""
    facts = [
        ("Failed", failure.title),
        ("Why", f"{failure.why} {failure.cause}".strip()),
        ("To do", f"{failure.remedy} {fix}".strip()),
    ]
    return [(name, text) for name, text in facts if text]


def _queued(summary: RunSummary, place: int) -> str:
    return in_line(
        place, summary.behind, summary.behind_seconds, is_paused=summary.is_behind_paused
    )


def _standing(summary: RunSummary) -> str:
    text = summary.state.value
    if summary.state is State.QUEUED and summary.queue_place:
        text += f": {_queued(summary, summary.queue_place)}"
    if summary.max_steps and summary.step:
        text += f", step {summary.step} of {summary.max_steps}"
    if summary.state in LIVE:
        if summary.phase.value != summary.state.value:
            text += f", {_phase(summary)}"
        if summary.eta_seconds is not None:
            text += f", {words.duration(summary.eta_seconds)} left"
    return text + "."


def _phase(summary: RunSummary) -> str:
    return "waiting for its worker" if summary.phase is Phase.WAITING else summary.phase.value


def limit_of(spec: dict[str, Any]) -> int:
    """``save_total_limit`` of a run with this raw spec."""
    usual = TrainingSpec().save_total_limit
    return int(spec.get("training", {}).get("save_total_limit", usual))


def _saves(saved: list[CheckpointSaved], limit: int) -> str:
    if not saved:
        return "none"
    steps = ", ".join(str(checkpoint.step) for checkpoint in saved)
    size = words.size(sum(checkpoint.bytes for checkpoint in saved))
    besides = words.kept_besides(len(saved), limit)
    return f"{len(saved)} ({size}), at step {steps}" + (f". {besides}" if besides else "")
