"""One training step on the meta device, as the trainer does it: two micro-batches, of which the
second is a repetition, clipping, the optimizer; then an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import msgspec
import numpy as np
import torch
from torch import nn

from engine.planning.form import Layout
from engine.worker import target_head
from engine.worker.batches import Batch
from engine.worker.by_sample import BORDERS
from engine.worker.trace import optimizers, ram
from engine.worker.trace.model import Built
from engine.worker.trace.patches import Arrangement, patches
from engine.worker.trace.place import EVALUATION
from engine.worker.trace.recorder import Recorder
from engine.worker.trace.recording import Recording
from engine.worker.trace.sizes import Sizes
from engine.worker.trace.work import Work


class Traced(msgspec.Struct):
    """What one pass left."""

    recording: Recording
    work: Work
    ram: list[tuple[int | None, np.ndarray]]
    """Bytes of activations and paged states in the computer's memory, with their layers."""


def trace_step(
    layout: Layout,
    built: Built,
    sizes: Sizes,
    rows: Arrangement,
    is_known: Callable[[Recording], bool] = lambda ahead: False,
) -> Traced | None:
    """Trace a step of these sizes, and an evaluation after it; None if it ``is_known`` by what it
    did up to its loss."""
    with _stepping(layout, built, sizes, rows) as step:
        if not step.train(is_known):
            return None
        step.evaluate()
    return Traced(step.recorder.recording, step.recorder.work, step.in_ram)


@contextmanager
def _stepping(layout: Layout, built: Built, sizes: Sizes, rows: Arrangement) -> Iterator[_Step]:
    devices = ("meta", "cpu") if layout.device == "cpu" else ("meta",)
    recorder = Recorder(sizes, devices)
    step = _Step(layout, built, sizes, rows, recorder)
    with ExitStack() as around:
        for patch in patches(layout, built, sizes, rows, recorder):
            around.enter_context(patch)
        for hook in step.hooks():
            around.enter_context(hook)
        around.enter_context(built.kernels)
        around.enter_context(recorder)
        yield step


class _Step:
    def __init__(
        self, layout: Layout, built: Built, sizes: Sizes, rows: Arrangement, recorder: Recorder
    ) -> None:
        self._layout = layout
        self._built = built
        self._sizes = sizes
        self._rows = rows
        self.recorder = recorder
        self._turn = 0
        self._is_forward = False
        self._batch: Batch = {}
        self._optimizer: torch.optim.Optimizer | None = None
        self.in_ram: list[tuple[int | None, np.ndarray]] = []

    def train(self, is_known: Callable[[Recording], bool]) -> bool:
        """Two micro-batches and the update. False, and no more than a forward pass, if that
        ``is_known``."""
        self._begin()
        with self.recorder.repeated(turn=2):
            loss = self._first_forward()
            if is_known(self.recorder.recording):
                return False
            self._backward(loss)
            del loss
        self._update()
        # Without a card the batches of a step are never copied, and stay to its end.
        self._batch.clear()
        return True

    def _begin(self) -> None:
        """What is there before the first micro-batch."""
        model, recorder = self._built.model, self.recorder
        self._hold_weights()
        self._optimizer = optimizers.make(self._layout.optim, self._layout.device, self._built)
        if self._optimizer is None:
            self.in_ram += optimizers.reserve_states(
                self._layout.optim, self._layout.device, self._built, self._sizes, recorder
            )
        else:
            self._make_states(self._optimizer)
        model.train()
        ram.moved.clear()

    def _first_forward(self) -> torch.Tensor:
        """The first micro-batch's, and its loss."""
        self._turn = 1
        self._batch = self._inputs()
        loss = self._forward(self._batch)
        if self._layout.device == "cuda":
            self._batch.clear()
        self.recorder.at(1, "backward")
        return loss

    def evaluate(self) -> None:
        """A batch of the evaluation, after the step."""
        self._turn = EVALUATION
        self._built.model.eval()
        inputs = self._inputs()
        with torch.no_grad():
            self._forward(inputs)
        self.recorder.at(self._turn, "end")
        self._built.model.train()

    # ------------------------------------------------------------ what stays

    def _hold_weights(self) -> None:
        recorder = self.recorder
        recorder.at(0, "start")
        adapter = self._layout.lora is not None
        for name, value in self._built.model.named_parameters():
            part: Any = "weights"
            if value.requires_grad:
                part = "adapter" if adapter and "modules_to_save" not in name else "trained_weights"
            recorder.hold([value.data], part, layer=self._layer_of(value))
        for buffer in self._built.model.buffers():
            recorder.hold([buffer], "weights", layer=self._layer_of(buffer))

    def _layer_of(self, value: torch.Tensor) -> int | None:
        return self._built.layer_of.get(id(value))

    def _make_states(self, optimizer: torch.optim.Optimizer) -> None:
        """The states are there from the first step on; a step costs most after it."""
        self.recorder.at(0, "states")
        for parameter in self._built.trained.values():
            parameter.grad = torch.empty_like(parameter)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        for of, state in optimizer.state.items():
            held = [value for value in state.values() if torch.is_tensor(value)]
            self.recorder.hold(held, "optimizer", layer=self._layer_of(of))

    def _inputs(self) -> Batch:
        rows, length = self._sizes.batch, self._sizes.length
        in_line = self._rows == "by borders"
        shape = (1, rows * length) if in_line else (rows, length)
        names = ["input_ids", "labels"]
        is_apart = self._rows in ("by a mask", "by borders")
        names.append("position_ids" if is_apart else "attention_mask")
        made = {name: torch.empty(shape, dtype=torch.int64, device="meta") for name in names}
        self.recorder.hold(made.values(), "inputs")
        if in_line:
            # Samples that fill their rows: the memory of many, and the most to compute.
            return {**made, BORDERS: list(range(0, rows * length + 1, length))}
        return made

    # ------------------------------------------------------------ a micro-batch

    def _backward(self, loss: torch.Tensor) -> None:
        torch.autograd.backward(loss / 1)
        for parameter in self._built.trained.values():
            if parameter.grad is not None:
                layer = self._layer_of(parameter)
                self.recorder.hold([parameter.grad], "gradients", layer=layer)

    def _forward(self, inputs: Batch) -> torch.Tensor:
        """As the bridge's ``compute_loss``; the worst case, every position is a target."""
        self._is_forward = True
        self.recorder.at(self._turn, "forward")
        items = torch.empty((), dtype=torch.int64, device="meta")
        loss, _ = target_head.loss(self._built.model, inputs, items, experts=1.0)
        self._is_forward = False
        return loss

    def _update(self) -> None:
        """Clipping is left out: it works in place, and makes one number for each gradient."""
        self.recorder.at(0, "optimizer")
        if self._optimizer is not None:
            self._optimizer.step()
        else:
            optimizers.reserve_transient(
                self._layout.optim, self._built, self._sizes, self.recorder
            )
        for parameter in self._built.trained.values():
            parameter.grad = None
        self.recorder.at(0, "rest")

    # ------------------------------------------------------------ borders

    def hooks(self) -> Iterator[Any]:
        """Tell the recorder which layer is at work, and when a weight has its gradient."""
        for parameter in self._built.trained.values():
            register: Any = parameter.register_post_accumulate_grad_hook
            yield _removed(register(self._on_gradient))
        for number, layer in enumerate(self._built.layers):
            yield _removed(layer.register_forward_pre_hook(self._before(number)))
        yield _removed(self._built.layers[-1].register_forward_hook(self._after_last))

    def _on_gradient(self, parameter: torch.Tensor) -> None:
        assert parameter.grad is not None
        self.recorder.accumulated(parameter.grad)

    def _before(self, number: int) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
            if not self._is_forward:
                return
            self._note_moved()
            if number:
                self._watch(args[0], number - 1)
            self.recorder.at(self._turn, "forward", number)

        return hook

    def _after_last(self, module: nn.Module, args: Any, result: Any) -> None:
        if self._is_forward:
            self._note_moved()
            found = result if isinstance(result, torch.Tensor) else result[0]
            self._watch(found, len(self._built.layers) - 1)
            self.recorder.at(self._turn, "loss")

    def _note_moved(self) -> None:
        """What went to RAM in the stretch that ends."""
        if self._turn == 1:
            layer = self.recorder.place.layer
            self.in_ram += [(layer, self._sizes.formula(size)) for size in ram.moved]
            ram.moved.clear()

    def _watch(self, hidden: torch.Tensor, number: int) -> None:
        """When the gradient of a layer's result is there, its backward pass begins."""
        if not hidden.requires_grad:
            return
        turn, recorder = self._turn, self.recorder

        def hook(gradient: torch.Tensor) -> None:
            recorder.at(turn, "backward", number)

        hidden.register_hook(hook)  # type: ignore[no-untyped-call]


@contextmanager
def _removed(handle: Any) -> Iterator[None]:
    try:
        yield
    finally:
        handle.remove()
