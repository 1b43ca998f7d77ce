"""All methods by name; the names are those of :class:`engine.contract.spec.Spec`."""

from __future__ import annotations

from engine.methods.method import Method
from engine.methods.pretrain.spec import METHOD as PRETRAIN
from engine.methods.sft.spec import METHOD as SFT

METHODS: dict[str, Method] = {method.name: method for method in (SFT, PRETRAIN)}
