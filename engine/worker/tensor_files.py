"""safetensors files, written tensor by tensor and told what was meant to be written.

The library's own writer wants all tensors in RAM and says nothing of the bytes; a checkpoint needs
the hash of what was *meant*, so that a disk that swallows bytes is found out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from io import FileIO
from pathlib import Path
from typing import Any

import torch

from engine.store.staging import write_file

DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8",
    torch.uint8: "U8", torch.bool: "BOOL", torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
}  # fmt: skip
_TYPES = {name: dtype for dtype, name in DTYPES.items()}
_LENGTH_BYTES = 8
Chunk = bytes | memoryview
_ALIGNMENT = 8
_CHUNK = 1 << 24


def write(path: Path, tensors: Mapping[str, torch.Tensor]) -> str:
    """Write the tensors, by name in sorted order; gives the sha256 that the file must have.

    Raises :class:`engine.store.staging.CheckpointError` if the disk does not take it.
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


def read(path: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors one after the other, each in memory of its own and in RAM: never two copies of
    all, and nothing that keeps the file. Raises ``OSError``, or ``ValueError`` for a torn file."""
    with path.open("rb", buffering=0) as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        entries: dict[str, Any] = json.loads(file.read(length))
        for name, entry in entries.items():
            if name != "__metadata__":
                begin, end = entry["data_offsets"]
                file.seek(_LENGTH_BYTES + length + begin)
                yield name, _read_tensor(file, entry, end - begin)


def _read_tensor(file: FileIO, entry: dict[str, Any], size: int) -> torch.Tensor:
    tensor = torch.empty(entry["shape"], dtype=_TYPES[entry["dtype"]])
    if size:
        flat: Any = tensor.reshape(-1).view(torch.uint8).numpy()
        _fill(file, memoryview(flat))
    return tensor


def _fill(file: FileIO, room: memoryview) -> None:
    """Read until it is full: one call to the system gives 2 GiB at most."""
    while room:
        count = file.readinto(room)
        if not count:
            raise ValueError(f"{file.name} is shorter than it says.")
        room = room[count:]


def bytes_of(tensors: Mapping[str, torch.Tensor]) -> int:
    """Size of the tensors' data."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
