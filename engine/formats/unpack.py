"""Opens a file to read, unpacked on the way if it is packed, and as UTF-8 if it is in UTF-16. zstd
needs pyarrow, the others nothing."""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal, cast

from engine.formats.example import DatasetError

Packing = Literal["", "gzip", "zstd", "UTF-16"]

PACKED: dict[str, Packing] = {".gz": "gzip", ".zst": "zstd"}
"""By the ending that comes after that of the kind of file."""
_WIDE_BYTES = 1 << 16


@contextmanager
def opened(path: Path, packing: Packing) -> Iterator[IO[bytes]]:
    """The file's bytes. Raises ``OSError``, and DatasetError if it is no whole file of its kind."""
    try:
        with _open(path, packing) as file:
            yield file
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{path.name} is not UTF-16 all through: {error.reason}.", "Save the file as UTF-8."
        ) from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _damaged(path, packing, error) from None
    except OSError as error:
        # pyarrow has one kind of error for a disk and for bytes that are no archive.
        if packing == "zstd" and error.errno is None:
            raise _damaged(path, packing, error) from None
        raise


def _open(path: Path, packing: Packing) -> IO[bytes]:
    if packing == "UTF-16":
        return io.BufferedReader(_AsUtf8(path))
    if packing == "gzip":
        return cast("IO[bytes]", gzip.open(path, "rb"))
    return _zstd(path) if packing == "zstd" else path.open("rb")


class _AsUtf8(io.RawIOBase):
    """A file in UTF-16 with a mark at its beginning, as UTF-8. Raises UnicodeDecodeError."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._decoder = codecs.getincrementaldecoder("utf-16")()
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left:
            data = self._file.read(_WIDE_BYTES)
            text = self._decoder.decode(data, final=not data)
            self._left = text.encode()
            if not data:
                break
        size = min(len(buffer), len(self._left))
        buffer[:size] = self._left[:size]
        self._left = self._left[size:]
        return size

    def close(self) -> None:
        self._file.close()
        super().close()


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
