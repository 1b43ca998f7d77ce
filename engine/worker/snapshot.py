"""A copy in RAM of what a checkpoint holds, so that training need not wait for the disk.

The memory is taken once and used again by every save. It is numpy's, not torch's: what a run needs
in tensors is counted elsewhere, and this is no part of it.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from engine.planning.look import free_ram_bytes
from engine.worker import tensor_files
from engine.worker.tensor_files import Chunk

Content = bytes | Mapping[str, torch.Tensor]
"""Of a file: as it is, or the tensors of a safetensors file."""
Bytes = npt.NDArray[np.uint8]

PINNED_AT_MOST_BYTES = 1 << 30
"""Of a larger state the copy is not pinned: such pages are taken from the whole machine."""
_LEFT_FREE_BYTES = 1 << 30

log = logging.getLogger(__name__)


class HostMemory:
    """Room for one state."""

    def __init__(self, *, may_pin: bool) -> None:
        self._may_pin = may_pin
        self._room: Bytes = np.empty(0, dtype=np.uint8)
        self._pinned: torch.Tensor | None = None
        """Keeps the room alive where it is pinned."""
        self._streams: dict[torch.device, torch.cuda.Stream] = {}

    def reserve(self, files: Mapping[str, Content]) -> bool:
        """Make room for these files; False if there is not enough RAM for that. What was copied
        before is gone."""
        size = bytes_of(files)
        if len(self._room) >= size:
            return True
        self._room, self._pinned = np.empty(0, dtype=np.uint8), None
        if free_ram_bytes() < size + _LEFT_FREE_BYTES:
            return False
        if self._may_pin and size <= PINNED_AT_MOST_BYTES:
            self._pin(size)
        try:
            self._room = self._room if self._pinned is not None else np.empty(size, dtype=np.uint8)
        except MemoryError:
            return False
        return True

    def copy(self, files: Mapping[str, Content]) -> dict[str, Iterable[Chunk]]:
        """The files as they are written, in the room reserved for them."""
        held: dict[str, Iterable[Chunk]] = {}
        at = 0
        for name, content in files.items():
            if isinstance(content, bytes):
                held[name] = [content]
                continue
            end = at + tensor_files.bytes_of(content)
            held[name] = self._hold_tensors(content, self._room[at:end])
            at = end
        return held

    @contextlib.contextmanager
    def beside(self, files: Mapping[str, Content]) -> Iterator[None]:
        """What is done with these files within this does not wait for what their cards compute
        meanwhile, and is done at its end. What is in them must have been computed."""
        tensors = (t for c in files.values() if not isinstance(c, bytes) for t in c.values())
        devices = {tensor.device for tensor in tensors if tensor.is_cuda}
        streams = [self._stream_of(device) for device in devices]
        with contextlib.ExitStack() as stack:
            for stream in streams:
                stack.callback(stream.synchronize)
                stack.enter_context(torch.cuda.stream(stream))
            yield

    def _stream_of(self, device: torch.device) -> torch.cuda.Stream:
        # One for all saves: what an allocator keeps, it keeps for each stream.
        if device not in self._streams:
            self._streams[device] = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        return self._streams[device]

    def _hold_tensors(self, tensors: Mapping[str, torch.Tensor], room: Bytes) -> list[Chunk]:
        chunks: list[Chunk] = [tensor_files.header(tensors)]
        at = 0
        for _, tensor in sorted(tensors.items()):
            end = at + tensor.numel() * tensor.element_size()
            self._copy(tensor, room[at:end])
            at = end
        data: Any = room
        return [*chunks, *tensor_files.pieces(memoryview(data))]

    def _copy(self, tensor: torch.Tensor, place: Bytes) -> None:
        if not tensor.numel():
            return
        flat = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
        if flat.device.type == "cpu":
            np.copyto(place, flat.numpy())
        else:
            torch.from_numpy(place).copy_(flat, non_blocking=self._pinned is not None)

    def _pin(self, size: int) -> None:
        try:
            self._pinned = torch.empty(size, dtype=torch.uint8, pin_memory=True)
        except RuntimeError as error:
            log.warning("%d bytes cannot be pinned for saves: %s", size, error)
            return
        room: Any = self._pinned.numpy()
        self._room = room


def unhurried(files: Mapping[str, Content]) -> dict[str, Iterable[Chunk]]:
    """The files as they are written, straight from where the tensors lie: nothing may change until
    that is done."""
    return {
        name: [content] if isinstance(content, bytes) else tensor_files.chunks(content)
        for name, content in files.items()
    }


def bytes_of(files: Mapping[str, Content]) -> int:
    """Size of all of it, but for the headers of the safetensors files."""
    return sum(
        len(content) if isinstance(content, bytes) else tensor_files.bytes_of(content)
        for content in files.values()
    )
