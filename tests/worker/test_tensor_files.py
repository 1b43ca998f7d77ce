from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from engine.worker import tensor_files
from engine.worker.tensor_files import DTYPES


def test_the_library_reads_what_is_written(tmp_path: Path) -> None:
    tensors = {
        str(dtype): torch.arange(24).reshape(2, 3, 4).to(dtype).transpose(0, 2) for dtype in DTYPES
    } | {"empty": torch.zeros(0, 3), "one": torch.tensor(7.0)}
    tensor_files.write(tmp_path / "t.safetensors", tensors)
    read = load_file(tmp_path / "t.safetensors")
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert read[name].dtype == tensor.dtype
        assert read[name].shape == tensor.shape
        assert read[name].double().equal(tensor.double())


def test_the_hash_is_that_of_the_file_and_the_order_of_names_does_not_matter(
    tmp_path: Path,
) -> None:
    a, b = torch.rand(3), torch.rand(2)
    first = tensor_files.write(tmp_path / "1", {"a": a, "b": b})
    assert first == tensor_files.write(tmp_path / "2", {"b": b, "a": a})
    assert first == hashlib.sha256((tmp_path / "1").read_bytes()).hexdigest()


def test_reading_gives_one_tensor_after_the_other(tmp_path: Path) -> None:
    tensor_files.write(tmp_path / "t", {"b": torch.ones(2), "a": torch.zeros(1)})
    assert {name: t.tolist() for name, t in tensor_files.read(tmp_path / "t")} == {
        "a": [0.0], "b": [1.0, 1.0]
    }  # fmt: skip


def test_a_kind_of_number_that_safetensors_lacks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        tensor_files.write(tmp_path / "t", {"a": torch.zeros(1, dtype=torch.complex64)})
