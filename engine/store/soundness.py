"""Looking over all saves of a run: which are sound, which are damaged and by what, which were never
finished. Changes nothing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import msgspec

from engine.store.checkpoints import FOLDER, Choice, published, set_aside
from engine.store.manifest import MANIFEST, is_newer, made_at, read_manifest, verify

Verdict = Literal["sound", "damaged", "unreadable", "unfinished", "newer"]
"""``unreadable``: the disk does not let it be known."""
_UNFINISHED = re.compile(r"\.staging-(\d+)-\d+")
_FINISHED = "The run is finished: its result lies apart from its saves, and no resume needs them."


class SaveChecked(msgspec.Struct, frozen=True, kw_only=True):
    """One folder below ``checkpoints``."""

    step: int
    folder: str
    """Relative to the run folder, with forward slashes."""
    verdict: Verdict
    problems: list[str] = []
    """Everything wrong with it, a sentence each, naming the file."""
    bytes: int = 0
    """By its manifest; 0 where that cannot be read."""
    is_set_aside: bool = False
    """An earlier resume found it damaged, and passed it over."""
    created_at: float = 0.0
    """UNIX time in seconds, by its manifest; 0 where that cannot be read."""


def check_saves(run_folder: Path) -> list[SaveChecked]:
    """Every save of a run, oldest step first; every byte of it is read."""
    found = [_check(step, folder) for step, folder in published(run_folder)]
    found = [each for each in found if (run_folder / each.folder).is_dir()]
    for step, folder in set_aside(run_folder):
        found.append(msgspec.structs.replace(_check(step, folder), is_set_aside=True))
    return sorted([*found, *_unfinished(run_folder / FOLDER)], key=lambda each: each.step)


def _check(step: int, folder: Path) -> SaveChecked:
    verdict: Verdict = "sound"
    try:
        problems = verify(folder)
    except OSError as error:
        verdict, problems = "unreadable", [f"{error.filename}: {error.strerror or error}."]
    if problems and verdict == "sound":
        verdict = "newer" if is_newer(folder) else "damaged"
        if not (folder / MANIFEST).exists():
            verdict = "unfinished"
    return SaveChecked(
        step=step, folder=_name(folder), verdict=verdict, problems=problems, bytes=_bytes(folder),
        created_at=made_at(folder),
    )  # fmt: skip


def _unfinished(root: Path) -> list[SaveChecked]:
    found = []
    for folder in root.iterdir() if root.is_dir() else ():
        if match := _UNFINISHED.fullmatch(folder.name):
            problem = "It was never finished: a crash, or it is being written just now."
            found.append(
                SaveChecked(step=int(match[1]), folder=_name(folder), verdict="unfinished",
                            problems=[problem])
            )  # fmt: skip
    return found


def _name(folder: Path) -> str:
    return f"{FOLDER}/{folder.name}"


def _bytes(folder: Path) -> int:
    try:
        return read_manifest(folder).bytes
    except ValueError:
        return 0


def standing(saves: list[SaveChecked]) -> list[SaveChecked]:
    """Those that a resume would look at."""
    return [each for each in saves if not Path(each.folder).name.startswith(".")]


def is_well(saves: list[SaveChecked]) -> bool:
    """Whether nothing that a resume would look at is damaged."""
    return all(each.verdict in ("sound", "newer") for each in standing(saves))


def in_words(saves: list[SaveChecked], *, is_finished: bool = False) -> str:
    """What was found, and what it means for a resume; a run that ``is_finished`` has none."""
    there = standing(saves)
    bad = [each for each in there if each.verdict in ("damaged", "unreadable", "unfinished")]
    regained = _regained(saves)
    aside = [each for each in saves if each.is_set_aside]
    if not there and not aside:
        return "There is no save." if is_finished else "There is no save yet."
    told = [f"The save of step {each.step} is {each.verdict}: {each.problems[0]}" for each in bad]
    told += [_aside(each, is_taken_back=each is regained) for each in aside]
    if not bad and there:
        told.insert(0, _all_sound(len(there), is_rest=bool(aside)))
    return " ".join([*told, _FINISHED if is_finished else _way_on(resumes_from(saves))])


def resumes_from(saves: list[SaveChecked]) -> int | None:
    """Step of the save that a resume goes on from; 0: from the start; None: it has to wait until
    a newer save can be read."""
    sound = _newest_sound(saves)
    waits = [each.step for each in standing(saves) if each.verdict == "unreadable"]
    if any(step > (sound.step if sound else -1) for step in waits):
        return None
    found = _regained(saves) or sound
    return found.step if found else 0


def _newest_sound(saves: list[SaveChecked]) -> SaveChecked | None:
    sound = [each for each in standing(saves) if each.verdict == "sound"]
    return max(sound, key=lambda each: each.step, default=None)


def _regained(saves: list[SaveChecked]) -> SaveChecked | None:
    """What the next resume takes back of what was set aside; see :func:`newest_verified`."""
    known = _newest_sound(saves)
    step, made = (known.step, known.created_at) if known else (0, 0.0)
    found = [
        each for each in saves
        if each.is_set_aside and each.verdict == "sound"
        and each.step > step and each.created_at > made
    ]  # fmt: skip
    return max(found, key=lambda each: each.step, default=None)


def _all_sound(number: int, *, is_rest: bool) -> str:
    counted = "1 save was" if number == 1 else f"{number} saves were"
    return f"{counted} read byte by byte: {'these are' if is_rest else 'all'} sound."


def _aside(save: SaveChecked, *, is_taken_back: bool) -> str:
    told = f"The save of step {save.step} was set aside by an earlier resume"
    if save.verdict != "sound":
        return f"{told}: {save.problems[0]}"
    if is_taken_back:
        return f"{told}, and is sound now: the next one takes it back."
    return f"{told}, and is sound now; the run has newer ones."


def _way_on(step: int | None) -> str:
    """Where a resume goes on: from the save of ``step``, or without one (0) from the start."""
    if step is None:
        return "A resume waits until the disk lets it be read: look after that disk."
    if not step:
        return "None is sound: a resume would begin again."
    return f"Resume goes on from step {step}."


def passed_over(chosen: Choice, reached: int) -> str:
    """Why a run that had ``reached`` a step goes on from so far back, or from a save that had been
    set aside, in words; empty if all was well."""
    if not chosen.notes:
        return chosen.taken_back
    again = max(reached - chosen.step, 0)
    steps = "1 step is" if again == 1 else f"{again} steps are"
    where = f"from step {chosen.step}" if chosen.folder else "from the start: no save is sound"
    cost = f"; {steps} done again" if again else ""
    notes = [*chosen.notes, chosen.taken_back] if chosen.taken_back else chosen.notes
    return " ".join([*notes, f"It goes on {where}{cost}."])
