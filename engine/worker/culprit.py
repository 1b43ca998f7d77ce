"""Which of a step's samples makes no numbers: each is computed alone, and nothing is changed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch

from engine.worker import rng
from engine.worker.batches import Collator, Rows
from engine.worker.loading import trainable
from engine.worker.packing import unpacked
from engine.worker.samples import Samples

MOST_SAMPLES = 64
MOST_SECONDS = 120.0
"""A step may hold many samples, and a card may be slow."""
_OTHERS = 2
"""Samples of other steps, that tell a broken model from a broken sample."""


class Tried(NamedTuple):
    """What one sample came to by itself."""

    sample: int
    loss: float
    """Mean over its targets."""
    is_fine: bool
    """Loss and gradient are numbers."""


class Search(NamedTuple):
    """What the samples of a step came to."""

    own: list[Tried]
    others: list[Tried]
    """Of other steps."""

    @property
    def bad(self) -> list[Tried]:
        """The samples that make no numbers."""
        return [tried for tried in self.own if not tried.is_fine]

    @property
    def is_model(self) -> bool:
        """It is not the samples: whatever the model gets, it makes no numbers."""
        return all(not tried.is_fine for tried in (*self.own, *self.others))


class Prober:
    """Computes single samples of a run, in the trainer's own way."""

    def __init__(self, samples: Samples, pad_id: int, moved: Callable[[], None]) -> None:
        """``moved`` is called after each sample: all of them take far longer than a step."""
        self._samples = samples
        self._moved = moved
        self._collate = Collator(Rows(samples=samples, rows=unpacked(len(samples))), pad_id)

    def search(self, trainer: Any, samples: Sequence[int]) -> Search:
        """Try the samples of a step, then a few of others. Weights, gradients and random numbers
        are afterwards as before."""
        others = [s for s in range(min(len(self._samples), MOST_SAMPLES)) if s not in set(samples)]
        own = list(self._each(trainer, samples[:MOST_SAMPLES], with_gradient=True))
        rest = list(self._each(trainer, others[:_OTHERS], with_gradient=True))
        return Search(own, rest)

    def losses(self, trainer: Any, samples: Sequence[int]) -> list[Tried]:
        """The same without gradients."""
        return list(self._each(trainer, samples[:MOST_SAMPLES], with_gradient=False))

    def _each(
        self, trainer: Any, samples: Sequence[int], *, with_gradient: bool
    ) -> Iterator[Tried]:
        deadline = time.monotonic() + MOST_SECONDS
        with rng.undisturbed():
            for sample in samples:
                yield self._one(trainer, sample, with_gradient=with_gradient)
                self._moved()
                if time.monotonic() > deadline:
                    return

    def _one(self, trainer: Any, sample: int, *, with_gradient: bool) -> Tried:
        batch = trainer._prepare_inputs(self._collate([sample]))
        targets = torch.tensor(max(int((batch["labels"] != -100).sum()), 1))
        targets = targets.to(batch["labels"].device)
        model = trainer.model
        with torch.set_grad_enabled(with_gradient), trainer.compute_loss_context_manager():
            loss = trainer.compute_loss(model, batch, num_items_in_batch=targets)
        value = float(loss.detach())
        fine = math.isfinite(value)
        if with_gradient and fine and trainer.accelerator.scaler is None:
            # With a scaler a gradient may be out of range for its factor alone.
            loss.backward()
            fine = has_numbers([p.grad for p in trainable(model).values() if p.grad is not None])
        model.zero_grad()
        return Tried(sample, value, fine)


def has_numbers(tensors: Sequence[torch.Tensor]) -> bool:
    """Whether all of them are numbers. Reads each once, and waits for the card once."""
    if not tensors:
        return True
    # The greatest size of all: infinity and NaN come through, and nothing can overflow on the way.
    size = torch.nn.utils.get_total_norm(tensors, norm_type=math.inf)
    return math.isfinite(float(size))
