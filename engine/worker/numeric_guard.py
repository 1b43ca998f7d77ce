"""Keeps what is no number away from the weights, and says where it came from.

Before each update the bridge asks :meth:`NumericGuard.may_update`. A step whose loss or gradients
are no numbers is left out: the weights stay as they are. After the step the guard looks for the
cause, which it can do at leisure, since nothing was changed. It ends the run only where going on is
of no use: the weights themselves are no numbers, whatever the model gets makes none, or the model
is in ruins. The saves from before stand.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any, Protocol

import torch

from engine.contract.spec import Spec
from engine.diagnosis.losses import Losses
from engine.worker import numeric_words as words
from engine.worker.batches import Rows, Window
from engine.worker.culprit import Prober, Search, has_numbers
from engine.worker.numeric_words import NanLoss
from engine.worker.report import Report

BAD_STEPS_OF_A_SCALER = 20
"""As many times the scaler halves its factor before it cannot be the factor."""
MOST_LEFT_OUT, AMONG_STEPS = 8, 64
"""So many steps may be left out among the last ones."""
ZERO_STEPS = 5
"""Steps in a row without any gradient, after which there is none."""
_FINISHED_LOSS = 1e-4
"""Below this there is nothing left to learn, and no gradient is no surprise."""
_SPIKES_TOLD, _SPIKE_GAP = 10, 100
_RUIN_GAP = 20
_STANDS_OUT = 3.0
"""Times the loss of the step's other samples that makes one of them the cause of a spike."""


class Guard(Protocol):
    """Asked about the numbers of every step."""

    def may_update(self, trainer: Any, loss: float, grad_norm: float | None) -> bool:
        """Whether the weights may take the step."""

    def after_step(
        self, trainer: Any, window: Window, step: int, loss: float, grad_norm: float | None
    ) -> None:
        """Look at a step that is done. Raises JobErrors where the run must end."""

    def before_save(self, trainer: Any, step: int) -> None:
        """Look at a state that nobody asked to save. Raises JobErrors where the run must end."""


class NumericGuard:
    """Looks at the numbers of every step of a course."""

    def __init__(self, spec: Spec, report: Report, train: Rows, pad_id: int) -> None:
        self._spec = spec
        self._report = report
        self._data = train
        self._prober = Prober(train.samples, pad_id, report.moved)
        self._losses: Losses | None = None
        self._bad_in_a_row = 0
        self._zeros_in_a_row = 0
        self._left_out: deque[int] = deque(maxlen=MOST_LEFT_OUT)
        self._spiked_at = 0
        self._look_again_at = 0
        self._spikes = 0
        self._first: tuple[list[int], float] | None = None
        """The samples of the first step, and their loss then."""

    def may_update(self, trainer: Any, loss: float, grad_norm: float | None) -> bool:
        """Whether the weights may take the step. The scaler of fp16 decides that by itself."""
        return trainer.accelerator.scaler is not None or _are_numbers(loss, grad_norm)

    def after_step(
        self, trainer: Any, window: Window, step: int, loss: float, grad_norm: float | None
    ) -> None:
        """Look at a step that is done, or was left out. Raises :class:`NanLoss` and other
        JobErrors where the run must end."""
        losses = self._losses = self._losses or Losses(_chance(trainer.model))
        if not _are_numbers(loss, grad_norm):
            self._bad_in_a_row += 1
            if grad_norm is not None and trainer.accelerator.scaler is None:
                losses.note_norm(grad_norm)
            self._on_bad_step(trainer, window, step, loss)
            return
        self._bad_in_a_row = 0
        self._look_at_gradient(window, step, loss, grad_norm)
        if losses.is_spike(loss):
            self._on_spike(trainer, window, step, loss)
        losses.note(loss, grad_norm)
        self._first = self._first or (self._samples_of(window), loss)
        if losses.seems_ruined and step >= self._look_again_at:
            self._look_again_at = step + _RUIN_GAP
            self._must_know_what_it_knew(trainer, step)

    def before_save(self, trainer: Any, step: int) -> None:
        """Look at what is about to be saved: a run that went on from a ruined state would end in
        one. Raises JobError."""
        if self._first and self._losses and self._losses.may_be_ruined:
            self._must_know_what_it_knew(trainer, step)

    # ------------------------------------------------------------ no numbers

    def _on_bad_step(self, trainer: Any, window: Window, step: int, loss: float) -> None:
        scaler = trainer.accelerator.scaler
        if scaler is not None and math.isfinite(loss):
            # Only the gradient is out of range: the scaler looks for a smaller factor.
            if self._bad_in_a_row > BAD_STEPS_OF_A_SCALER:
                raise words.overflow(step, float(scaler.get_scale()), in_loss=False)
            return
        if window.targets == 0:
            self._leave_out(step)
            words.tell_masked(self._report, step)
            return
        refuse_poisoned(trainer, step, self._why_grown())
        search = self._prober.search(trainer, self._samples_of(window))
        if search.is_model:
            raise self._broken_model(trainer, step)
        self._leave_out(step)
        self._tell_culprits(trainer, search, step)

    def _leave_out(self, step: int) -> None:
        """Count a step that is left out. Raises JobError if they are too many."""
        self._left_out.append(step)
        if len(self._left_out) == MOST_LEFT_OUT and step - self._left_out[0] < AMONG_STEPS:
            raise words.too_many(step, MOST_LEFT_OUT, self._spec)

    def _broken_model(self, trainer: Any, step: int) -> NanLoss:
        """The error for a model that makes no numbers of anything."""
        frozen = [
            name
            for name, value in trainer.model.named_parameters()
            if value.is_floating_point() and not value.requires_grad and not has_numbers([value])
        ]
        if frozen:
            return words.broken_weights(step, frozen)
        if trainer.accelerator.scaler is not None:
            return words.overflow(step, float(trainer.accelerator.scaler.get_scale()), in_loss=True)
        return words.grown(step, self._spec, self._why_grown())

    def _tell_culprits(self, trainer: Any, search: Search, step: int) -> None:
        bad = [tried.sample for tried in search.bad]
        if not bad:
            words.tell_unrepeated(self._report, step, len(search.own))
            return
        words.tell_samples(
            self._report, step, bad, spec=self._spec, samples=self._data.samples,
            model=trainer.model, tokenizer=trainer.processing_class,
        )  # fmt: skip

    def _why_grown(self) -> str:
        losses = self._losses
        return words.why_grown(losses.norm_growth if losses else 1.0, losses)

    def _samples_of(self, window: Window) -> list[int]:
        return [sample for row in window.rows for sample in self._data.rows[row]]

    # ------------------------------------------------------------ numbers that cannot be right

    def _look_at_gradient(
        self, window: Window, step: int, loss: float, grad_norm: float | None
    ) -> None:
        """Raises JobError if nothing is trained."""
        if grad_norm is None or grad_norm > 0:
            self._zeros_in_a_row = 0
            return
        if window.targets == 0:
            words.tell_masked(self._report, step)
            return
        self._zeros_in_a_row += 1
        if self._zeros_in_a_row != ZERO_STEPS:
            return
        if loss > _FINISHED_LOSS:
            assert self._losses is not None
            had_some = self._losses.had_gradient
            raise words.no_gradient(step, ZERO_STEPS, self._spec, had_some=had_some)
        words.tell_finished(self._report, step, loss)

    def _on_spike(self, trainer: Any, window: Window, step: int, loss: float) -> None:
        """Say that the loss jumped; what each sample came to by itself says why."""
        assert self._losses is not None
        is_soon = self._spiked_at and step - self._spiked_at < _SPIKE_GAP
        if is_soon or self._spikes >= _SPIKES_TOLD:
            return
        self._spiked_at, self._spikes = step, self._spikes + 1
        tried = self._prober.losses(trainer, self._samples_of(window))
        worst = max(tried, key=lambda one: one.loss)
        usual = self._losses.usual or 0.0
        stands_out = worst.loss > _STANDS_OUT * max(usual, 0.5)
        others = [one.loss for one in tried if one.sample != worst.sample]
        is_one = stands_out and all(other < worst.loss / 2 for other in others)
        words.tell_spike(
            self._report, step, loss, usual, spec=self._spec, samples=self._data.samples,
            worst=worst if is_one else None, growth=self._losses.norm_growth,
        )  # fmt: skip

    def _must_know_what_it_knew(self, trainer: Any, step: int) -> None:
        """Raises JobError if the model has forgotten what it knew at first: then it is not the
        data that is hard."""
        assert self._first is not None
        assert self._losses is not None
        samples, before = self._first
        tried = self._prober.losses(trainer, samples)
        now = sum(one.loss for one in tried) / max(len(tried), 1)
        if now > max(2 * before, before + 1):
            raise words.ruined(step, self._spec, before, now, self._why_grown())


def _are_numbers(loss: float, grad_norm: float | None) -> bool:
    return math.isfinite(loss) and (grad_norm is None or math.isfinite(grad_norm))


def _chance(model: Any) -> float:
    """The loss of guessing among all tokens."""
    return math.log(max(int(model.get_input_embeddings().weight.shape[0]), 2))


def refuse_poisoned(trainer: Any, step: int, why: str = "") -> None:
    """Raises :class:`NanLoss` if a trained weight is no number: such a state must never be saved.

    Reads every trained weight once, which is little beside writing them.
    """
    weights = trainer.trained.parameters
    if has_numbers([value.detach() for value in weights.values()]):
        return
    poisoned = [name for name, value in weights.items() if not has_numbers([value.detach()])]
    raise words.poisoned(step, poisoned, trainer.args.learning_rate, why)


def numbers(
    loss: torch.Tensor, grad_norm: torch.Tensor | float | None
) -> tuple[float, float | None]:
    """Both as plain numbers; the card is waited for once."""
    if not isinstance(grad_norm, torch.Tensor):
        return float(loss), grad_norm
    if grad_norm.device != loss.device:
        return float(loss), float(grad_norm)
    both = torch.stack((loss.detach().float(), grad_norm.detach().float())).tolist()
    return both[0], both[1]
