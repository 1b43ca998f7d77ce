"""Activations in RAM, for machines on which pinned memory is scarce or hangs.

They lie in plain memory there. On the way they pass through a small *ring* of pinned blocks, so
that the card need not wait for the processor's copies; without a ring each copy blocks.
"""

from __future__ import annotations

import logging
import queue
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, NamedTuple

import torch
from torch.autograd.graph import save_on_cpu, saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

log = logging.getLogger(__name__)

_MIB = 1 << 20
_LARGE_RING_BYTES, _LARGE_BLOCK_BYTES, _BLOCK_BYTES = 256 * _MIB, 64 * _MIB, 32 * _MIB


class Block(NamedTuple):
    """A piece of the ring, and what still reads it."""

    memory: torch.Tensor
    in_use: torch.cuda.Event | None


class Kept(NamedTuple):
    """An activation in RAM. ``copies`` are still under way there."""

    device: torch.device
    tensor: torch.Tensor
    copies: list[Future[None]]


class Ring:
    """Blocks of pinned memory that activations pass through on their way to RAM and back.

    One thread copies from the blocks to plain memory while the card goes on computing. Raises
    RuntimeError if the blocks cannot be pinned; nothing is left of them then.
    """

    def __init__(self, blocks: int, block_bytes: int, *, pin: bool = True) -> None:
        self.block_bytes = block_bytes
        self._free: queue.SimpleQueue[Block] = queue.SimpleQueue()
        # All at once, so that a refusal comes before the first step and not in the night. torch
        # itself clears CUDA's error.
        made = [torch.empty(block_bytes, dtype=torch.uint8, pin_memory=pin) for _ in range(blocks)]
        for memory in made:
            self._free.put(Block(memory, None))
        self._copier = ThreadPoolExecutor(1, thread_name_prefix="offload")
        self._stream: torch.cuda.Stream | None = None

    def hooks(self) -> AbstractContextManager[None]:
        """While it is entered, what autograd saves goes to RAM."""
        return saved_tensors_hooks(self.pack, self.unpack)

    def pack(self, tensor: torch.Tensor) -> Kept:
        """Send a tensor to RAM; the copy may still run when this returns."""
        kept = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
        if not tensor.numel():
            return Kept(tensor.device, kept, [])
        source = tensor.detach().contiguous()
        with self._beside(source):
            copies = [
                self._send(part, place)
                for part, place in zip(self._parts(source), self._parts(kept), strict=True)
            ]
        return Kept(tensor.device, kept, copies)

    def unpack(self, kept: Kept) -> torch.Tensor:
        """Bring a tensor back to where it was. Raises what went wrong on its way to RAM."""
        for copy in kept.copies:
            copy.result()
        back = torch.empty(kept.tensor.shape, dtype=kept.tensor.dtype, device=kept.device)
        if not back.numel():
            return back
        with self._beside(back):
            for part, place in zip(self._parts(kept.tensor), self._parts(back), strict=True):
                self._fetch(part, place)
        if self._stream is not None:
            torch.cuda.current_stream().wait_stream(self._stream)
        return back

    def close(self) -> None:
        """End the thread; what is under way is finished first."""
        self._copier.shutdown()

    # ------------------------------------------------------------ inside

    def _parts(self, tensor: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The bytes of a tensor in pieces that fit a block."""
        return torch.split(tensor.reshape(-1).view(torch.uint8), self.block_bytes)

    def _beside(self, tensor: torch.Tensor) -> AbstractContextManager[Any]:
        """A stream beside the computation, which waits for what has been computed so far."""
        if tensor.device.type != "cuda":
            return nullcontext()
        if self._stream is None:
            self._stream = torch.cuda.Stream(tensor.device)  # type: ignore[no-untyped-call]
        self._stream.wait_stream(torch.cuda.current_stream())
        # Its memory must not be given to another tensor while the copy runs.
        tensor.record_stream(self._stream)
        return torch.cuda.stream(self._stream)

    def _send(self, part: torch.Tensor, place: torch.Tensor) -> Future[None]:
        block = self._take()
        memory = block[: part.numel()]
        memory.copy_(part, non_blocking=True)
        return self._copier.submit(self._store, memory, place, block, self._mark(part))

    def _store(
        self, memory: torch.Tensor, place: torch.Tensor, block: torch.Tensor,
        done: torch.cuda.Event | None,
    ) -> None:  # fmt: skip
        try:
            if done is not None:
                done.synchronize()
            place.copy_(memory)
        finally:
            self._free.put(Block(block, None))

    def _fetch(self, part: torch.Tensor, place: torch.Tensor) -> None:
        block = self._take()
        memory = block[: part.numel()]
        memory.copy_(part)
        place.copy_(memory, non_blocking=True)
        self._free.put(Block(block, self._mark(place)))

    def _take(self) -> torch.Tensor:
        """A block that nothing reads or writes any more."""
        memory, in_use = self._free.get()
        if in_use is not None:
            in_use.synchronize()
        return memory

    def _mark(self, tensor: torch.Tensor) -> torch.cuda.Event | None:
        """A mark in the stream behind the copies so far."""
        if tensor.device.type != "cuda" or self._stream is None:
            return None
        mark: torch.cuda.Event = self._stream.record_event()
        return mark


def make_ring(size: int, *, pin: bool) -> Ring | None:
    """A ring of that many bytes; None for 0, or if the machine does not give so much."""
    if not size:
        return None
    block = _LARGE_BLOCK_BYTES if size >= _LARGE_RING_BYTES else _BLOCK_BYTES
    try:
        return Ring(max(size // block, 1), block, pin=pin)
    except RuntimeError as error:
        log.warning("No pinned ring of %d MiB: %s", size // _MIB, error)
        return None


def checkpoint_in_ram(ring: Ring | None, function: Any, *args: Any, **kwargs: Any) -> Any:
    """Checkpoint a layer and keep its input in plain RAM; without a ring both copies block."""
    with save_on_cpu(pin_memory=False) if ring is None else ring.hooks():
        return checkpoint(function, *args, use_reentrant=False, **kwargs)


def offload_to_ram(model: torch.nn.Module, ring: Ring | None = None) -> None:
    """Let every checkpointed layer keep its input that way; transformers' own way pins memory."""
    inner: Any = model
    base = inner.get_base_model() if hasattr(model, "get_base_model") else inner
    base._set_gradient_checkpointing(
        enable=True, gradient_checkpointing_func=partial(checkpoint_in_ram, ring)
    )
