"""Checkpoints on disk: a folder is one only if its ``MANIFEST.json`` says so and its bytes agree.

    staging = stage(run_folder, step)          # checkpoints/.staging-200-4711
    ...write files into it...
    folder = publish(staging, step=200, fields={...})    # checkpoints/step-00000200

The manifest is written last, after every other file is on the disk; then all of it is read again
and compared, and only then the folder gets its name. So a crash at any moment leaves either a
complete checkpoint or a hidden folder that nobody chooses. Nothing here knows what the files mean.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from engine.failpoints import reach
from engine.store.files import (
    disk_sentence,
    rename,
    sync_file,
    sync_folder,
    write_all,
)
from engine.store.upgrade import StoreError

FORMAT = 1
"""Version of the manifest's shape."""
MANIFEST = "MANIFEST.json"
FOLDER = "checkpoints"

RESERVE_BYTES = 256 << 20
"""Left free by a save, on a disk of usual size."""
_RESERVED_PART = 50
"""Of a small disk, one part in so many."""

SAVING_SECONDS = 900.0
"""A process that saves is given this long on top of what it has to end."""
_NAME = re.compile(r"step-(\d{8,})")
_CHUNK = 1 << 20


class CheckpointError(Exception):
    """A checkpoint could not be written; the text is a sentence for people. Nothing was lost: the
    older checkpoints stand as they were, and saving can be tried again."""


class NoRoom(CheckpointError):
    """The disk has not the room that a checkpoint needs; nothing was written."""


class NewerCheckpoint(StoreError):
    """The newest checkpoint was made by a newer Fettle; the text is a sentence for people."""


class FileEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a checkpoint."""

    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What ``MANIFEST.json`` holds."""

    format: int
    step: int
    created_at: float
    """UNIX time, seconds."""
    files: dict[str, FileEntry]
    """By name relative to the checkpoint, with forward slashes."""
    fields: dict[str, Any] = {}
    """What the worker says of it: sample cursor, fingerprints, versions, peak memory."""
    digest: str = ""
    """sha256 of this manifest as JSON, keys sorted, with an empty ``digest``: a flipped bit in it
    shows too. This rule is the same for every format to come, so that a manifest of a newer one
    can be told from a damaged one."""

    @property
    def bytes(self) -> int:
        """Size of all files together."""
        return sum(entry.bytes for entry in self.files.values())


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


# ---------------------------------------------------------------- writing


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
        for left in [*root.glob(".staging-*"), *root.glob(".removed-*")]:
            shutil.rmtree(left, ignore_errors=True)
        if needs_bytes:
            _must_have_room(root, step, needs_bytes)
        staging.mkdir()
    except OSError as error:
        raise CheckpointError(disk_sentence(error, staging)) from error
    return staging


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
        sha256 = hashes.get(name) or _hash(path)
        files[name] = FileEntry(bytes=path.stat().st_size, sha256=sha256)
    if missing := sorted(set(hashes) - set(files)):
        raise CheckpointError(f"The disk did not keep what was written to {staging / missing[0]}.")
    manifest = Manifest(
        format=FORMAT, step=step, created_at=time.time(), files=files, fields=fields
    )
    digest = _digest(msgspec.to_builtins(manifest))
    sealed = msgspec.structs.replace(manifest, digest=digest)
    write_file(staging / MANIFEST, [msgspec.json.format(msgspec.json.encode(sealed), indent=1)])
    for folder in {(staging / name).parent for name in files} | {staging}:
        sync_folder(folder)


def _put_in_place(staging: Path, final: Path) -> Path:
    reach("save.publish")
    replaced = final.with_name(f".replaced-{final.name}")
    if final.exists():
        # A crash between the two renames leaves the old one under this name; see _take_back.
        shutil.rmtree(replaced, ignore_errors=True)
        rename(final, replaced)
    try:
        rename(staging, final)
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


def _hash(path: Path) -> str:
    reach("save.verify")
    with path.open("rb", buffering=0) as file:
        if hasattr(os, "posix_fadvise"):
            # Read what the disk has, not what the page cache remembers.
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        digest = hashlib.sha256()
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
        return digest.hexdigest()


def _digest(manifest: dict[str, Any]) -> str:
    bare = manifest | {"digest": ""}
    return hashlib.sha256(msgspec.json.encode(bare, order="sorted")).hexdigest()


# ---------------------------------------------------------------- reading


class _Newer(ValueError):
    """The manifest is sound, and of a format that this Fettle does not know."""


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a checkpoint. Raises ``ValueError`` with a sentence."""
    try:
        data = (folder / MANIFEST).read_bytes()
    except FileNotFoundError:
        raise ValueError(f"{MANIFEST} is missing.") from None
    except OSError as error:
        raise ValueError(f"{MANIFEST} cannot be read: {error.strerror}.") from None
    try:
        raw = msgspec.json.decode(data, type=dict[str, Any])
        # First the checksum: of a damaged manifest not even the format can be believed.
        if _digest(raw) != raw.get("digest"):
            raise ValueError(f"{MANIFEST} is damaged: its own checksum does not match.")
        version = msgspec.convert(raw.get("format"), int)
        if version > FORMAT:
            raise _Newer(f"It has format {version}, made by a newer Fettle; update Fettle.")
        return msgspec.convert(raw, Manifest)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ValueError(f"{MANIFEST} is damaged: {error}.") from None


def is_newer(folder: Path) -> bool:
    """Whether a newer Fettle made it. It says so itself; a damaged manifest says nothing."""
    try:
        read_manifest(folder)
    except _Newer:
        return True
    except ValueError:
        return False
    return False


def verify(folder: Path) -> list[str]:
    """Everything wrong with a checkpoint, a sentence each; empty if every byte is as written."""
    return _check(folder, _check_file)


def verify_sizes(folder: Path) -> list[str]:
    """As :func:`verify`, but of the files only whether they are there in their size: for what was
    verified a short while ago."""
    return _check(folder, _check_size)


def _check(folder: Path, look: Callable[[Path, str, FileEntry], Iterator[str]]) -> list[str]:
    try:
        manifest = read_manifest(folder)
    except ValueError as error:
        return [str(error)]
    return [
        problem for name, entry in manifest.files.items() for problem in look(folder, name, entry)
    ]


def _check_file(folder: Path, name: str, entry: FileEntry) -> Iterator[str]:
    problem = next(_check_size(folder, name, entry), None)
    try:
        if problem is not None:
            yield problem
        elif _hash(folder / name) != entry.sha256:
            yield f"{name} has changed since it was saved."
    except OSError as error:
        yield f"{name} cannot be read: {error.strerror}."


def _check_size(folder: Path, name: str, entry: FileEntry) -> Iterator[str]:
    path = folder / name
    if Path(name).is_absolute() or ".." in Path(name).parts or path.is_symlink():
        yield f"{name} lies outside the checkpoint."
        return
    try:
        size = path.stat().st_size
        if size != entry.bytes:
            yield f"{name} has {size} bytes instead of {entry.bytes}."
    except FileNotFoundError:
        yield f"{name} is missing."
    except OSError as error:
        yield f"{name} cannot be read: {error.strerror}."


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
