"""What makes a folder a checkpoint: a ``MANIFEST.json`` that says what is in it, and files whose
bytes agree with it. Nothing here knows what the files mean.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from engine.failpoints import reach
from engine.store.files import read_patiently

FORMAT = 1
"""Version of the manifest's shape."""
MANIFEST = "MANIFEST.json"

_CHUNK = 1 << 20
T = TypeVar("T")


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


class _Newer(ValueError):
    """The manifest is sound, and of a format that this Fettle does not know."""


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a checkpoint. Raises ``ValueError`` with a sentence."""
    try:
        return _read_manifest(folder)
    except OSError as error:
        raise ValueError(f"{MANIFEST} cannot be read: {error.strerror}.") from None


def _read_manifest(folder: Path) -> Manifest:
    """As :func:`read_manifest`, but a disk that does not give it is an ``OSError``."""
    try:
        data = (folder / MANIFEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(f"{MANIFEST} is missing.") from None
    except IsADirectoryError:
        raise ValueError(f"{MANIFEST} is not a file.") from None
    try:
        raw = msgspec.json.decode(data, type=dict[str, Any])
        # First the checksum: of a damaged manifest not even the format can be believed.
        if digest_of(raw) != raw.get("digest"):
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


def made_at(folder: Path) -> float:
    """When a checkpoint was made, UNIX time in seconds; 0 where its manifest does not say."""
    try:
        return read_manifest(folder).created_at
    except ValueError:
        return 0.0


def verify(folder: Path) -> list[str]:
    """Everything wrong with a checkpoint, a sentence each; empty if every byte is as written.

    Raises ``OSError``, with the file, where the disk does not let it be known: that says nothing
    of the checkpoint. Tried again for a moment first.
    """
    return _check(folder, _check_file)


def verify_sizes(folder: Path) -> list[str]:
    """As :func:`verify`, but of the files only whether they are there in their size: for what was
    verified a short while ago."""
    return _check(folder, _check_size)


def _check(folder: Path, look: Callable[[Path, str, FileEntry], Iterator[str]]) -> list[str]:
    try:
        manifest = _reading(folder / MANIFEST, lambda: _read_manifest(folder))
    except ValueError as error:
        return [str(error)]
    return [
        problem for name, entry in manifest.files.items() for problem in look(folder, name, entry)
    ]


def _check_file(folder: Path, name: str, entry: FileEntry) -> Iterator[str]:
    problem = next(_check_size(folder, name, entry), None)
    if problem is not None:
        yield problem
        return
    path = folder / name
    try:
        if _reading(path, lambda: hash_of(path)) != entry.sha256:
            yield f"{name} has changed since it was saved."
    except FileNotFoundError:
        yield f"{name} is missing."


def _check_size(folder: Path, name: str, entry: FileEntry) -> Iterator[str]:
    path = folder / name
    if Path(name).is_absolute() or ".." in Path(name).parts or path.is_symlink():
        yield f"{name} lies outside the checkpoint."
        return
    try:
        found = _reading(path, path.stat)
    except (FileNotFoundError, NotADirectoryError):
        yield f"{name} is missing."
        return
    if not stat.S_ISREG(found.st_mode):
        yield f"{name} is not a file."
    elif found.st_size != entry.bytes:
        yield f"{name} has {found.st_size} bytes instead of {entry.bytes}."


def _reading(path: Path, read: Callable[[], T]) -> T:
    """What ``read`` gives of the file. Raises ``OSError`` that names it."""
    try:
        return read_patiently(read)
    except OSError as error:
        # An error while reading, other than one while opening, does not say of what file.
        error.filename = error.filename or str(path)
        raise


def hash_of(path: Path) -> str:
    """sha256 of what the disk holds of a file."""
    reach("save.verify")
    with path.open("rb", buffering=0) as file:
        if hasattr(os, "posix_fadvise"):
            # Read what the disk has, not what the page cache remembers.
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        digest = hashlib.sha256()
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
        return digest.hexdigest()


def digest_of(manifest: dict[str, Any]) -> str:
    """What a manifest, as JSON would have it, has to say in its ``digest``."""
    bare = manifest | {"digest": ""}
    return hashlib.sha256(msgspec.json.encode(bare, order="sorted")).hexdigest()
