"""What every method says of itself, light enough for the window."""

from __future__ import annotations

import msgspec


class Method(msgspec.Struct, frozen=True, kw_only=True):
    """A way to fine-tune. The folder ``engine/methods/<name>`` holds ``spec.py`` with a ``METHOD``
    and ``train.py`` with ``prepare`` and ``Trainer``."""

    name: str
    title: str
    description: str
    """For people, one or two sentences."""
    formats: tuple[str, ...]
    """Dataset formats it learns from."""
