"""Looking over all saves of a run: which are sound, which are damaged and by what, which were never
finished. Changes nothing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import msgspec

from engine.store.checkpoints import FOLDER, MANIFEST, is_newer, published, read_manifest, verify

Verdict = Literal["sound", "damaged", "unfinished", "newer"]
_UNFINISHED = re.compile(r"\.staging-(\d+)-\d+")
_SET_ASIDE = re.compile(r"\.broken-step-(\d+)-\d+")


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


def check_saves(run_folder: Path) -> list[SaveChecked]:
    """Every save of a run, oldest step first; every byte of it is read."""
    found = [_check(step, folder) for step, folder in published(run_folder)]
    found = [each for each in found if (run_folder / each.folder).is_dir()]
    return sorted([*found, *_hidden(run_folder / FOLDER)], key=lambda each: each.step)


def _check(step: int, folder: Path) -> SaveChecked:
    problems = verify(folder)
    verdict: Verdict = "sound"
    if problems:
        verdict = "newer" if is_newer(folder) else "damaged"
        if not (folder / MANIFEST).exists():
            verdict = "unfinished"
    return SaveChecked(
        step=step, folder=_name(folder), verdict=verdict, problems=problems, bytes=_bytes(folder)
    )


def _hidden(root: Path) -> list[SaveChecked]:
    found = []
    for folder in root.iterdir() if root.is_dir() else ():
        if match := _UNFINISHED.fullmatch(folder.name):
            problem = "It was never finished: a crash, or it is being written just now."
            found.append(
                SaveChecked(step=int(match[1]), folder=_name(folder), verdict="unfinished",
                            problems=[problem])
            )  # fmt: skip
        elif match := _SET_ASIDE.fullmatch(folder.name):
            aside = _check(int(match[1]), folder)
            found.append(msgspec.structs.replace(aside, is_set_aside=True))
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


def in_words(saves: list[SaveChecked]) -> str:
    """What was found, and what it means for a resume."""
    there = standing(saves)
    bad = [each for each in there if each.verdict in ("damaged", "unfinished")]
    sound = [each.step for each in there if each.verdict == "sound"]
    if not there:
        return "There is no save yet."
    if not bad:
        counted = "1 save was" if len(there) == 1 else f"{len(there)} saves were"
        return f"{counted} read byte by byte: all sound. {_way_on(sound)}"
    told = [f"The save of step {each.step} is {each.verdict}: {each.problems[0]}" for each in bad]
    return " ".join([*told, _way_on(sound)])


def _way_on(sound: list[int]) -> str:
    if not sound:
        return "None is sound: a resume would begin again."
    return f"Resume goes on from step {max(sound)}."
