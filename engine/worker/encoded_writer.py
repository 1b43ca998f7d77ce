"""Writes a tokenised dataset, row by row; see :mod:`engine.store.encoded`."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import msgspec
import numpy as np

from engine.store import encoded
from engine.store.encoded import Meta
from engine.store.files import hide_tree, rename, sync_file, write_atomic

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
        """Whether the text of the next sample is kept."""
        return self._room > 0

    def add(self, row: int, ids: np.ndarray, flags: np.ndarray, digest: bytes) -> None:
        """One sample: token ids, and of each whether it is learnt."""
        self._put(encoded.TOKENS, ids.astype(np.int32, copy=False))
        self._put(encoded.LEARNT, flags.astype(np.uint8, copy=False))
        self.samples += 1
        self.tokens += len(ids)
        self._put(encoded.STARTS, np.array([self.tokens], np.int64))
        self._put(encoded.ROWS, np.array([row], np.int64))
        self._files[encoded.DIGESTS].write(digest)

    def show(self, text: str, spans: np.ndarray, raw: bytes) -> None:
        """What is to be seen of the sample added last; ``spans`` has the shape (tokens, 2)."""
        data = text.encode()
        self._files[encoded.TEXT].write(data)
        self._files[encoded.RAW].write(raw)
        self._put(encoded.SPANS, spans.astype(np.uint32, copy=False))
        self._text_bytes += len(data)
        self._raw_bytes += len(raw)
        self._put(encoded.TEXTS, np.array([self._text_bytes], np.int64))
        self._put(encoded.RAWS, np.array([self._raw_bytes], np.int64))
        self._room -= len(data) + len(raw) + 8 * len(spans)
        self.shown += 1
        self._shown_tokens += len(spans)

    def publish(self, meta: Meta) -> Path:
        """Make it a dataset; ``meta`` need not say the sizes."""
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
