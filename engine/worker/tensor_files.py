"""safetensors files, written tensor by tensor and told what was meant to be written.

The library's own writer wants all tensors in RAM and says nothing of the bytes; a checkpoint needs
the hash of what was *meant*, so that a disk that swallows bytes is found out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from engine.store.checkpoints import write_file

DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8",
    torch.uint8: "U8", torch.bool: "BOOL", torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
}  # fmt: skip
Chunk = bytes | memoryview
_ALIGNMENT = 8
_CHUNK = 1 << 24


def write(path: Path, tensors: Mapping[str, torch.Tensor]) -> str:
    """Write the tensors, by name in sorted order; gives the sha256 that the file must have.

    Raises :class:`engine.store.checkpoints.CheckpointError` if the disk does not take it.
    """
    return write_file(path, chunks(tensors))


def chunks(tensors: Mapping[str, torch.Tensor]) -> Iterator[Chunk]:
    """The content of the file, tensor by tensor."""
    yield header(tensors)
    for _, tensor in sorted(tensors.items()):
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        if flat.numel():
            array: Any = flat.view(torch.uint8).numpy()
            yield from pieces(memoryview(array))


def pieces(data: memoryview) -> Iterator[memoryview]:
    """The same bytes in pieces of a size that a disk likes."""
    for at in range(0, len(data), _CHUNK):
        yield data[at : at + _CHUNK]


def header(tensors: Mapping[str, torch.Tensor]) -> bytes:
    """What comes before the data of these tensors, which is in the order of their names."""
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, tensor in sorted(tensors.items()):
        begin, end = end, end + tensor.numel() * tensor.element_size()
        entries[name] = {
            "dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]
        }  # fmt: skip
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def read(path: Path, device: str = "cpu") -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors one after the other, so that never two copies of all are in memory."""
    with safe_open(path, framework="pt", device=device) as file:
        for name in file.keys():  # noqa: SIM118 - not a dict
            yield name, file.get_tensor(name)


def bytes_of(tensors: Mapping[str, torch.Tensor]) -> int:
    """Size of the tensors' data."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
