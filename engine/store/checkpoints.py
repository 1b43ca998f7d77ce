"""The checkpoints of a run: where they lie, and which of them to go on from."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from engine.store.files import rename
from engine.store.manifest import is_newer, made_at, verify
from engine.store.upgrade import StoreError

FOLDER = "checkpoints"

_NAME = re.compile(r"step-(\d{8,})")
_SET_ASIDE = re.compile(r"\.broken-step-(\d+)-\d+")


class NewerCheckpoint(StoreError):
    """The newest checkpoint was made by a newer Fettle; the text is a sentence for people."""


class SaveUnreadable(OSError):
    """The disk does not let it be known whether the newest checkpoint is sound. Nothing was
    changed; the text is a sentence for people."""

    def __init__(self, step: int, folder: Path, error: OSError) -> None:
        super().__init__(error.errno, error.strerror, error.filename)
        self.step = step
        self.remedy = (
            "Nothing is lost: look after the disk that it is on, then resume. To go on from an "
            f"older save instead, move {folder} away."
        )

    def __str__(self) -> str:
        why = f"{self.filename}: {self.strerror or 'the disk gave no reason'}"
        return f"The save of step {self.step} cannot be read: {why}. {self.remedy}"


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """The checkpoint to go on from."""

    folder: Path | None
    """None if there is no sound one."""
    step: int = 0
    notes: list[str] = []
    """A sentence for each one that was set aside or passed over."""
    taken_back: str = ""
    """A sentence if it is one that was set aside earlier, and is sound."""


def name_of(step: int) -> str:
    """Folder name of the checkpoint after ``step`` steps."""
    return f"step-{step:08d}"


def published(run_folder: Path) -> list[tuple[int, Path]]:
    """``(step, folder)`` of everything with a checkpoint's name, oldest step first; unverified."""
    return _named(run_folder, _NAME)


def newest_step(run_folder: Path) -> int:
    """Step of the newest checkpoint, unverified; 0 without any."""
    return max((step for step, _ in published(run_folder)), default=0)


def set_aside(run_folder: Path) -> list[tuple[int, Path]]:
    """``(step, folder)`` of everything that was found damaged once, oldest step first."""
    return _named(run_folder, _SET_ASIDE)


def _named(run_folder: Path, pattern: re.Pattern[str]) -> list[tuple[int, Path]]:
    """Those whose names fit, by the step in it."""
    root = run_folder / FOLDER
    if not root.is_dir():
        return []
    matches = ((pattern.fullmatch(path.name), path) for path in root.iterdir())
    return sorted((int(match[1]), path) for match, path in matches if match)


def newest_verified(run_folder: Path, *, passes_over: bool = False) -> Choice:
    """The newest sound checkpoint. Broken newer ones get a hidden name, and a note each; one that
    got it earlier, and is sound, gets its own back.

    Raises :class:`NewerCheckpoint` where this Fettle is too old to judge, and
    :class:`SaveUnreadable` where the disk does not let it; that one stays. With ``passes_over`` an
    older sound one is given instead of an unreadable one, if there is any. Raises ``OSError``.
    """
    take_back(run_folder / FOLDER)
    earlier = set_aside(run_folder)
    chosen = _newest_standing(run_folder, passes_over=passes_over)
    for step, folder in reversed(earlier):
        if step <= chosen.step:
            break
        if comes_after(folder, chosen.folder) and _is_sound(folder):
            return _regained(step, folder, chosen)
    return chosen


def comes_after(aside: Path, chosen: Path | None) -> bool:
    """Whether a checkpoint that was set aside is the younger one. If not, the run has gone on from
    before it, perhaps with other settings: it belongs to a course that was given up."""
    return chosen is None or made_at(aside) > made_at(chosen)


def _newest_standing(run_folder: Path, *, passes_over: bool) -> Choice:
    notes: list[str] = []
    unreadable: SaveUnreadable | None = None
    for step, folder in reversed(published(run_folder)):
        try:
            problems = verify(folder)
        except OSError as error:
            unreadable = unreadable or SaveUnreadable(step, folder, error)
            if not passes_over:
                raise unreadable from error
            notes.append(
                f"The save of step {step} is passed over, and stays where it is: "
                f"{error.filename} cannot be read: {error.strerror or error}."
            )
            continue
        if not problems:
            return Choice(folder=folder, step=step, notes=notes)
        if is_newer(folder):
            raise NewerCheckpoint(
                f"The save of step {step} was made by a newer Fettle. Update Fettle to go on from "
                f"it; to go on from an older save instead, move {folder} away."
            )
        notes.append(f"The save of step {step} was set aside: {problems[0]}")
        _set_aside(folder)
    if unreadable:
        raise unreadable  # To begin again would not bring back what is only out of reach.
    return Choice(folder=None, notes=notes)


def _is_sound(folder: Path) -> bool:
    try:
        return not verify(folder)
    except OSError:
        return False


def _regained(step: int, folder: Path, chosen: Choice) -> Choice:
    final = folder.with_name(name_of(step))
    if final.exists():  # Passed over as unreadable; it keeps its name.
        return chosen
    rename(folder, final)
    note = f"The save of step {step}, which was set aside earlier, is sound and was taken back."
    return Choice(folder=final, step=step, notes=chosen.notes, taken_back=note)


def take_back(root: Path) -> None:
    """Undo a replacement that a crash cut in half. Raises ``OSError``."""
    for replaced in root.glob(".replaced-step-*"):
        final = root / replaced.name.removeprefix(".replaced-")
        if not final.exists():
            rename(replaced, final)


def _set_aside(folder: Path) -> None:
    number = 1
    while (aside := folder.with_name(f".broken-{folder.name}-{number}")).exists():
        number += 1
    rename(folder, aside)
