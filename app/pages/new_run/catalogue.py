"""The bundled catalogue of models, as the picker offers it."""

from __future__ import annotations

from functools import cache

from app.pages.new_run.models import BUNDLED, Option
from app.words import count
from engine.planning import catalogue

_LICENCES = {"apache-2.0": "Apache-2.0", "mit": "MIT"}


@cache
def bundled() -> list[Option]:
    """All models of the catalogue, smallest first."""
    return [_option(entry) for entry in catalogue.load()]


def _option(entry: catalogue.ModelEntry) -> Option:
    terms = " The hub asks to sign in and accept its terms first." if entry.gated else ""
    return Option(
        path=entry.id,
        group=BUNDLED,
        parameters=entry.parameters,
        licence=_LICENCES.get(entry.licence, entry.licence.capitalize()),
        download_bytes=entry.download_bytes,
        family=entry.family,
        note=f"{entry.name}, up to {count(entry.context_length)} tokens.{terms}",
    )
