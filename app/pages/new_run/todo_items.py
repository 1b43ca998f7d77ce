"""What is to do before a run can start, or had better be done: complaints and conflicts as one
list. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from app.form_words import choice
from app.form_words import label as setting_name
from app.words import counted
from engine.contract.messages import Complaint
from engine.planning.conflicts import Conflict

_ASKED = {
    "model.path": "Choose one from the list, or write a Hugging Face id or a folder.",
    "dataset.path": "Choose a file, or drop one on this page.",
}
NEW = len(_ASKED)
"""Things to do on a page on which nothing was filled in."""


class Todo(msgspec.Struct, frozen=True, kw_only=True):
    """One thing."""

    field: str
    text: str
    title: str = ""
    """In place of the setting's name."""
    verb: str = ""
    """On the button that does it; empty if there is no patch."""
    patch: dict[str, Any] = {}
    tone: Literal["info", "danger", "warning"] = "info"
    """``danger``: the run cannot work. ``warning``: it would start all the same."""


def todos(complaints: Sequence[Complaint], conflicts: Sequence[Conflict]) -> list[Todo]:
    """All of it, what keeps the run from starting first."""
    found = [todo for complaint in complaints if (todo := _of_complaint(complaint))]
    known = {todo.field for todo in found}
    more = [_of_conflict(conflict) for conflict in conflicts if conflict.field not in known]
    return sorted(found + more, key=lambda todo: todo.tone == "warning")


def heading(found: Sequence[Todo], *, is_new: bool) -> str:
    """What is due in a few words; empty if nothing is, for warnings keep nothing from starting."""
    due = sum(todo.tone != "warning" for todo in found)
    if is_new and due == NEW:
        return "Choose a model and data"
    return f"{counted(due, 'thing')} to do" if due else ""


def _of_complaint(complaint: Complaint) -> Todo | None:
    """What is merely not there yet is asked for, not blamed; None for what then comes by itself."""
    patch = dict(complaint.patch)
    text = f"{complaint.problem} {complaint.remedy}".strip()
    if complaint.problem != "This is missing.":
        verb = "Mend it" if patch else ""
        return Todo(field=complaint.field, text=text, verb=verb, patch=patch, tone="danger")
    if complaint.field == "name":
        return None
    return Todo(field=complaint.field, text=_ASKED.get(complaint.field, text))


def _of_conflict(conflict: Conflict) -> Todo:
    has_patch = bool(conflict.patch)
    return Todo(
        field=conflict.field,
        title=conflict.title,
        text=conflict.reason if has_patch else f"{conflict.reason} {_ended(conflict.remedy)}",
        verb=conflict.remedy if has_patch else "",
        patch=dict(conflict.patch),
        tone="warning" if conflict.severity == "warning" else "danger",
    )


def _ended(remedy: str) -> str:
    """A remedy as a sentence; one that ends in a command or an address to copy is left as it is."""
    return remedy if not remedy or ": " in remedy or remedy.endswith(".") else f"{remedy}."


def patch_words(patch: dict[str, Any]) -> str:
    """What a patch does, in words: ``Batch → 1 · Accumulation → 8``."""
    changes = []
    for path, value in patch.items():
        if value is None:
            changes.append(f"{setting_name(path)} back to normal")
        else:
            shown = choice(path, value) if not isinstance(value, list) else ", ".join(value)
            changes.append(f"{setting_name(path)} → {shown or 'none'}")
    return " · ".join(changes)
