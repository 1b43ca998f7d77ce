"""Every config of the catalogue builds its class, of exactly the size that is told."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from engine.planning import catalogue
from engine.planning.catalogue import ModelEntry


def built(config: dict[str, Any]) -> torch.nn.Module:
    """The model on the meta device: no memory, no weights."""
    kind = config["model_type"]
    rest = {name: value for name, value in config.items() if name != "model_type"}
    with torch.device("meta"):
        model: torch.nn.Module = AutoModelForCausalLM.from_config(
            AutoConfig.for_model(kind, **rest)
        )
    return model


@pytest.mark.parametrize("entry", catalogue.load(), ids=lambda entry: str(entry.id))
def test_a_config_builds_its_class_with_the_published_parameters(entry: ModelEntry) -> None:
    config = catalogue.config_of(entry.id)
    assert config is not None
    model = built(config)
    assert type(model).__name__ == config["architectures"][0]
    assert sum(value.numel() for value in model.parameters()) == entry.parameters
