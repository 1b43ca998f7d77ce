"""Steps that are only tried: told part by part, so that whoever hears the last words of a worker
that was killed knows what it was doing."""

from __future__ import annotations

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

MIXED_SECONDS = 10.0
GROWN = 2.0
"""Times the loss before: more, on the same rows after one step, is no noise."""


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


class Tried(Course):
    """A course that ends after ``wanted`` steps have changed the weights.

    The scaler of fp16 leaves steps out while it looks for its factor, and only a step that was not
    left out makes the optimizer's state.
    """

    stage: Stage
    wanted = 1
    mixed = 0
    """Steps after these, as many as there is time for."""
    is_timed = False
    """Its steps are run as quickly as the run's own: live tensors are no longer counted."""

    def expect(self, stage: Stage, wanted: int) -> Tried:
        """Say what this course is for."""
        self.stage, self.wanted = stage, wanted
        self.seconds: list[float] = []
        """Of each step."""
        self.losses: list[float] = []
        self._applied = 0
        self._mixed_until = 0.0
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
        self._report.raise_if_ending()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds.append(time.monotonic() - self._began)
        self.losses.append(loss)
        ended = super().after_step(trainer, loss, grad_norm, learning_rate)
        self._applied += not trainer.accelerator.optimizer_step_was_skipped
        if self._applied == self.wanted:
            self._begin_mixed(trainer)
        is_enough = self._applied >= self.wanted + self.mixed or self._is_late()
        return ended or (self._applied >= self.wanted and is_enough)

    def _begin_mixed(self, trainer: Any) -> None:
        """What comes now is not to change the weights any more."""
        if self.growth > GROWN:
            self.mixed = 0
        self._mixed_until = time.monotonic() + MIXED_SECONDS
        self.stage.batch = "an ordinary batch"
        scheduler = getattr(trainer.lr_scheduler, "scheduler", trainer.lr_scheduler)
        scheduler.base_lrs = [0.0] * len(scheduler.base_lrs)
        for group in trainer.optimizer.param_groups:
            group["lr"] = 0.0

    def _is_late(self) -> bool:
        return time.monotonic() > self._mixed_until

    @property
    def growth(self) -> float:
        """The loss of the second step as a multiple of that of the first, on the same rows."""
        return self.losses[1] / self.losses[0] if len(self.losses) > 1 else 1.0


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
