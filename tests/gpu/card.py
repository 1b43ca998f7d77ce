"""Which card and which versions a report was taken with."""

from __future__ import annotations

from importlib import metadata
from typing import Any

import torch
from torch import multiprocessing


def device() -> dict[str, Any]:
    """The card, the driver's CUDA and the versions."""
    names = ("torch", "transformers", "peft", "trl", "bitsandbytes")
    found: dict[str, Any] = {"versions": {name: metadata.version(name) for name in names}}
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        found["device"] = properties.name
        found["memory_bytes"] = properties.total_memory
        found["capability"] = f"{properties.major}.{properties.minor}"
        found["cuda"] = torch.version.cuda
    return found


def outside_torch_bytes() -> int:
    """What a process that computes takes of the card beside torch's pool: CUDA itself, and the
    code of its libraries. Right only while nobody else uses the card."""
    before = torch.cuda.mem_get_info()[0]
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    child = context.Process(target=_compute, args=(there,))
    child.start()
    pool = int(here.recv())
    taken = before - torch.cuda.mem_get_info()[0] - pool
    here.send("end")
    child.join()
    return taken


def _compute(parent: Any) -> None:
    numbers = torch.randn(2048, 2048, device="cuda", dtype=torch.bfloat16)
    torch.nn.functional.scaled_dot_product_attention(*[numbers.view(1, 32, 1024, 128)] * 3)
    torch.linalg.vector_norm(numbers @ numbers).item()
    parent.send(torch.cuda.memory_reserved())
    parent.recv()
