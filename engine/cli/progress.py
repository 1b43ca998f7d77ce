"""What a run's messages mean for a person who watches: numbers for one line, and sentences.

Pure: messages in, text out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from engine.cli import words
from engine.cli.certificate import summary_of
from engine.contract.dataset_report import COMPARED
from engine.contract.lifecycle import Phase, State
from engine.contract.messages import (
    CheckpointSaved,
    Decision,
    Evaluated,
    Finding,
    Message,
    PhaseChanged,
    Progress,
    ResumeCertificate,
    RunSummary,
    StateChanged,
    Step,
    Telemetry,
)

_BAR_WIDTH = 20
_SHORTEST_BAR = 5
"""Columns; a shorter one says nothing."""
_RECENT_STEPS = 30


class RunProgress:
    """Where a followed run stands now."""

    def __init__(self, summary: RunSummary | None = None) -> None:
        self.step = summary.step if summary else 0
        self.max_steps = summary.max_steps if summary else 0
        self.loss = summary.loss if summary else None
        self.phase = summary.phase if summary else Phase.WAITING
        self.first_loss: float | None = None
        self.eval_loss: float | None = None
        self.doing = ""
        """The phase and how far it is, once that is told."""
        self._vram_bytes: int | None = None
        self._ram_bytes: int | None = None
        self._recent: deque[tuple[float, int]] = deque(maxlen=_RECENT_STEPS)
        """Milliseconds and tokens of the last steps."""

    def feed(self, message: Message) -> None:
        """Take in a message; those that say nothing of progress are passed over."""
        match message:
            case Step():
                self._feed_step(message)
            case PhaseChanged():
                self.phase, self.doing = message.phase, ""
                self.max_steps = message.max_steps or self.max_steps
            case Progress():
                self.phase = message.phase
                self.doing = _doing(message)
            case Telemetry():
                self._ram_bytes = message.ram_used_bytes or self._ram_bytes
                self._vram_bytes = message.vram_process_bytes or self._vram_bytes
            case Evaluated():
                self.eval_loss = message.eval_loss
            case StateChanged(state=State.QUEUED | State.RECOVERING):
                self._recent.clear()
                self.phase, self.doing = Phase.WAITING, ""
                self.step = self.step if message.step is None else message.step

    def _feed_step(self, step: Step) -> None:
        self.step, self.loss = step.step, step.loss
        if self.first_loss is None:
            self.first_loss = step.loss
        self._vram_bytes = step.vram_reserved_bytes or self._vram_bytes
        self._recent.append((step.step_ms, step.tokens))

    @property
    def tokens_per_second(self) -> float | None:
        """Over the last steps."""
        milliseconds = sum(ms for ms, _ in self._recent)
        tokens = sum(tokens for _, tokens in self._recent)
        return tokens * 1000 / milliseconds if milliseconds else None

    @property
    def seconds_left(self) -> float | None:
        """By the median of the last steps, which a save or an evaluation does not move."""
        if not self._recent or not self.max_steps:
            return None
        steps = sorted(ms for ms, _ in self._recent)
        return (self.max_steps - self.step) * steps[len(steps) // 2] / 1000

    def line(self) -> str:
        """All of it in one line."""
        return "  ".join(part for parts in self._parts().values() for part in parts)

    def line_with_bar(self, width: int) -> str:
        """What fits into ``width`` columns, behind a bar; the time left is never given up."""
        parts = self._parts()
        for part in ("", "memory", "bar", "speed", "loss", "step"):
            parts.pop(part, None)
            text = "  ".join(found for some in parts.values() for found in some)
            room = width - len(text) - 2
            if self.max_steps and room >= _SHORTEST_BAR and part in ("", "memory"):
                return f"{self._bar(min(_BAR_WIDTH, room))}  {text}"
            if len(text) <= width and (not self.max_steps or part not in ("", "memory")):
                break
        return text

    def _parts(self) -> dict[str, list[str]]:
        """What there is to say, in the order of the line."""
        steps, speed = self.step, self.tokens_per_second
        left = self.seconds_left if steps < self.max_steps else None
        return {
            "phase": [self.doing or self.phase.value],
            "step": [f"step {steps}/{self.max_steps or '?'}"] if steps else [],
            "loss": [f"loss {words.loss(self.loss)}"] if steps else [],
            "speed": [f"{words.count(speed)} tokens/s"] if speed is not None and steps else [],
            "memory": self._memory(),
            "left": [f"{words.duration(left)} left"] if left is not None else [],
        }

    def _memory(self) -> list[str]:
        if self._vram_bytes:
            return [f"VRAM {words.size(self._vram_bytes)}"]
        return [f"RAM {words.size(self._ram_bytes)}"] if self._ram_bytes else []

    def _bar(self, width: int) -> str:
        filled = min(width, width * self.step // self.max_steps)
        return "━" * filled + "─" * (width - filled)


def _doing(progress: Progress) -> str:
    """``tokenising 40 %``, and then from the beginning: ``comparing rows 5 %``."""
    doing = "comparing rows" if progress.unit == COMPARED else progress.phase.value
    if progress.total:
        return f"{doing} {100 * progress.done // progress.total} %"
    done = f"{doing} {words.count(progress.done)} {progress.unit}".rstrip()
    return done if progress.done else doing


# ---------------------------------------------------------------- sentences for the activity list


def with_reason(head: str, reason: str) -> str:
    """``head`` as a sentence and the reason behind it, unless the reason says it already."""
    return reason if reason.startswith(head) else f"{head}. {reason}".rstrip()


def _state(message: StateChanged) -> str | None:
    if message.state is State.FINISHED and not message.sentence:
        return None  # The last words say it, and at which step.
    told = with_reason(message.state.value.capitalize(), message.sentence)
    if message.resumes_at is None:
        return told
    wait_s = message.resumes_at - message.at
    if wait_s < 1:
        return f"{told} It resumes by itself at once."
    later = f"{words.duration(wait_s)} later"
    return f"{told} It resumes by itself {later}; sooner with `fettle resume {message.run}`."


def _checkpoint(message: CheckpointSaved) -> str:
    return f"Saved at step {message.step}: {words.size(message.bytes)} in {message.seconds:.1f} s."


def _evaluated(message: Evaluated) -> str:
    return f"Held-back rows at step {message.step}: loss {words.loss(message.eval_loss)}."


def _finding(message: Finding) -> str:
    fix = f"`fettle resume {message.run} --fix` does it." if message.patch else ""
    return " ".join(filter(None, (message.title, message.cause, message.remedy, fix)))


def _decision(message: Decision) -> str:
    title = message.title if message.title.endswith((".", "?", "!")) else f"{message.title}."
    told = " ".join(part for part in (title, message.reason, message.cost) if part)
    return f"Note: {told}"


_SENTENCES: dict[type[Message], Callable[[Any], str | None]] = {
    StateChanged: _state,
    CheckpointSaved: _checkpoint,
    Evaluated: _evaluated,
    Finding: _finding,
    ResumeCertificate: summary_of,
    Decision: _decision,
}


def sentence(message: Message) -> str | None:
    """A record as a line of the activity list; None if it is none."""
    make = _SENTENCES.get(type(message))
    text = make(message) if make else None
    return text[:1].upper() + text[1:] if text else None
