"""Steps that are only tried: told part by part, so that whoever hears the last words of a worker
that was killed knows what it was doing."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import torch

from engine.contract.lifecycle import Phase
from engine.contract.messages import PhaseChanged
from engine.worker.batches import Window
from engine.worker.course import Course
from engine.worker.meter import Meter
from engine.worker.report import Report

_MIXED_SECONDS = 10.0
"""For the steps after those that are wanted; a rehearsal is to be over soon."""


class Stage:
    """Tells people and the meter what is being tried."""

    def __init__(self, report: Report, meter: Meter) -> None:
        self.meter = meter
        self._report = report
        self.batch = ""
        """The batch of the steps that are tried, in words."""

    def tell(self, phase: Phase, what: str) -> None:
        """Now this is done. Raises :class:`Halted` if the job is to end."""
        self._report.raise_if_ending()
        self._report.phase = phase
        self._report.send(PhaseChanged(at=time.time(), phase=phase, detail=what))

    def tell_part(self, part: str) -> None:
        """Now this part of a step is done."""
        self.tell(Phase.TRAINING, f"{part} of {self.batch}")


class Unguarded:
    """In place of the guard of numbers, where nothing is learnt."""

    def may_update(self, *_: Any) -> bool:
        """Nothing changes anyway."""
        return True

    def after_step(self, *_: Any) -> None:
        """Nothing to say."""

    def before_save(self, *_: Any) -> None:
        """Nothing to keep."""


class Tried(Course):
    """A course that ends after ``wanted`` steps have changed the weights, and some more.

    The scaler of fp16 leaves steps out while it looks for its factor, and only a step that was not
    left out makes the optimizer's state.
    """

    stage: Stage
    wanted = 1
    more = 0
    """Steps after these, with a save under way as in a run, and without learning; as many as there
    is time for, but one at least."""
    is_timed = False
    """Its steps are run as quickly as the run's own: live tensors are no longer counted."""

    def expect(self, stage: Stage, wanted: int, more: int = 0) -> Tried:
        """Say what this course is for."""
        self.stage, self.wanted, self.more = stage, wanted, more
        self.seconds: list[float] = []
        """Of each step."""
        self.losses: list[float] = []
        self._applied = 0
        self._ends_at = math.inf
        return self

    def before_step(self, trainer: Any, window: Window) -> None:
        self.stage.meter.enter("train")
        if self.is_timed:
            self.stage.meter.let_tensors_be()
        self._began = time.monotonic()
        super().before_step(trainer, window)

    def certify(self, trainer: Any) -> None:
        """Nobody asks whether what is thrown away is the same."""

    def after_step(
        self, trainer: Any, loss: float, grad_norm: float | None, learning_rate: float
    ) -> bool:
        # Before the course saves what is thrown away anyway.
        self.report.raise_if_ending()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds.append(time.monotonic() - self._began)
        self.losses.append(loss)
        ended = super().after_step(trainer, loss, grad_norm, learning_rate)
        self._applied += not trainer.accelerator.optimizer_step_was_skipped
        if self._applied < self.wanted:
            return ended
        if self.more and self._ends_at == math.inf:
            self._begin_more(trainer)
            return ended
        self.stage.batch = "an ordinary batch"
        return ended or self._applied >= self.wanted + self.more or self._is_late()

    def _begin_more(self, trainer: Any) -> None:
        _stop_learning(trainer)
        self._guard = Unguarded()
        self.stage.meter.enter("save")
        self.stage.tell(Phase.SAVING, "writing of a checkpoint")
        self._saver.save(trainer, self.position, "asked")
        self._ends_at = time.monotonic() + _MIXED_SECONDS

    def _is_late(self) -> bool:
        return time.monotonic() > self._ends_at

    @property
    def growth(self) -> float:
        """The loss of the second step as a multiple of that of the first, on the same rows."""
        return self.losses[1] / self.losses[0] if len(self.losses) > 1 else 1.0


def _stop_learning(trainer: Any) -> None:
    scheduler = getattr(trainer.lr_scheduler, "scheduler", trainer.lr_scheduler)
    scheduler.base_lrs = [0.0] * len(scheduler.base_lrs)
    for group in trainer.optimizer.param_groups:
        group["lr"] = 0.0


def announcing(kind: Any, tell: Callable[[str], None]) -> Any:
    """A trainer's class that says which part of a step it is at."""

    class Announcing(kind):  # type: ignore[misc]
        def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
            if not torch.is_grad_enabled():
                return super().compute_loss(*args, **kwargs)
            tell("forward pass")
            found = super().compute_loss(*args, **kwargs)
            loss = found[0] if isinstance(found, tuple) else found
            loss.register_hook(_on_backward)
            return found

        def create_optimizer(self, model: Any = None) -> Any:
            optimizer = super().create_optimizer(model)
            optimizer.register_step_pre_hook(_on_optimizer_step)
            return optimizer

    def _on_backward(gradient: torch.Tensor) -> None:
        tell("backward pass")

    def _on_optimizer_step(*_: Any) -> None:
        tell("optimizer step")

    return Announcing
