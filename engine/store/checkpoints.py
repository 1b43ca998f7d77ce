"""The checkpoints of a run: where they lie, and which of them to go on from."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from engine.store.files import rename
from engine.store.manifest import is_newer, verify
from engine.store.upgrade import StoreError

FOLDER = "checkpoints"

_NAME = re.compile(r"step-(\d{8,})")


class NewerCheckpoint(StoreError):
    """The newest checkpoint was made by a newer Fettle; the text is a sentence for people."""


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """The checkpoint to go on from."""

    folder: Path | None
    """None if there is no sound one."""
    step: int = 0
    notes: list[str] = []
    """A sentence for each one that was set aside."""


def name_of(step: int) -> str:
    """Folder name of the checkpoint after ``step`` steps."""
    return f"step-{step:08d}"


def published(run_folder: Path) -> list[tuple[int, Path]]:
    """``(step, folder)`` of everything with a checkpoint's name, oldest step first; unverified."""
    root = run_folder / FOLDER
    if not root.is_dir():
        return []
    matches = ((_NAME.fullmatch(path.name), path) for path in root.iterdir())
    return sorted((int(match[1]), path) for match, path in matches if match)


def newest_verified(run_folder: Path) -> Choice:
    """The newest sound checkpoint. Broken newer ones get a hidden name, and a note each.

    Raises :class:`NewerCheckpoint` where this Fettle is too old to judge; that one stays.
    """
    _take_back(run_folder / FOLDER)
    notes: list[str] = []
    for step, folder in reversed(published(run_folder)):
        problems = verify(folder)
        if not problems:
            return Choice(folder=folder, step=step, notes=notes)
        if is_newer(folder):
            raise NewerCheckpoint(
                f"The save of step {step} was made by a newer Fettle. Update Fettle to go on from "
                f"it; to go on from an older save instead, move {folder} away."
            )
        notes.append(f"The save of step {step} was set aside: {problems[0]}")
        _set_aside(folder)
    return Choice(folder=None, notes=notes)


def _take_back(root: Path) -> None:
    """Undo a replacement that a crash cut in half."""
    for replaced in root.glob(".replaced-step-*"):
        final = root / replaced.name.removeprefix(".replaced-")
        if not final.exists():
            rename(replaced, final)


def _set_aside(folder: Path) -> None:
    number = 1
    while (aside := folder.with_name(f".broken-{folder.name}-{number}")).exists():
        number += 1
    rename(folder, aside)
