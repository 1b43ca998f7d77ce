"""What a worker and the processes that make tokens for it say to each other: frames of MessagePack
behind their length, over the pipes of the process. Only bytes and numbers, nothing that runs."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import IO, Any

import msgspec

from engine.contract.dataset_spec import Names
from engine.formats.example import Example
from engine.formats.reading import Dataset, Piece, Ready, Unit
from engine.formats.runs import Run
from engine.formats.source import Kind, Source
from engine.formats.unpack import Packing
from engine.worker.chat import LossOn
from engine.worker.part import Part
from engine.worker.quick_tokenizer import QuickTokenizer

_LENGTH = struct.Struct("<Q")
_encode = msgspec.json.Encoder(enc_hook=str).encode
_decode = msgspec.json.Decoder(Example | None).decode


class SentPiece(msgspec.Struct, frozen=True, kw_only=True):
    """A :class:`Piece` on its way."""

    path: str
    kind: Kind
    bytes: int
    packing: Packing
    label: str
    format: str
    columns: Names
    roles: Names
    table: str

    @classmethod
    def of(cls, piece: Piece) -> SentPiece:
        """As it is to be sent."""
        source = piece.source
        return cls(
            path=str(source.path), kind=source.kind, bytes=source.bytes, packing=source.packing,
            label=source.label, format=piece.format, columns=piece.columns, roles=piece.roles,
            table=piece.table,
        )  # fmt: skip

    def opened(self) -> Piece:
        """As it was."""
        source = Source(
            path=Path(self.path), kind=self.kind, bytes=self.bytes, packing=self.packing,
            label=self.label,
        )  # fmt: skip
        return Piece(
            source=source,
            format=self.format,
            columns=self.columns,
            roles=self.roles,
            table=self.table,
        )


class SentDataset(msgspec.Struct, frozen=True, kw_only=True):
    """A :class:`Dataset` on its way."""

    pieces: list[SentPiece]
    method: str

    @classmethod
    def of(cls, dataset: Dataset) -> SentDataset:
        """As it is to be sent."""
        return cls(pieces=[SentPiece.of(p) for p in dataset.pieces], method=dataset.method)

    def opened(self) -> Dataset:
        """As it was, but for what it is read from."""
        return Dataset(pieces=tuple(piece.opened() for piece in self.pieces), method=self.method)


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """The first frame: what all units are to be made with."""

    tokenizer: QuickTokenizer
    dataset: SentDataset
    seed: int
    loss_on: LossOn
    repairs: bool = False
    """Whether text that was read in the wrong encoding is repaired."""


class SentRows(msgspec.Struct, frozen=True, array_like=True):
    """A :class:`Ready` on its way."""

    rows: list[tuple[bytes, bytes, int]]
    """Each as it stands in the file, null where that is not to be seen, what it is, as JSON, whose
    numbers may be of any size, and its line."""
    end: int


class SentUnit(msgspec.Struct, frozen=True, array_like=True):
    """Any other frame to a helper; one of ``run`` and ``rows`` is there."""

    shows: bool
    run: Run | None = None
    rows: SentRows | None = None

    @classmethod
    def of(cls, unit: Unit, *, shows: bool) -> SentUnit:
        """As it is to be sent."""
        if isinstance(unit, Run):
            return cls(shows, run=unit)
        rows = [
            (msgspec.json.encode(raw, enc_hook=str) if shows else b"null", _encode(example), line)
            for raw, example, line in unit.rows
        ]
        return cls(shows, rows=SentRows(rows, unit.end))

    @property
    def unit(self) -> Unit:
        """As it was."""
        if self.run is not None:
            return self.run
        assert self.rows is not None
        rows = self.rows.rows
        return Ready([(msgspec.Raw(raw), _decode(example), line) for raw, example, line in rows])


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """A frame from a helper: the part, or what was wrong."""

    part: Part | None = None
    wrong: list[str] = []
    """Problem, remedy and field of a DatasetError."""
    crash: str = ""
    """Of any other exception."""
    words_differ: bool = False
    """A WordsDiffer was raised."""


def write_frame(file: IO[bytes], message: Any) -> None:
    """Raises ``OSError``."""
    data = msgspec.msgpack.encode(message)
    file.write(_LENGTH.pack(len(data)))
    file.write(data)
    file.flush()


def read_frame(file: IO[bytes]) -> bytes | None:
    """None at the end, also in the middle of a frame."""
    head = file.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (size,) = _LENGTH.unpack(head)
    data = file.read(size)
    return data if len(data) == size else None
