"""Which files a dataset's path stands for: one, those in a folder, or those that a pattern names.

Files of a dataset are all of one kind and go by name. What lies beside data by custom, such as a
README or the notes that ``datasets`` keeps, is no data.
"""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import msgspec

from engine.contract.hub_id import is_address, is_dataset_id
from engine.formats import hub_datasets
from engine.formats import source as sources
from engine.formats.example import DatasetError
from engine.formats.source import KINDS, Kind, Source
from engine.formats.unpack import PACKED

MAX_FILES = 100_000
_NOTES = re.compile(
    r"(readme|licen[cs]e|changelog|contributing|notice|citation|authors|requirements)\b", re.I
)
_OF_DATASETS = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")
_PATTERN = re.compile(r"[*?\[]")
_WORDS: dict[Kind, str] = {
    "json": "JSON", "csv": "CSV", "parquet": "Parquet", "arrow": "Arrow", "text": "text",
}  # fmt: skip
_HUB_PAGE = re.compile(r"https?://(?:www\.)?huggingface\.co/datasets/([^/]+/[^/?#]+)", re.I)


class Gathered(msgspec.Struct, frozen=True, kw_only=True):
    """The files of a dataset, at least one."""

    name: str
    """What people know the whole by."""
    files: tuple[Source, ...]
    is_one: bool
    """Whether the path is that of a file."""

    @property
    def bytes(self) -> int:
        """On the disk."""
        return sum(file.bytes for file in self.files)


def gather(path: str | Path) -> Gathered:
    """What the path stands for. Raises DatasetError if that is nothing, or files of several
    kinds."""
    text = str(path)
    if is_address(text):
        raise _no_address(text)
    if is_dataset_id(text):
        # What a relative path means has been settled by whoever knew the folder.
        snapshot = hub_datasets.folder_of(text)
        return _of(text, snapshot, hub_datasets.files_in(snapshot))
    place = sources.expanded(path)
    if _is_folder(place):
        return _of(place.name or str(place), place, _in_folder(place))
    if _PATTERN.search(text) and not _exists(place):
        return _of(place.name, _steady(place), _matching(place))
    file = sources.find(place)
    return Gathered(name=file.name, files=(file,), is_one=True)


def _of(name: str, base: Path, found: Iterable[Path]) -> Gathered:
    paths = _data_of(list(found), name, base)
    if len(paths) > MAX_FILES:
        raise DatasetError(
            f"{name} stands for more than {MAX_FILES} files.", "Join them into fewer files."
        )
    files = [
        msgspec.structs.replace(sources.find(path), label=_label(path, base)) for path in paths
    ]
    return Gathered(name=name, files=tuple(files), is_one=False)


def _label(path: Path, base: Path) -> str:
    try:
        return path.relative_to(base).as_posix()
    except ValueError:
        return path.name


# ---------------------------------------------------------------- where to look


def _is_folder(place: Path) -> bool:
    return os.path.isdir(place)  # noqa: PTH112  (Path raises for names that no file can have)


def _exists(place: Path) -> bool:
    return os.path.lexists(place)


def _in_folder(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.is_file()]
    except OSError as error:
        raise sources.unreadable(folder, error) from None


def _steady(pattern: Path) -> Path:
    """The folder that a pattern looks in: its parts before the first with a wildcard."""
    parts = pattern.parts
    first = next(n for n, part in enumerate(parts) if _PATTERN.search(part))
    return Path(*parts[:first]) if first else Path()


def _matching(pattern: Path) -> Iterable[Path]:
    try:
        found = glob.iglob(str(pattern), recursive=True)  # noqa: PTH207  (Path.glob wants a base)
        paths = [path for path in map(Path, dict.fromkeys(found)) if path.is_file()]
    except (OSError, ValueError, re.error) as error:
        problem = f"The pattern {pattern.name[:80]!r} cannot be read: {error}."
        raise DatasetError(problem, "Write one such as data/*.jsonl.") from None
    if not paths:
        raise DatasetError(
            f"No file matches {pattern}.", "Check the pattern; ** goes into folders below."
        )
    return paths


# ---------------------------------------------------------------- which of them are data


def kind_of(path: Path) -> Kind | None:
    """What kind of rows a file's name promises; None if it is no data by its name."""
    bare = path.with_suffix("") if path.suffix.lower() in PACKED else path
    return KINDS.get(bare.suffix.lower())


def _data_of(paths: list[Path], name: str, base: Path) -> list[Path]:
    open_ones = [path for path in paths if not path.name.startswith((".", "_"))]
    data = sorted(
        (path for path in open_ones if kind_of(path) is not None),
        key=lambda path: _label(path, base),
    )
    data = _without_notes(data)
    kinds = Counter(kind for path in data if (kind := kind_of(path)))
    if not kinds:
        raise _nothing(name, base)
    if len(kinds) > 1:
        listed = " and ".join(f"{n} {_WORDS[kind]}" for kind, n in sorted(kinds.items()))
        first = data[0].suffix
        raise DatasetError(
            f"{name} has files of several kinds: {listed}.",
            f'Say which are meant, such as path = "{base.as_posix()}/*{first}".',
        )
    return data


def _without_notes(data: list[Path]) -> list[Path]:
    """What is left if notes about the data are taken out; all of it if there is nothing else."""
    rows = [path for path in data if path.name not in _OF_DATASETS]
    if any(kind_of(path) != "text" for path in rows):
        rows = [p for p in rows if not (kind_of(p) == "text" and _NOTES.match(p.name))]
    return rows or data


def _nothing(name: str, base: Path) -> DatasetError:
    problem = f"{name} has no file that can be read as data."
    try:
        deeper = next((p for p in base.glob("*/*") if p.is_file() and kind_of(p)), None)
    except OSError:
        deeper = None
    if deeper is not None:
        return DatasetError(
            problem, f'Files in its folders: write path = "{base.as_posix()}/**/*{deeper.suffix}".'
        )
    return DatasetError(problem, f"Choose one with files that end in {', '.join(KINDS)}.")


def _no_address(text: str) -> DatasetError:
    page = _HUB_PAGE.match(text)
    if page and is_dataset_id(page[1]):
        return DatasetError(
            f"{text[:200]} is an address, not a path.", f'Write path = "{page[1]}".'
        )
    return DatasetError(
        f"{text[:200]} is an address, not a path.",
        "Download the file, and write its path here.",
    )
