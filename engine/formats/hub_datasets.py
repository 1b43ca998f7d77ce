"""Datasets of the Hugging Face hub that are on this machine, found without its libraries.

``datasets`` keeps what it has prepared in
``<cache>/<org>___<name>/<config>/<version>/<hash>/<name>-<split>*.arrow``. Of several the newest is
taken; of its splits ``train``, or the only one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from engine import hugging_face
from engine.formats.example import DatasetError

_SPLIT = re.compile(r"-([A-Za-z_]\w*?)(?:-\d{5}-of-\d{5})?\.arrow$")
TRAIN = "train"


class NotHere(DatasetError):
    """A dataset that is on no disk of this machine, but may be on the hub."""


def cache(environ: Mapping[str, str] = os.environ) -> Path:
    """Where ``datasets`` keeps what it has prepared."""
    direct = environ.get("HF_DATASETS_CACHE")
    if direct:
        return Path(direct).expanduser()
    return hugging_face.home(environ) / "datasets"


def folder_of(id: str, environ: Mapping[str, str] = os.environ) -> Path:
    """The folder with the dataset's files. Raises :class:`NotHere`, and DatasetError if it has
    several configurations."""
    place = cache(environ)
    top = place / id.replace("/", "___")
    configs = {config.name: found for config in _folders(top) if (found := _newest(config))}
    if not configs:
        raise _not_here(id, place, environ)
    if len(configs) > 1:
        raise DatasetError(
            f"{id} has several parts in {top}: {', '.join(sorted(configs))}.",
            f"Write the path of one: {next(iter(configs.values()))}.",
        )
    return next(iter(configs.values()))


def _not_here(id: str, place: Path, environ: Mapping[str, str]) -> NotHere:
    problem = f"There is no file or folder {id}, and no dataset of that name in {place}."
    if hugging_face.is_offline("datasets", environ):
        return NotHere(
            problem, "Check the path; or let it be fetched once: unset HF_HUB_OFFLINE and "
            "HF_DATASETS_OFFLINE."
        )  # fmt: skip
    return NotHere(
        problem, f"Check the path. If it is on the hub, a run or `fettle data {id} --model M` "
        "fetches it."
    )  # fmt: skip


def _folders(place: Path) -> list[Path]:
    try:
        return sorted(path for path in place.iterdir() if path.is_dir())
    except OSError:
        return []


def _newest(config: Path) -> Path | None:
    """The version of a configuration that was prepared last, if one is whole."""
    found = [hash for version in _folders(config) for hash in _folders(version)]
    whole = [path for path in found if ".incomplete" not in path.name and any(_arrow(path))]
    return max(whole, key=lambda path: path.stat().st_mtime, default=None)


def _arrow(folder: Path) -> Iterator[Path]:
    return (path for path in folder.glob("*.arrow") if _SPLIT.search(path.name))


def files_in(folder: Path) -> list[Path]:
    """The files of its train split, or of the only one. Raises DatasetError if that is neither."""
    splits: dict[str, list[Path]] = {}
    for path in sorted(_arrow(folder)):
        found = _SPLIT.search(path.name)
        assert found
        splits.setdefault(found[1], []).append(path)
    if TRAIN in splits:
        return splits[TRAIN]
    if len(splits) == 1:
        return next(iter(splits.values()))
    raise DatasetError(
        f"{folder} has no split called train; it has {', '.join(splits)}.",
        f"Write the path of one file: {next(iter(splits.values()))[0]}.",
    )
