"""Continued pretraining: learning from plain text."""

from __future__ import annotations

from engine.formats.registry import METHOD_FORMATS
from engine.methods.method import Method

METHOD = Method(
    name="pretrain",
    title="Learn from plain text",
    description="Goes on with what made the base model: reading text and learning every word of "
    "it. Good for a new subject, language or style.",
    formats=METHOD_FORMATS["pretrain"],
)
