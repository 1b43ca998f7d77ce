"""Opens a file to read, unpacked on the way if it is packed. zstd needs pyarrow, gzip nothing."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal, cast

from engine.formats.example import DatasetError

Packing = Literal["", "gzip", "zstd"]

PACKED: dict[str, Packing] = {".gz": "gzip", ".zst": "zstd"}
"""By the ending that comes after that of the kind of file."""


@contextmanager
def opened(path: Path, packing: Packing) -> Iterator[IO[bytes]]:
    """The file's bytes. Raises ``OSError``, and DatasetError if it is no whole file of its kind."""
    try:
        with _open(path, packing) as file:
            yield file
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _damaged(path, packing, error) from None
    except OSError as error:
        # pyarrow has one kind of error for a disk and for bytes that are no archive.
        if packing == "zstd" and error.errno is None:
            raise _damaged(path, packing, error) from None
        raise


def _open(path: Path, packing: Packing) -> IO[bytes]:
    if packing == "gzip":
        return cast("IO[bytes]", gzip.open(path, "rb"))
    return _zstd(path) if packing == "zstd" else path.open("rb")


def _zstd(path: Path) -> IO[bytes]:
    try:
        import pyarrow
    except ImportError:
        raise DatasetError(
            "zstd archives need the package pyarrow, which is not installed.",
            "Install Fettle's training packages, or unpack the file.",
        ) from None
    stream: Any = pyarrow.CompressedInputStream(pyarrow.OSFile(str(path), "rb"), "zstd")
    return io.BufferedReader(stream)


def _damaged(path: Path, packing: Packing, error: Exception) -> DatasetError:
    why = str(error).splitlines()[0][:120].rstrip(".") if str(error) else type(error).__name__
    return DatasetError(f"{path.name} is no whole {packing} archive: {why}.", "Copy it again.")
