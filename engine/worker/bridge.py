"""The bridge into TRL's trainer: everything of it that Fettle replaces, and nothing else.

For the trainer the whole run is one epoch, and one batch is one *window*: all that an optimizer
step computes. So accumulation, data position and epochs are ours, and its loop stays as it is.
``tests/worker/test_seams.py`` pins each method replaced here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from engine.worker import target_head
from engine.worker.batches import Window, WindowLoader
from engine.worker.model_settings import OwnSettings
from engine.worker.numeric_guard import numbers
from engine.worker.offload import offload_to_ram
from engine.worker.trained import Trained

if TYPE_CHECKING:
    from engine.worker.course import Course

EMBEDDINGS = ("embed_tokens", "lm_head", "wte", "embed_in", "embed_out", "word_embeddings")


class Bridge:
    """Goes before a TRL trainer in the list of base classes."""

    course: Course
    trained: Trained
    own_settings: OwnSettings
    _numbers: tuple[float, float | None] = (0.0, None)
    """Loss and gradient norm of the step that is under way."""
    head_fits: bool = True
    """TRL's head gives what the model's own does, and the loss is computed with it."""

    def follow(self, course: Course) -> None:
        """Train along this course."""
        self.course = course
        # Each micro-batch's loss is its sum over the targets of the whole window: the trainer is
        # not to divide it once more. Versions from 5.19 on have a name of their own for this, and
        # know this one too.
        self.model_accepts_loss_kwargs = True
        target_head.add_to(self.model)  # type: ignore[attr-defined]
        with self.compute_loss_context_manager():  # type: ignore[attr-defined]
            why = target_head.misfit(self.model)  # type: ignore[attr-defined]
        self.head_fits = not why
        if why:
            target_head.tell(self.model, why, course.report)  # type: ignore[attr-defined]

    def get_train_dataloader(self) -> WindowLoader:
        """Windows from the course's position on."""
        return self.course.loader

    def _get_num_items_in_batch(
        self, batch_samples: list[Window], device: torch.device
    ) -> torch.Tensor | None:
        """Targets of the window: what the loss is divided by."""
        if not batch_samples:
            return None
        return torch.tensor(batch_samples[0].targets, device=device)

    def _init_training_state(self, *args: Any, **kwargs: Any) -> tuple[int, int]:
        """Begin at the course's step. The loader already stands there: nothing is skipped."""
        super()._init_training_state(*args, **kwargs)  # type: ignore[misc]
        self.state.global_step = self.course.position.step  # type: ignore[attr-defined]
        return 0, 0

    def _prepare_for_training(self, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """Then put optimizer and schedule back to where the course stands."""
        prepared: tuple[Any, Any] = super()._prepare_for_training(*args, **kwargs)  # type: ignore[misc]
        if self.course.offload_safely:
            offload_to_ram(self.model, self.course.ring)  # type: ignore[attr-defined]
        self.trained = Trained(self.model)  # type: ignore[attr-defined]
        self.course.restore(self)
        return prepared

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """The trainer's own, with the embeddings in a group that has its own rate."""
        optimizer: torch.optim.Optimizer = super().create_optimizer(model)  # type: ignore[misc]
        rate = self.course.embedding_learning_rate
        if rate is not None:
            _part_embeddings(optimizer, self.model, rate)  # type: ignore[attr-defined]
        return optimizer

    def training_step(
        self, model: Any, inputs: Window, num_items_in_batch: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Forward and backward of a whole window; gives its mean loss over the targets."""
        self.course.before_step(self, inputs)
        self.current_gradient_accumulation_steps = len(inputs.batches)
        losses = []
        for batch in inputs.batches:
            losses.append(super().training_step(model, batch, num_items_in_batch))  # type: ignore[misc]
            self.course.moved()
        self._window_loss = torch.stack(losses).sum()
        return self._window_loss

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> Any:  # fmt: skip
        """The mean loss of the inputs' labels, or their sum by the number of items: a scalar, and
        what the model gave if wanted. Experts are balanced while they are trained."""
        experts = 0.0
        if self.aux_loss_enabled and model.training:  # type: ignore[attr-defined]
            parts = (
                self.current_gradient_accumulation_steps if num_items_in_batch is not None else 1
            )
            experts = self.router_aux_loss_coef / parts  # type: ignore[attr-defined]
        loss_of = target_head.loss if self.head_fits else target_head.own_loss
        loss, found = loss_of(model, inputs, num_items_in_batch, experts=experts)
        return (loss, found) if return_outputs else loss

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        """The last thing before the weights change: what makes no numbers does not reach them, and
        a save that still copies them is waited for.

        This is where a step's loss and norm are read, in place of after it: the card is waited for
        as often as before. Weights without gradients are left out by every optimizer.
        """
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)  # type: ignore[misc]
        self._numbers = numbers(self._window_loss, norm)
        if not self.course.may_update(self, *self._numbers):
            model.zero_grad()
        return norm

    def floating_point_ops(self, inputs: Window) -> int:
        """Not counted: the count walks over all modules in every step."""
        return 0

    def _maybe_log_save_evaluate(
        self,
        tr_loss: torch.Tensor,
        grad_norm: torch.Tensor | float | None,
        model: Any,
        trial: Any,
        epoch: float,
        ignore_keys_for_eval: list[str] | None,
        start_time: float,
        learning_rate: float | None = None,
    ) -> None:
        """After each step; once more after the last one, when nothing is new."""
        if self.state.global_step == self.course.position.step:  # type: ignore[attr-defined]
            return
        tr_loss.zero_()
        loss, norm = self._numbers
        if self.course.after_step(self, loss, norm, learning_rate or 0.0):
            self.control.should_training_stop = True  # type: ignore[attr-defined]

    def loss_sum(self, batch: dict[str, torch.Tensor]) -> float:
        """Sum of the losses of a batch's targets, without gradient."""
        inputs = self._prepare_inputs(batch)  # type: ignore[attr-defined]
        one = torch.tensor(1)
        with torch.no_grad(), self.compute_loss_context_manager():  # type: ignore[attr-defined]
            loss = self.compute_loss(self.model, inputs, num_items_in_batch=one)  # type: ignore[attr-defined]
        return float(loss)

    def replayed_loss(self, batch: dict[str, torch.Tensor]) -> float:
        """Mean loss over a batch's labels as a training step computes it, dropout and all, without
        gradient."""
        inputs = self._prepare_inputs(batch)  # type: ignore[attr-defined]
        # As every training step does; a model comes from the loader in evaluation mode.
        self.model.train()  # type: ignore[attr-defined]
        with torch.no_grad(), self.compute_loss_context_manager():  # type: ignore[attr-defined]
            return float(self.model(**inputs, use_cache=False).loss)  # type: ignore[attr-defined]


def _part_embeddings(optimizer: torch.optim.Optimizer, model: Any, rate: float) -> None:
    """Move trained embeddings into a last group with this rate."""
    apart = {id(p) for name, p in model.named_parameters() if _is_embedding(name)}
    for group in list(optimizer.param_groups):
        moved = [p for p in group["params"] if id(p) in apart]
        if not moved:
            continue
        group["params"] = [p for p in group["params"] if id(p) not in apart]
        settings = {key: value for key, value in group.items() if key != "params"}
        optimizer.add_param_group({**settings, "params": moved, "lr": rate})


def _is_embedding(name: str) -> bool:
    return any(part in EMBEDDINGS for part in name.split("."))
