"""Writes a tokenised dataset, part by part; see :mod:`engine.store.encoded`."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import msgspec
import numpy as np

from engine.store import encoded
from engine.store.encoded import Meta
from engine.store.files import hide_tree, rename, sync_file, write_atomic
from engine.worker.part import Part, Shown

SHOWN_BYTES = 512 << 20
"""Text kept to be looked at: of more than that only the first samples can be."""
_BUFFER = 1 << 20


class EncodedWriter:
    """A folder that is no dataset until :meth:`publish`. Raises ``OSError`` wherever it writes."""

    def __init__(self, folder: Path, shown_bytes: int = SHOWN_BYTES) -> None:
        self._final = folder
        self._staging = encoded.staging_of(folder, os.getpid())
        shutil.rmtree(self._staging, ignore_errors=True)
        self._staging.mkdir(parents=True)
        self._files: dict[str, BinaryIO] = {
            name: (self._staging / name).open("wb", buffering=_BUFFER) for name in encoded.FILES
        }
        self._room = shown_bytes
        self._put(encoded.STARTS, np.zeros(1, np.int64))
        self._put(encoded.TEXTS, np.zeros(1, np.int64))
        self._put(encoded.RAWS, np.zeros(1, np.int64))
        self.samples = 0
        self.tokens = 0
        self.shown = 0
        self._shown_tokens = 0
        self._text_bytes = 0
        self._raw_bytes = 0

    def __enter__(self) -> EncodedWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        with contextlib.suppress(OSError):  # What is not written is thrown away.
            self._close()
        shutil.rmtree(self._staging, ignore_errors=True)

    @property
    def shows(self) -> bool:
        """Whether the text of the next part is kept."""
        return self._room > 0

    def add(self, first_row: int, part: Part) -> None:
        """The next part, whose first row is this one of the dataset; what is to be seen of it as
        long as there is room."""
        self._files[encoded.TOKENS].write(part.tokens)
        self._files[encoded.LEARNT].write(part.learnt)
        self._files[encoded.DIGESTS].write(part.digests)
        self._files[encoded.LINES].write(part.lines)
        self._put(encoded.ROWS, np.array(part.rows, np.int64) + first_row)
        self._put(encoded.STARTS, self.tokens + np.cumsum(part.lengths, dtype=np.int64))
        self.samples += len(part.rows)
        self.tokens += sum(part.lengths)
        if self.shows and part.shown is not None:
            self._show(part.shown)

    def _show(self, shown: Shown) -> None:
        self._files[encoded.TEXT].write(shown.text)
        self._files[encoded.RAW].write(shown.raw)
        self._files[encoded.SPANS].write(shown.spans)
        self._put(encoded.TEXTS, self._text_bytes + np.cumsum(shown.texts, dtype=np.int64))
        self._put(encoded.RAWS, self._raw_bytes + np.cumsum(shown.raws, dtype=np.int64))
        self._text_bytes += len(shown.text)
        self._raw_bytes += len(shown.raw)
        self._room -= len(shown.text) + len(shown.raw) + len(shown.spans)
        self.shown += len(shown.texts)
        self._shown_tokens += len(shown.spans) // 8

    def publish(self, meta: Meta, pieces: Callable[[], Sequence[bytes]] | None = None) -> Path:
        """Make it a dataset; ``meta`` need not say the sizes. ``pieces`` is what each token stands
        for, and is only asked for where samples are left without text."""
        if pieces and self.shown < self.samples:
            self._keep_pieces(pieces())
        self._close()
        for name in encoded.FILES:
            sync_file(self._staging / name)
        meta = msgspec.structs.replace(
            meta, format=encoded.FORMAT, samples=self.samples, tokens=self.tokens,
            shown=self.shown, shown_tokens=self._shown_tokens, text_bytes=self._text_bytes,
            raw_bytes=self._raw_bytes,
        )  # fmt: skip
        write_atomic(self._staging / encoded.META, msgspec.json.encode(meta))
        self._put_in_place()
        return self._final

    def _keep_pieces(self, pieces: Sequence[bytes]) -> None:
        starts = np.cumsum([0, *map(len, pieces)], dtype=np.int64)
        (self._staging / encoded.PIECES).write_bytes(b"".join(pieces))
        (self._staging / encoded.PIECE_STARTS).write_bytes(starts.tobytes())

    def _put_in_place(self) -> None:
        # Another process may have made the same one meanwhile: both are good.
        if encoded.find(self._final.name) is not None:
            return
        try:
            if self._final.exists():
                shutil.rmtree(hide_tree(self._final), ignore_errors=True)
            rename(self._staging, self._final)
        except OSError:
            if encoded.find(self._final.name) is None:
                raise

    def _put(self, name: str, array: np.ndarray) -> None:
        self._files[name].write(np.ascontiguousarray(array).data)

    def _close(self) -> None:
        for file in self._files.values():
            file.close()
