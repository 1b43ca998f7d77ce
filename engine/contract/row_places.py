"""Rows of a dataset by the file that they are in, as people know them. Pure."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby

import msgspec

MOST_FILES = 2000
"""Of a dataset with more of them rows are named as they are counted through all."""


class FileRows(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where the rows of one file begin."""

    name: str
    """What people know the file by, told from the others of the dataset."""
    first: int
    """Its first row among those of all files, from 0."""
    number: int = 1
    """Which row of the file that is, from 1: those before it are skipped."""


class RowPlace(msgspec.Struct, frozen=True):
    """Where a row stands."""

    file: str
    """Empty where the dataset has one file."""
    number: int
    """In that file, from 1."""
    line: int | None = None

    @property
    def words(self) -> str:
        """``alpaca.jsonl row 12 (line 37)``, ``row 12``."""
        file = f"{self.file} " if self.file else ""
        line = f" (line {self.line})" if self.line else ""
        return f"{file}row {self.number}{line}"


def place_of(
    files: Sequence[FileRows], row: int, lines: Mapping[int, int] | None = None
) -> RowPlace:
    """Where a row is, the first of all being 0; ``lines`` are those of its file, where known."""
    line = (lines or {}).get(row)
    at = bisect.bisect_right(files, row, key=_first) - 1
    if at < 0:
        return RowPlace("", row + 1, line)
    found = files[at]
    file = found.name if len(files) > 1 else ""
    return RowPlace(file, row - found.first + found.number, line)


def name_of(files: Sequence[FileRows], row: int, lines: Mapping[int, int] | None = None) -> str:
    """What people call a row: ``alpaca.jsonl row 12 (line 37)``, ``row 12``."""
    return place_of(files, row, lines).words


def names_of(
    files: Sequence[FileRows], rows: Iterable[int], lines: Mapping[int, int] | None = None
) -> str:
    """Of several: ``alpaca.jsonl rows 12, 15; dpo.json row 3``; of one file ``rows 12, 15``."""
    places = (place_of(files, row, lines) for row in rows)
    return "; ".join(_of_file(list(group)) for _, group in groupby(places, key=_file))


def at_head(names: str) -> str:
    """At the head of a sentence: ``Row 12``; names of files stay as they are."""
    return f"R{names[1:]}" if names.startswith(("row ", "rows ")) else names


def row_at(files: Sequence[FileRows], number: int, file: str = "", rows: int = 0) -> int | None:
    """The row with this number in its file, from 0 among all, of which there are so many ``rows``;
    without a name it is counted through all files. None where there is none, or where it is not
    known which rows are of the file."""
    if not file and len(files) != 1:
        return number - 1 if 1 <= number <= rows else None
    name = file_called(files, file) if file else files[0].name
    for found, end in _ends(files, rows):
        row = found.first + number - found.number
        if found.name == name and found.first <= row < end:
            return row
    return None


def file_called(files: Sequence[FileRows], text: str) -> str | None:
    """The name of the file that is meant by a name, a path, or as much of one as tells it from the
    others, with either kind of slash. None where it is none of these, or may be several."""
    meant = _parts(text)
    names = {_parts(found.name): found.name for found in files}
    if meant in names or not meant:
        return names.get(meant)
    if ends := [own for own in names if meant[-len(own) :] == own]:
        return names[max(ends, key=len)]
    longer = [own for own in names if own[-len(meant) :] == meant]
    return names[longer[0]] if len(longer) == 1 else None


def _parts(path: str) -> tuple[str, ...]:
    return tuple(part for part in path.replace("\\", "/").split("/") if part not in ("", "."))


def rows_in(files: Sequence[FileRows], file: str, rows: int) -> tuple[int, int] | None:
    """The numbers of the first and last row of a file; None where it is none of these."""
    name = file_called(files, file)
    spans = [
        (found.number, found.number + end - found.first - 1)
        for found, end in _ends(files, rows)
        if found.name == name
    ]
    return (spans[0][0], spans[-1][1]) if spans else None


def _ends(files: Sequence[FileRows], rows: int) -> Iterator[tuple[FileRows, int]]:
    """Each file with the row of all behind its last."""
    ends = [*(found.first for found in files[1:]), rows]
    return zip(files, ends[: len(files)], strict=True)


def _of_file(places: Sequence[RowPlace]) -> str:
    if len(places) == 1:
        return places[0].words
    file = f"{places[0].file} " if places[0].file else ""
    lines = [str(place.line) for place in places if place.line]
    known = f" (lines {', '.join(lines)})" if len(lines) == len(places) else ""
    return f"{file}rows {', '.join(str(place.number) for place in places)}{known}"


def _first(found: FileRows) -> int:
    return found.first


def _file(place: RowPlace) -> str:
    return place.file


# ---------------------------------------------------------------- names of files


def told_apart(paths: Sequence[str]) -> list[str]:
    """The shortest ends of these paths that differ; the same path keeps the same name."""
    parts = [path.replace("\\", "/").rstrip("/").split("/") for path in paths]
    found = [own[-1] for own in parts]
    for depth in range(2, max(map(len, parts), default=0) + 1):
        unclear = _shared(found, parts)
        if not unclear:
            break
        for place in unclear:
            found[place] = "/".join(parts[place][-depth:])
    return found


def _shared(names: Sequence[str], parts: Sequence[list[str]]) -> list[int]:
    """Which of them have the name of another path."""
    meant: dict[str, set[tuple[str, ...]]] = {}
    for name, own in zip(names, parts, strict=True):
        meant.setdefault(name, set()).add(tuple(own))
    return [place for place, name in enumerate(names) if len(meant[name]) > 1]
