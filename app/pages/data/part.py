"""One of the datasets that are looked at, and what the host says of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from app.data_ways import trouble_of
from app.form import Draft
from app.mixture import entries
from engine.contract import row_places
from engine.contract.messages import Refusal


class Part(NamedTuple):
    """One dataset; the first of many are known."""

    title: str
    """Empty where it is the only one."""
    facts: dict[str, Any]
    """The answer to PreviewDataset; empty if there is none."""
    refusal: Refusal | None = None
    """Why there is none; None where it is not known yet."""


def names_of(draft: Draft) -> list[str]:
    """What people know each of its datasets by."""
    paths = [str(entry.get("path") or "") for entry in entries(draft)]
    return row_places.told_apart(paths)


def troubles_of(draft: Draft, parts: Sequence[Part]) -> dict[int, str]:
    """Which of several datasets are not learnt from, by their place, and why."""
    found, method = {}, str(draft.get("method"))
    for place, (entry, part) in enumerate(zip(entries(draft), parts, strict=False)):
        format = str(entry.get("format") or "auto")
        if part.refusal is not None:
            found[place] = _said(part.refusal)
        elif part.facts and (trouble := trouble_of(part.facts, method, format)):
            found[place] = trouble
    return found


def _said(refusal: Refusal) -> str:
    told = [f"{each.problem} {each.remedy}".strip() for each in refusal.complaints]
    return " ".join(told) or refusal.sentence
