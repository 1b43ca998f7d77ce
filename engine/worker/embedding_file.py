"""Rows of a model's embedding as they lie in its files: read one by one, without the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from engine.contract.spec import ModelSpec
from engine.planning import hub_cache, model_folder
from engine.planning.inventory import as_path

_NAMES = (
    "embed_tokens.weight", "wte.weight", "word_embeddings.weight", "tok_embeddings.weight",
    "embed_in.weight",
)  # fmt: skip
_KINDS: dict[str, type[np.generic]] = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": np.uint16,
}  # fmt: skip
"""numpy has no bfloat16; it is the upper half of a float32."""


class StoredRows:
    """Like a matrix of one row a token, of which single rows can be taken."""

    device = torch.device("cpu")

    def __init__(self, matrix: np.ndarray, kind: str) -> None:
        self._matrix = matrix
        self._kind = kind
        self.shape: tuple[int, ...] = matrix.shape

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, places: torch.Tensor) -> torch.Tensor:
        """The rows at these places, as fp32."""
        rows = self._matrix[places.numpy()]
        if self._kind == "BF16":
            rows = (rows.astype(np.uint32) << 16).view(np.float32)
        return torch.from_numpy(rows.astype(np.float32, copy=False))


def stored_rows(model: ModelSpec) -> StoredRows | None:
    """The embedding of a model that is on this machine; None where it is not, or where its files
    do not have it as numbers."""
    folder = _folder_of(model)
    if folder is None:
        return None
    try:
        found = [_in_file(path) for path in model_folder.weights_of(folder)]
    except (model_folder.Problem, OSError):
        return None
    return next((rows for rows in found if rows is not None), None)


def _folder_of(model: ModelSpec) -> Path | None:
    folder = as_path(model.path)
    if folder is not None and folder.is_dir():
        return folder
    if not hub_cache.is_hub_id(model.path):
        return None
    place = hub_cache.repository(hub_cache.folder(), model.path)
    return hub_cache.main_snapshot(place, model.revision or "main")


def _in_file(path: Path) -> StoredRows | None:
    """Of a safetensors file that is known to be whole. Raises ``OSError``."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        tensors: dict[str, Any] = msgspec.json.decode(file.read(length))
    for name, told in tensors.items():
        kind = _KINDS.get(told.get("dtype", ""))
        if name.endswith(_NAMES) and kind is not None and len(told["shape"]) == 2:
            at = 8 + length + told["data_offsets"][0]
            # Not one of torch's tensors: of those every byte is reckoned with, mapped or not.
            matrix = np.memmap(path, kind, "r", offset=at, shape=tuple(told["shape"]))
            return StoredRows(matrix, told["dtype"])
    return None
