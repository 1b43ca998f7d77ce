"""Writing a checkpoint, so that a crash at any moment leaves a whole one or none.

    staging = stage(run_folder, step)          # checkpoints/.staging-200-4711
    ...write files into it...
    folder = publish(staging, step=200, fields={...})    # checkpoints/step-00000200

The manifest is written last, after every other file is on the disk; then all of it is read again
and compared, and only then the folder gets its name. So a crash at any moment leaves either a
complete checkpoint or a hidden folder that nobody chooses.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from engine.failpoints import reach
from engine.store.checkpoints import FOLDER, name_of, take_back
from engine.store.files import (
    HELD_SECONDS,
    disk_sentence,
    rename,
    sync_file,
    sync_folder,
    write_all,
)
from engine.store.manifest import FORMAT, MANIFEST, FileEntry, Manifest, digest_of, hash_of, verify

RESERVE_BYTES = 256 << 20
"""Left free by a save, on a disk of usual size."""
_RESERVED_PART = 50
"""Of a small disk, one part in so many."""

SAVING_SECONDS = 900.0
"""A process that saves is given this long on top of what it has to end."""


class CheckpointError(Exception):
    """A checkpoint could not be written; the text is a sentence for people. Nothing was lost: the
    older checkpoints stand as they were, and saving can be tried again."""


class NoRoom(CheckpointError):
    """The disk has not the room that a checkpoint needs; nothing was written."""


def stage(run_folder: Path, step: int, *, needs_bytes: int = 0) -> Path:
    """An empty hidden folder to write a checkpoint into; leftovers of earlier crashes are removed.

    Raises :class:`NoRoom` if the disk has not ``needs_bytes`` free beyond a reserve for the run's
    records and other programs, and :class:`CheckpointError` if it cannot be written.
    """
    root = run_folder / FOLDER
    staging = root / f".staging-{step}-{os.getpid()}"
    try:
        reach("save.stage")
        root.mkdir(parents=True, exist_ok=True)
        _clear(root)
        if needs_bytes:
            _must_have_room(root, step, needs_bytes)
        staging.mkdir()
    except OSError as error:
        raise CheckpointError(disk_sentence(error, staging)) from error
    return staging


def _clear(root: Path) -> None:
    with contextlib.suppress(OSError):  # What is left then is not needed by this save.
        take_back(root)
    replaced = [each for each in root.glob(".replaced-step-*") if _in_place_of(each).exists()]
    for left in [*root.glob(".staging-*"), *root.glob(".removed-*"), *replaced]:
        shutil.rmtree(left, ignore_errors=True)


def _in_place_of(replaced: Path) -> Path:
    return replaced.with_name(replaced.name.removeprefix(".replaced-"))


def _must_have_room(root: Path, step: int, needs_bytes: int) -> None:
    usage = shutil.disk_usage(root)
    reserve = min(RESERVE_BYTES, usage.total // _RESERVED_PART)
    lacking = needs_bytes + reserve - usage.free
    if lacking > 0:
        raise NoRoom(
            f"Saving step {step} needs {_size(needs_bytes)}, and {_size(reserve)} stay free for "
            f"the run's records, but the disk with {root} has {_size(usage.free)} free. Free "
            f"{_size(lacking)} there or more."
        )


def _size(count: int) -> str:
    return f"{count / 2**30:.2f} GiB" if count >= 1 << 28 else f"{count / 2**20:.1f} MiB"


def is_saving(run_folder: Path, pid: int) -> bool:
    """Whether that process writes a checkpoint, or reads back what it wrote: for large states that
    takes minutes."""
    return any((run_folder / FOLDER).glob(f".staging-*-{pid}"))


def discard(staging: Path) -> None:
    """Remove a staged folder that will not be published: its bytes may be what the disk lacks."""
    shutil.rmtree(staging, ignore_errors=True)


def write_file(path: Path, chunks: Iterable[bytes | memoryview]) -> str:
    """Write a file to the disk for good; gives the sha256 of what was *meant* to be written.

    Hand that to :func:`publish`, so that a disk that swallows bytes is found out. Raises
    :class:`CheckpointError`.
    """
    digest = hashlib.sha256()
    try:
        with path.open("xb", buffering=0) as file:
            for chunk in chunks:
                reach("save.write")
                digest.update(chunk)
                write_all(file.fileno(), chunk)
            reach("save.sync")
            os.fsync(file.fileno())
    except OSError as error:
        raise CheckpointError(disk_sentence(error, path)) from error
    return digest.hexdigest()


def publish(
    staging: Path,
    *,
    step: int,
    fields: dict[str, Any],
    hashes: Mapping[str, str] | None = None,
) -> Path:
    """Turn a staged folder into the checkpoint of ``step``; gives its final path.

    ``hashes`` are what :func:`write_file` gave, by file name; those files must match. Files that it
    does not name are read once more, to learn theirs. An older checkpoint of the same step is
    replaced. Raises :class:`CheckpointError`, and then the staged folder is gone and everything
    else is as it was.
    """
    try:
        reach("save.seal")
        _seal(staging, step, fields, hashes or {})
        problems = verify(staging)
        if problems:
            raise CheckpointError(
                f"The disk did not keep what was written of step {step}: {problems[0]}"
            )
        return _put_in_place(staging, staging.parent / name_of(step))
    except OSError as error:
        raise CheckpointError(disk_sentence(error, staging)) from error
    finally:
        discard(staging)


def _seal(staging: Path, step: int, fields: dict[str, Any], hashes: Mapping[str, str]) -> None:
    """Force every file to the disk, then write the manifest."""
    files = {}
    for name in _files_below(staging):
        path = staging / name
        sync_file(path)
        # Whether a given hash holds is seen when all is verified: nothing is read twice.
        sha256 = hashes.get(name) or hash_of(path)
        files[name] = FileEntry(bytes=path.stat().st_size, sha256=sha256)
    if missing := sorted(set(hashes) - set(files)):
        raise CheckpointError(f"The disk did not keep what was written to {staging / missing[0]}.")
    manifest = Manifest(
        format=FORMAT, step=step, created_at=time.time(), files=files, fields=fields
    )
    digest = digest_of(msgspec.to_builtins(manifest))
    sealed = msgspec.structs.replace(manifest, digest=digest)
    write_file(staging / MANIFEST, [msgspec.json.format(msgspec.json.encode(sealed), indent=1)])
    for folder in {(staging / name).parent for name in files} | {staging}:
        sync_folder(folder)


def _put_in_place(staging: Path, final: Path) -> Path:
    reach("save.publish")
    replaced = final.with_name(f".replaced-{final.name}")
    if final.exists():
        # A crash between the two renames leaves the old one under this name; see take_back.
        shutil.rmtree(replaced, ignore_errors=True)
        rename(final, replaced, patience_s=HELD_SECONDS)
    try:
        rename(staging, final, patience_s=HELD_SECONDS)
    except OSError:
        with contextlib.suppress(OSError):  # Else the next resume takes it back.
            rename(replaced, final)
        raise
    sync_folder(final.parent)
    sync_folder(final.parent.parent)
    reach("save.published")
    shutil.rmtree(replaced, ignore_errors=True)
    return final


def _files_below(folder: Path) -> list[str]:
    found = (p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    return sorted(name for name in found if name != MANIFEST)
