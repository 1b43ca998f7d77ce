"""The course of a run: where it stands, what each step tells, when to evaluate, save and end."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import torch

from engine.contract.lifecycle import Phase
from engine.contract.messages import Evaluated, Step
from engine.contract.spec import Spec
from engine.diagnosis.certificate import OtherWeights
from engine.failpoints import reach
from engine.worker import rng, state_files
from engine.worker.batches import Collator, Rows, Window, WindowLoader
from engine.worker.evaluating import evaluation_mode
from engine.worker.failures import JobError
from engine.worker.numeric_guard import Guard, NumericGuard
from engine.worker.offload import Ring
from engine.worker.publisher import Reason
from engine.worker.report import Report
from engine.worker.save_timing import Cost
from engine.worker.saver import LAST, Saver, Scores
from engine.worker.schedule import Schedule
from engine.worker.state_files import Position, SavedState
from engine.worker.witness import Witness


class Resumed:
    """A verified checkpoint to go on from."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state: SavedState = state_files.read_state(folder)


class Course:
    """What the bridge asks at every turn."""

    def __init__(
        self, spec: Spec, report: Report, schedule: Schedule, *, train: Rows, evaluation: Rows,
        saver: Saver, pad_id: int, offload_safely: bool = False, ring: Ring | None = None,
        resumed: Resumed | None = None,
    ) -> None:  # fmt: skip
        self._training = spec.training
        self.report = report
        self._saver = saver
        self._resumed = resumed
        self._random_is_due = resumed is not None
        self._evaluation = evaluation
        self._evaluate_with = Collator(evaluation, pad_id)
        self._window: Window | None = None
        self._step_began = time.monotonic()
        self._peak_vram = 0
        self._guard: Guard = NumericGuard(spec, report, train, pad_id)
        self.position = resumed.state.position if resumed else Position()
        self.best_eval_loss = resumed.state.best_eval_loss if resumed else None
        self.last_loss: float | None = None
        self.last_eval_loss: float | None = None
        self.halted = False
        """Ended before the last step, because somebody wished it."""
        self.offload_safely = offload_safely
        self.ring = ring
        """What offloaded activations pass through then; without it their copies block."""
        self.embedding_learning_rate = spec.training.embedding_learning_rate
        self.total_steps = schedule.total_steps
        collator = Collator(train, pad_id)
        self._witness = Witness(spec, train, schedule, collator, digest=saver.data)
        saver.beside = self._witness.files
        self.loader = WindowLoader(
            train,
            collator,
            schedule,
            micro_batch=spec.training.per_device_train_batch_size,
            step=self.position.step,
            cursor=self.position.cursor,
        )

    def restore(self, trainer: Any) -> None:
        """Put optimizer and schedule to where the run stands."""
        if self._resumed is not None:
            try:
                state_files.restore_training(self._resumed.folder, self._resumed.state, trainer)
            except JobError:
                self.tell_refusal()
                raise
            if self.position.step >= self.total_steps:
                # No step comes that could put it back.
                self._put_random_back(trainer)
        self._step_began = time.monotonic()

    def before_step(self, trainer: Any, window: Window) -> None:
        """A step is about to be computed."""
        self._window = window
        if self._random_is_due:
            self._put_random_back(trainer)
        reach("worker.step", self.position.step + 1)

    def _put_random_back(self, trainer: Any) -> None:
        """The last thing that a resume needs; then all can be compared with the save."""
        if self._resumed is not None:
            state_files.restore_random(self._resumed.folder, self._resumed.state)
            self._random_is_due = False
            self.certify(trainer)

    def tell_refusal(self) -> OtherWeights | None:
        """Weights or optimizer of the save do not fit: tell what differs, as far as it is known.
        Gives the settings that made it so; None if it was none of them."""
        if self._resumed is None:
            return None
        told, why = self._witness.refusal(self._resumed.folder, self._resumed.state)
        self.report.send(told)
        return why

    def certify(self, trainer: Any) -> None:
        """Tell whether this is the run that was saved."""
        assert self._resumed is not None
        self.report.send(
            self._witness.certificate(
                trainer, self.position, self._resumed.folder, self._resumed.state
            )
        )

    def moved(self) -> None:
        """A part of a step or of an evaluation was computed."""
        self.report.moved()

    def may_update(self, trainer: Any, loss: float, grad_norm: float | None) -> bool:
        """Whether the weights may change by what was computed; a save that still copies them is
        waited for."""
        # That is no part of the step.
        self._step_began += self._saver.settle()
        return self._guard.may_update(trainer, loss, grad_norm)

    def after_step(
        self, trainer: Any, loss: float, grad_norm: float | None, learning_rate: float
    ) -> bool:
        """A step is done: tell, evaluate, save; True if the run is to end here.

        Raises :class:`engine.worker.numeric_guard.NanLoss`, and other JobErrors of its kind.
        """
        window = self._window
        assert window is not None
        step = self.position.step + 1
        self.position = Position(step=step, cursor=window.cursor, epoch=window.epoch)
        self._tell(window, loss, grad_norm, learning_rate)
        self._guard.after_step(trainer, window, step, loss, grad_norm)
        self.report.show(Phase.TRAINING)
        every = self._training.eval_steps
        if every and step % every == 0 and step < self.total_steps:
            self.evaluate(trainer)
        reason = self._save_if_due(trainer)
        self._step_began = time.monotonic()
        # A wish that came since is granted after the next step, which is then saved.
        self.halted = reason in LAST and step < self.total_steps
        return self.halted

    def _save_if_due(self, trainer: Any) -> Reason | None:
        reason = self._saver.due(self.position.step)
        if reason is not None:
            if reason not in LAST:
                self._guard.before_save(trainer, self.position.step)
            self._saver.save(trainer, self.position, reason, self._scores)
        return reason

    def _tell(
        self, window: Window, loss: float, grad_norm: float | None, learning_rate: float
    ) -> None:
        self.last_loss = loss if math.isfinite(loss) else None
        known_norm = grad_norm if grad_norm is None or math.isfinite(grad_norm) else None
        self.report.send(
            Step(
                at=time.time(),
                step=self.position.step,
                loss=self.last_loss,
                learning_rate=learning_rate,
                grad_norm=known_norm,
                epoch=window.epoch,
                step_ms=1000 * (time.monotonic() - self._step_began),
                tokens=window.tokens,
                target_tokens=window.targets,
                samples_seen=window.cursor,
                wait_ms=window.wait_ms,
                padded_tokens=window.padded_tokens,
                **self._vram(),
            )
        )

    def _vram(self) -> dict[str, Any]:
        if not torch.cuda.is_available():
            return {}
        self._peak_vram = max(self._peak_vram, torch.cuda.max_memory_reserved())
        return {
            "vram_allocated_bytes": torch.cuda.memory_allocated(),
            "vram_reserved_bytes": torch.cuda.memory_reserved(),
            "vram_peak_bytes": self._peak_vram,
        }

    def evaluate(self, trainer: Any, *, last: bool = False) -> float | None:
        """Mean loss over all targets of the held-back rows; None if there are none, or it was cut
        short. Nothing in the process is another afterwards."""
        if not len(self._evaluation):
            return None
        self.report.show(Phase.EVALUATING)
        reach("worker.evaluate")
        began = time.monotonic()
        with rng.undisturbed(), evaluation_mode(trainer.model, last=last):
            loss = self._held_back_loss(trainer, may_stop=not last)
        if loss is not None:
            self._note_eval(loss, time.monotonic() - began)
        self.report.show(Phase.TRAINING)
        return loss

    def _held_back_loss(self, trainer: Any, *, may_stop: bool) -> float | None:
        """None if somebody wants the run to end meanwhile."""
        total = 0.0
        size = self._training.per_device_train_batch_size
        order = range(len(self._evaluation))
        for begin in range(0, len(order), size):
            if may_stop and self.report.wishes.ending:
                return None
            total += trainer.loss_sum(self._evaluate_with(order[begin : begin + size]))
            self.report.moved()
        return total / int(self._evaluation.samples.target_counts.sum())

    def _note_eval(self, loss: float, seconds: float) -> None:
        if not math.isfinite(loss):
            self.report.found(
                "nan_loss", "The loss on the held-back rows is no number.",
                step=self.position.step, severity="warning",
            )  # fmt: skip
            return
        self.last_eval_loss = loss
        if self.best_eval_loss is None or loss < self.best_eval_loss:
            self.best_eval_loss = loss
        self.report.send(
            Evaluated(at=time.time(), step=self.position.step, eval_loss=loss, seconds=seconds)
        )

    @property
    def _scores(self) -> Scores:
        return Scores(best_eval_loss=self.best_eval_loss, eval_loss=self.last_eval_loss)

    @property
    def saved_step(self) -> int:
        """Step of the newest save, 0 without any."""
        return self._saver.saved_step

    @property
    def save_cost(self) -> Cost:
        """Of the newest save."""
        return self._saver.cost

    def save_at_end(self, trainer: Any) -> None:
        """Save the last step, so that a crash while writing the result costs nothing."""
        self._guard.before_save(trainer, self.position.step)
        self._saver.save(trainer, self.position, "end", self._scores)

    def close(self) -> None:
        """Whatever happened: wait until nothing is being written."""
        self._saver.close()
