"""The bundled catalogue of models, as the picker offers it."""

from __future__ import annotations

from functools import cache

from app.pages.new_run.models import Option


@cache
def bundled() -> list[Option]:
    """All models of the catalogue."""
    return []
