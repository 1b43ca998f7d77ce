"""Finds out what a dataset file is before anybody reads it, and reads its lines with limits.

Every way in which a file can be no dataset ends in a :class:`DatasetError` with one sentence.
"""

from __future__ import annotations

import shlex
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from engine.formats import sniffing
from engine.formats.example import DatasetError
from engine.formats.sniffing import Kind as Kind
from engine.formats.unpack import PACKED, Packing, opened

MAX_ROW_BYTES = 16 << 20
"""Longest row or line accepted, in bytes."""

KINDS: dict[str, Kind] = {
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".txt": "text",
    ".text": "text",
    ".md": "text",
    ".markdown": "text",
}
COMPRESSED = (".bz2", ".xz", ".zip", ".tar", ".tgz", ".7z", ".rar")
SAVE_AS_UTF8 = "Save the file as UTF-8."
_HEAD_BYTES = 8192
BOM = b"\xef\xbb\xbf"
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x1f\x8b", "a gzip archive"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (b"PAR1", "a Parquet file"),
    (b"ARROW1", "an Arrow file"),
    (b"%PDF", "a PDF"),
    (b"\x7fELF", "a program"),
)
_WIDE: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)


_ON_WINDOWS = {"UTF-32": "UTF32", "UTF-16LE": "Unicode", "UTF-16BE": "BigEndianUnicode"}
"""Names that PowerShell has for encodings."""
_FIRST_LETTERS = 4
"""Bytes at the beginning of a file that tell UTF-16: two letters, such as a brace and a quote."""


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A file that can be read as a dataset."""

    path: Path
    kind: Kind
    bytes: int
    """On the disk."""
    packing: Packing = ""
    label: str = ""

    @property
    def name(self) -> str:
        """What people know it by: in a folder or pattern, its place there."""
        return self.label or self.path.name


def find(path: str | Path) -> Source:
    """The dataset at ``path``. Raises DatasetError if there is none that can be read."""
    place = expanded(path)
    size = _regular_size(place)
    if size == 0:
        raise DatasetError(f"{place.name} is empty (0 bytes).", "Choose a file with rows in it.")
    packing = PACKED.get(place.suffix.lower(), "")
    bare = place.with_suffix("") if packing else place
    kind = _kind(bare) or sniffing.kind_of(_head(place, packing))
    source = Source(path=place, kind=kind, bytes=size, packing=packing)
    if packing and kind in ("parquet", "arrow"):
        raise DatasetError(f"{place.name} is packed twice.", "Unpack it and choose the file in it.")
    return _looked_at(source, _head(place, packing))


def expanded(path: str | Path) -> Path:
    """The path with ~ written out. Raises DatasetError if it can be none."""
    try:
        str(path).encode()
        return Path(path).expanduser()
    except UnicodeEncodeError:
        raise DatasetError("The path is not written in UTF-8.", "Rename the file.") from None
    except RuntimeError:  # ~name of nobody
        raise DatasetError(f"There is no home folder for {path}.", "Write it out.") from None


def _regular_size(place: Path) -> int:
    try:
        found = place.stat()
    except FileNotFoundError:
        raise DatasetError(f"There is no file {place}.", "Check the path.") from None
    except (OSError, ValueError) as error:
        raise unreadable(place, error) from None
    if stat.S_ISDIR(found.st_mode):
        raise DatasetError(f"{place} is a folder, not a file.", "Choose a file.")
    if not stat.S_ISREG(found.st_mode):
        raise DatasetError(f"{place} is a device or pipe, not a file.", "Choose a file on disk.")
    return found.st_size


def unreadable(place: Path, error: OSError | ValueError) -> DatasetError:
    """A refusal by the operating system as a sentence."""
    if isinstance(error, PermissionError):
        return DatasetError(
            f"{place} may not be read (permission denied).", "Give your user the right to read it."
        )
    why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return DatasetError(f"{str(place)[:200]!r} cannot be read: {why}.", "Check the path.")


def _kind(place: Path) -> Kind | None:
    """What its ending says; None if it has none."""
    suffix = place.suffix.lower()
    if suffix in COMPRESSED:
        raise DatasetError(
            f"{place.name} is compressed, which is not read yet.",
            "Unpack it and choose the file inside.",
        )
    kind = KINDS.get(suffix)
    if suffix and kind is None:
        raise DatasetError(
            f"{place.name} ends in {suffix}, which is not read.",
            f"Choose a file that ends in {', '.join(KINDS)}.",
        )
    return kind


def _head(place: Path, packing: Packing) -> bytes:
    try:
        with opened(place, packing) as file:
            return file.read(_HEAD_BYTES)
    except OSError as error:
        raise unreadable(place, error) from None


def _looked_at(source: Source, head: bytes) -> Source:
    """The source, to be read as UTF-8 where a mark says that it is UTF-16. Raises DatasetError for
    what is plainly no text, so that nobody gets a riddle about line 1."""
    place = source.path
    if source.kind in ("parquet", "arrow"):
        return source
    for magic, what in _MAGIC:
        if head.startswith(magic):
            raise DatasetError(
                f"{place.name} is {what}, whatever its ending says.", "Choose a file of text rows."
            )
    for magic, encoding in _WIDE:
        if head.startswith(magic) and encoding == "UTF-16" and not source.packing:
            return msgspec.structs.replace(source, packing="UTF-16")
        if head.startswith(magic):
            problem = f"{place.name} is written in {encoding} (line 1)."
            raise DatasetError(problem, save_as_utf8(source, encoding))
    if unmarked := _unmarked_utf16(head):
        raise DatasetError(
            f"{place.name} is written in UTF-16 without the mark that says so (line 1).",
            save_as_utf8(source, unmarked),
        )
    if b"\0" in head:
        line = head.count(b"\n", 0, head.index(b"\0")) + 1
        raise DatasetError(
            f"{place.name} is binary, not text (a zero byte in line {line}).",
            "Choose a file of text rows.",
        )
    return source


def _unmarked_utf16(head: bytes) -> str:
    """Which UTF-16 a text begins with, if it does: of its first letters one byte in two is zero."""
    first = head[:_FIRST_LETTERS]
    for letters, zeros, name in (
        (first[::2], first[1::2], "UTF-16LE"), (first[1::2], first[::2], "UTF-16BE")
    ):  # fmt: skip
        # Numbers of two bytes look the same but for what they would spell.
        text = letters.decode("latin-1")
        if len(first) == _FIRST_LETTERS and not any(zeros) and _is_readable(text):
            return name
    return ""


def _is_readable(text: str) -> bool:
    return text.isascii() and all(c.isprintable() or c.isspace() for c in text)


def save_as_utf8(source: Source, encoding: str) -> str:
    """What to do about a file in another encoding, with a command for it where one does it."""
    old = source.path
    if source.packing:
        return SAVE_AS_UTF8
    new = f"{old.stem}-utf8{old.suffix}"
    if sys.platform == "win32":
        given = _ON_WINDOWS.get(encoding, "Default")  # What Windows itself writes.
        read, write = f"gc '{old.name}' -Encoding {given}", f"sc '{new}' -Encoding UTF8"
        command = f'powershell -c "{read} | {write}"'
    else:
        command = f"iconv -f {encoding} -t UTF-8 {shlex.quote(old.name)} > {shlex.quote(new)}"
    return f"{SAVE_AS_UTF8} If it is {encoding}, in its folder: {command}"


def read_bytes(source: Source, limit: int | None = None) -> bytes:
    """The file's first ``limit`` bytes or all of it, without a byte order mark."""
    try:
        with opened(source.path, source.packing) as file:
            data = file.read() if limit is None else file.read(limit)
    except OSError as error:
        raise unreadable(source.path, error) from None
    return data.removeprefix(BOM)


def lines(source: Source) -> Iterator[tuple[int, bytes]]:
    """Number (from 1) and bytes of every line, its end included, blank ones too.

    Raises DatasetError at a line longer than :data:`MAX_ROW_BYTES`.
    """
    try:
        with opened(source.path, source.packing) as file:
            number = 0
            while line := file.readline(MAX_ROW_BYTES + 1):
                number += 1
                if len(line) > MAX_ROW_BYTES:
                    raise too_long(source, f"line {number}")
                yield number, line.removeprefix(BOM) if number == 1 else line
    except OSError as error:
        raise unreadable(source.path, error) from None


def too_long(source: Source, where: str) -> DatasetError:
    """A row over the limit."""
    limit = MAX_ROW_BYTES >> 20
    return DatasetError(
        f"{source.name}, {where} is longer than {limit} MiB.", "Split it into smaller rows."
    )


def decode(source: Source, data: bytes, first_line: int = 1) -> str:
    """The bytes as UTF-8. Raises DatasetError naming the line of the first byte that is not."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = first_line + data.count(b"\n", 0, error.start)
        wrong = data[error.start]
        raise DatasetError(
            f"{source.name}, line {line} is not UTF-8 (byte 0x{wrong:02X}).",
            save_as_utf8(source, "LATIN1"),
        ) from None
