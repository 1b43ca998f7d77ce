"""Framing of the wire, without any I/O: bytes in, messages out, and back.

One JSON object a line, UTF-8, at most :data:`MAX_LINE` bytes, no NaN. A stray *line* can be skipped
where a stray byte in a counted frame could not, so garbage is handed out as :class:`Garbage`: the
caller counts it, logs it and goes on. Whatever a worker's C libraries print, the stream survives.
"""

from __future__ import annotations

import hashlib
import re

import msgspec

from engine.contract.messages import Message, decode_line, encode

MAX_LINE = 1 << 20
"""Longest line either side accepts, line feed excluded, in bytes."""

_QUOTED = re.compile(r"'.*'", re.DOTALL)


class Garbage(msgspec.Struct, frozen=True, kw_only=True):
    """A line that is no message of this protocol."""

    reason: str
    size: int
    """In bytes, as far as it was read."""
    digest: str
    """The beginning of its SHA-256."""

    def __str__(self) -> str:
        """For the log, which must not hold what the line does: it may be a row of the data."""
        return f"{self.reason} ({self.size} bytes, SHA-256 {self.digest}…)"


class FrameTooLong(ValueError):
    """A message that would not fit a line. It is a bug of the sender, never of the reader."""


def frame(message: Message) -> bytes:
    """The message as one line. Raises :class:`FrameTooLong` above :data:`MAX_LINE` bytes."""
    line = encode(message)
    if len(line) > MAX_LINE:
        raise FrameTooLong(f"A {type(message).__name__} of {len(line)} bytes does not fit a line.")
    return line + b"\n"


class LineReader:
    """Turns chunks of bytes, cut anywhere, into messages.

    Memory is bounded: a line that outgrows :data:`MAX_LINE` is dropped up to its line feed and
    reported once.
    """

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        """Pieces of the line that has not ended yet; joined once, when it has."""
        self._size = 0
        self._overlong = False
        self.garbage_count = 0
        """Lines skipped so far."""

    def feed(self, chunk: bytes) -> list[Message | Garbage]:
        """Everything that became complete with this chunk, in order."""
        *ends, rest = chunk.split(b"\n")
        found: list[Message | Garbage] = []
        for end in ends:
            line = b"".join([*self._parts, end])
            self._parts, self._size = [], 0
            if self._overlong:
                self._overlong = False
            elif line.strip():
                found.append(self._read(line))
        self._parts.append(rest)
        self._size += len(rest)
        if self._size > MAX_LINE:
            if not self._overlong:
                found.append(self._refuse(b"".join(self._parts), "longer than a line may be"))
            self._overlong = True
            self._parts, self._size = [], 0
        return found

    def _read(self, line: bytes) -> Message | Garbage:
        if len(line) > MAX_LINE:
            return self._refuse(line, "longer than a line may be")
        try:
            return decode_line(line)
        except msgspec.MsgspecError as error:
            return self._refuse(line, _QUOTED.sub("'…'", str(error)))
        except UnicodeDecodeError:
            return self._refuse(line, "not UTF-8")
        except RecursionError:
            return self._refuse(line, "nested too deeply")

    def _refuse(self, line: bytes, reason: str) -> Garbage:
        self.garbage_count += 1
        digest = hashlib.sha256(line).hexdigest()[:12]
        return Garbage(reason=reason, size=len(line), digest=digest)
