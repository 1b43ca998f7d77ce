"""What tells the data of one time from that of another."""

from __future__ import annotations

import hashlib
from pathlib import Path

from engine.formats import source as sources
from engine.formats.gather import Gathered, gather
from engine.formats.source import Source

_HASH_WHOLE_BYTES = 1 << 30
_HASH_BLOCK = 4 << 20
_HASH_BLOCKS = 64


def fingerprint(path: str | Path) -> str:
    """Two paths with the same fingerprint hold the same data. Raises DatasetError.

    ``sha256:…`` over all bytes up to 1 GiB; of larger files ``sampled-sha256:…`` over the size and
    64 evenly spread blocks of 4 MiB, so that a resume does not wait for the disk. Of several files
    it goes over their names and the fingerprint of each.
    """
    return fingerprint_of(gather(path))


def fingerprint_of(gathered: Gathered) -> str:
    """The same of files that have been found."""
    prints = [_of_file(source) for source in gathered.files]
    if gathered.is_one:
        return prints[0]
    kind = "sampled-sha256" if any(p.startswith("sampled-") for p in prints) else "sha256"
    digest = hashlib.sha256()
    for source, found in zip(gathered.files, prints, strict=True):
        digest.update(f"{source.name}\0{found}\0".encode())
    return f"{kind}:{digest.hexdigest()}"


def _of_file(source: Source) -> str:
    try:
        if source.bytes <= _HASH_WHOLE_BYTES:
            with source.path.open("rb") as file:
                return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        return f"sampled-sha256:{_sampled(source)}"
    except OSError as error:
        raise sources.unreadable(source.path, error) from None


def _sampled(source: Source) -> str:
    digest = hashlib.sha256(str(source.bytes).encode())
    last = source.bytes - _HASH_BLOCK
    with source.path.open("rb") as file:
        for index in range(_HASH_BLOCKS):
            file.seek(last * index // (_HASH_BLOCKS - 1))
            digest.update(file.read(_HASH_BLOCK))
    return digest.hexdigest()
