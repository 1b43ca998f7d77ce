"""Run folders: made whole or not at all, found by name, removed.

A run's id is its folder's name, ``20261122-221503-support-bot``: local time and the name in plain
letters.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import unicodedata
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from engine.store.files import disk_sentence, hide_tree, rename, sync_folder, write_atomic
from engine.store.upgrade import RUN_FORMAT, RUN_STEPS, NotWhole, StoreError, read_versioned

log = logging.getLogger(__name__)

RUN_FILE = "run.json"
COPY = "run.json.copy"
"""The same as it was made: should a disk damage the one, there is the other."""
WORKER_LOG = "worker.log"
OUTPUT = "output"
"""The folder of what a finished run has made."""
STACKS = ".stacks"
"""Where a worker leaves its stacks when the host asks for them."""
ORPHAN = "orphan.jsonl"
"""What a worker leaves whose host is gone."""

_SLUG_LENGTH = 40
_MOST_NAMED = 6
_STAMP_LENGTH = len("20261122-221503-")


class RunFile(msgspec.Struct, frozen=True, kw_only=True):
    """What ``run.json`` holds; written once."""

    format: int = RUN_FORMAT
    run: str
    name: str
    spec: dict[str, Any]
    created_at: float
    """UNIX time, seconds."""
    versions: dict[str, str] = {}
    """Package name to version, as installed when the run was made."""
    plan: dict[str, Any] = {}
    """What was foretold of it, see :class:`engine.planning.learnt.Expected`; empty if nothing."""


def slug(name: str) -> str:
    """The name in letters that are safe in every file system and shell."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode("ascii")
    words = re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")
    return words[:_SLUG_LENGTH].rstrip("-") or "run"


def create(
    store: Path,
    *,
    name: str,
    spec: dict[str, Any],
    versions: dict[str, str],
    now: datetime,
    plan: dict[str, Any] | None = None,
) -> Path:
    """Make a run folder with its ``run.json``. ``now`` must know its time zone.

    It is filled under a hidden name first, so that a crash leaves no half run. Raises
    :class:`StoreError`.
    """
    stem = f"{now:%Y%m%d-%H%M%S}-{slug(name)}"
    hidden = store / f".new-{os.getpid()}-{stem}"
    try:
        hidden.mkdir(parents=True)
        final = _free_name(store, stem)
        content = RunFile(
            run=final.name, name=name, spec=spec, created_at=now.timestamp(), versions=versions,
            plan=plan or {},
        )  # fmt: skip
        text = msgspec.json.format(msgspec.json.encode(content), indent=1)
        for file in (RUN_FILE, COPY):
            write_atomic(hidden / file, text)
        rename(hidden, final)
        sync_folder(store)
    except OSError as error:
        shutil.rmtree(hidden, ignore_errors=True)
        raise StoreError(disk_sentence(error, store)) from error
    return final


def _free_name(store: Path, stem: str) -> Path:
    final, number = store / stem, 1
    while final.exists():
        number += 1
        final = store / f"{stem}-{number}"
    return final


def read_run(folder: Path) -> RunFile:
    """The ``run.json`` of a run, of whatever older version; should it be damaged, its copy, which
    takes its place. Raises :class:`StoreError`."""
    path = folder / RUN_FILE
    try:
        return _read(path)
    except NotWhole as error:
        copy = folder / COPY
        try:
            found = _read(copy)
            write_atomic(path, copy.read_bytes())
        except (StoreError, OSError):
            saves = folder / "checkpoints"
            raise StoreError(
                f"{error} Put back a good copy of it. The saves in {saves} are not touched by that."
            ) from None
        log.warning("%s It was put back from its copy", error)
        return found


def _read(path: Path) -> RunFile:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}.") from None
    raw = read_versioned(data, str(path), RUN_FORMAT, RUN_STEPS)
    try:
        return msgspec.convert(raw, RunFile)
    except msgspec.ValidationError as error:
        raise NotWhole(f"{path} is damaged: {error}.") from None


def folders(store: Path) -> list[Path]:
    """All run folders, oldest name first; leftovers of crashes are removed on the way."""
    if not store.is_dir():
        return []
    found = []
    for entry in sorted(store.iterdir()):
        if entry.name.startswith((".new-", ".removed-")):
            shutil.rmtree(entry, ignore_errors=True)
        elif not entry.name.startswith(".") and (entry / RUN_FILE).is_file():
            found.append(entry)
    return found


def remove(folder: Path) -> None:
    """Delete a run folder. Raises :class:`StoreError`; the run is gone or whole, never half."""
    delete_hidden(hide(folder))


def hide(folder: Path) -> Path:
    """The quick half of :func:`remove`: the run is gone; gives what :func:`delete_hidden` deletes.

    :func:`folders` deletes it too, if that does not come any more. Raises :class:`StoreError`.
    """
    try:
        return hide_tree(folder)
    except OSError as error:
        raise StoreError(f"{folder} cannot be deleted: {error.strerror}.") from error


def delete_hidden(hidden: Path) -> None:
    """The slow half of :func:`remove`; what cannot be deleted stays for the next time."""
    shutil.rmtree(hidden, ignore_errors=True)


def resolve(text: str, names: Sequence[str], store: Path) -> str:
    """The run that a person means by ``text``; ``names`` are all runs, newest first.

    A folder, its name, ``last``, or a prefix, of the whole name or of the part behind the time,
    that only one run has; who writes that part in full, as it is or as it was called
    when it was made, means no longer name. Raises :class:`StoreError` that names the candidates.
    """
    if not names:
        raise StoreError("There are no runs yet.")
    if text == "last":
        return names[0]
    wanted = _name_in_store(text, store)
    if wanted in names:
        return wanted
    whole = {wanted, slug(wanted)}
    fitting = [n for n in names if wanted and n[_STAMP_LENGTH:] in whole]
    fitting = fitting or [n for n in names if wanted and n.startswith(wanted)]
    fitting = fitting or [n for n in names if wanted and n[_STAMP_LENGTH:].startswith(wanted)]
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        raise StoreError(f"There is no run {text!r}. The newest is {names[0]}.")
    listed = ", ".join(fitting[:_MOST_NAMED]) + (" …" if len(fitting) > _MOST_NAMED else "")
    raise StoreError(f"{text!r} fits {len(fitting)} runs: {listed}. Write more of the name.")


def _name_in_store(text: str, store: Path) -> str:
    """The last part of a path below the store; any other text without a slash at its end."""
    try:
        path = Path(text).expanduser()
        if len(path.parts) > 1 and path.resolve().parent == store.resolve():
            return path.name
    except (OSError, ValueError, RuntimeError):
        # No file can have that name, or it is in the home of ~somebody who is not known here.
        return text
    return text.rstrip("/\\")
