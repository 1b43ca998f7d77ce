"""The Hugging Face cache on disk, read without huggingface_hub.

Layout: ``models--<org>--<name>/refs/<revision>`` holds a commit, ``snapshots/<commit>/`` its files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from engine import hugging_face
from engine.contract.hub_id import is_hub_id

__all__ = [
    "folder",
    "is_hub_id",
    "main_snapshot",
    "repositories",
    "repository",
    "snapshots",
]


def folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the hub's files are kept: HF_HUB_CACHE, else below HF_HOME, else the user's cache."""
    direct = environ.get("HF_HUB_CACHE") or environ.get("HUGGINGFACE_HUB_CACHE")
    if direct:
        return Path(direct).expanduser()
    return hugging_face.home(environ) / "hub"


def repositories(cache: Path) -> Iterator[tuple[str, Path]]:
    """Hub id and folder of every model in the cache."""
    try:
        found = sorted(cache.iterdir())
    except OSError:
        return
    for place in found:
        parts = place.name.split("--")
        if parts[0] == "models" and len(parts) >= 2:
            yield "/".join(parts[1:]), place


def repository(cache: Path, id: str) -> Path:
    """The folder of a model in the cache; it may not exist."""
    return cache / ("models--" + id.replace("/", "--"))


def main_snapshot(place: Path, revision: str = "main") -> Path | None:
    """The snapshot that a revision (branch, tag or commit) stands for; None if it is not here."""
    try:
        commit = (place / "refs" / revision).read_text("ascii").strip()
    except (OSError, ValueError):
        commit = revision
    snapshot = place / "snapshots" / commit
    return snapshot if commit and snapshot.is_dir() else None


def snapshots(place: Path) -> list[Path]:
    """All snapshots of a model, newest first."""
    try:
        found = [path for path in (place / "snapshots").iterdir() if path.is_dir()]
    except OSError:
        return []
    return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)
