"""What has been received of each followed run: no record twice, none missed, over reconnects.

Pure bookkeeping. A run's past comes from two files, so events, steps and telemetry are three lanes,
each in ``seq`` order by itself. If the connection breaks in the middle of the past, the next
Follow asks again from the last border that is certain, and what the lanes already hold is dropped.
"""

from __future__ import annotations

import binascii
import struct
from array import array
from bisect import bisect_right
from typing import Any

import msgspec

from engine.contract.messages import CaughtUp, Columns, Record, Step, Telemetry

SEQ_COLUMN = "seq"
_ITEM_BYTES = 8


class Followed:
    """One followed run."""

    def __init__(self) -> None:
        self.since = 0
        """All records up to this ``seq`` were received."""
        self.is_asked = False
        """A Follow is under way; until its reply, records are left-overs of an earlier one."""
        self.is_live = False
        self._lanes = {"event": 0, "step": 0, "telemetry": 0}

    def ask(self) -> None:
        """A Follow is being sent."""
        self.is_asked = True
        self.is_live = False

    def accept(self, data: dict[str, Any]) -> bool:
        """The host took the Follow: what comes now belongs to it. False if it is to be asked anew:
        its newest record is older than what was received, so a power cut took the rest back, and
        those numbers come again."""
        self.is_asked = False
        newest: int = data.get("seq", max(self.since, *self._lanes.values()))
        is_whole = newest >= self.since
        self.since = min(self.since, newest)
        self._lanes = {lane: min(seq, newest) for lane, seq in self._lanes.items()}
        return is_whole

    def take_record(self, record: Record) -> bool:
        """Whether the record is new."""
        lane = _lane_of(record)
        if self.is_asked or record.seq <= self._lanes[lane]:
            return False
        self._lanes[lane] = record.seq
        if self.is_live:
            self.since = max(self.since, record.seq)
        return True

    def take_columns(self, columns: Columns) -> Columns | None:
        """The part of the piece that is new; None if none is."""
        if self.is_asked:
            return None
        text = columns.data.get(SEQ_COLUMN, "")
        if not text:
            return columns if columns.data else None
        first, last = _ends(text)
        if first > self._lanes[columns.kind]:
            self._lanes[columns.kind] = int(last)
            return columns
        seqs = decode_column(text)
        known = bisect_right(seqs, self._lanes[columns.kind])
        if known == len(seqs):
            return None
        self._lanes[columns.kind] = int(seqs[-1])
        if known == 0:
            return columns
        return msgspec.structs.replace(
            columns, data={name: _drop(text, known) for name, text in columns.data.items()}
        )

    def take_border(self, border: CaughtUp) -> bool:
        """Everything up to the border has come. Whether it belongs to the Follow that stands."""
        if self.is_asked:
            return False
        self.since = max(self.since, border.seq)
        self._lanes = {lane: max(seq, border.seq) for lane, seq in self._lanes.items()}
        self.is_live = True
        return True


def _lane_of(record: Record) -> str:
    if isinstance(record, Step):
        return "step"
    return "telemetry" if isinstance(record, Telemetry) else "event"


def decode_column(text: str) -> array[float]:
    """The numbers of one column of a :class:`Columns` message."""
    values = array("d")
    values.frombytes(binascii.a2b_base64(text))
    return values


def _ends(text: str) -> tuple[float, float]:
    """The first and the last number of a column, without the others."""
    first, last = binascii.a2b_base64(text[:12]), binascii.a2b_base64(text[-16:])
    return struct.unpack("<d", first[:_ITEM_BYTES])[0], struct.unpack("<d", last[-_ITEM_BYTES:])[0]


def _drop(text: str, count: int) -> str:
    rest = binascii.a2b_base64(text)[count * _ITEM_BYTES :]
    return binascii.b2a_base64(rest, newline=False).decode("ascii")
