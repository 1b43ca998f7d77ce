"""Which card and which versions a report was taken with."""

from __future__ import annotations

from importlib import metadata
from typing import Any

import torch


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
