"""Supervised fine-tuning: learning from good answers."""

from __future__ import annotations

from engine.formats.registry import METHOD_FORMATS
from engine.methods.method import Method

METHOD = Method(
    name="sft",
    title="Learn from answers",
    description="Shows the model conversations and teaches it to answer like the assistant in "
    "them. Questions are read but not learnt.",
    formats=METHOD_FORMATS["sft"],
)
