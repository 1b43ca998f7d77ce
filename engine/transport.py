"""A blocking byte stream to the host: a Unix socket, or a named pipe on Windows.

Standard library only. Both kinds may be read by one thread while another writes.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from typing import Protocol

CHUNK = 1 << 16
"""Most bytes that one read returns."""

NOBODY_THERE = (FileNotFoundError, NotADirectoryError, ConnectionRefusedError)
"""What :func:`connect` raises when no host listens."""

_PIPE_BUSY = 231
"""ERROR_PIPE_BUSY: between two clients a host has no free end of its pipe for a moment."""


def is_busy(error: OSError) -> bool:
    """Whether :func:`connect` failed only because others connect at the same time; try again."""
    return getattr(error, "winerror", None) == _PIPE_BUSY


class Stream(Protocol):
    """Bytes both ways."""

    def read(self, timeout_s: float | None = None) -> bytes:
        """The next bytes; empty at the end of the stream. Raises ``TimeoutError``."""

    def write(self, data: bytes) -> None:
        """Send all of it. Raises ``OSError`` if the other side is gone."""

    def close(self) -> None:
        """Let go of the stream; a read under way in another thread ends."""


if sys.platform == "win32":
    import _winapi

    class PipeStream:
        """A named pipe, opened for overlapped I/O: a plain handle would let a waiting read block
        every write."""

        def __init__(self, address: str) -> None:
            self._handle = _winapi.CreateFile(
                address,
                _winapi.GENERIC_READ | _winapi.GENERIC_WRITE,
                0,
                _winapi.NULL,
                _winapi.OPEN_EXISTING,
                _winapi.FILE_FLAG_OVERLAPPED,
                _winapi.NULL,
            )
            self._pending: _winapi.Overlapped | None = None

        def read(self, timeout_s: float | None = None) -> bytes:
            # A read that timed out stays under way: the next call takes it up again.
            try:
                if self._pending is None:
                    self._pending, _ = _winapi.ReadFile(self._handle, CHUNK, overlapped=True)
                wait_ms = _winapi.INFINITE if timeout_s is None else round(timeout_s * 1000)
                if _winapi.WaitForMultipleObjects([self._pending.event], False, wait_ms):
                    raise TimeoutError
                overlapped, self._pending = self._pending, None
                overlapped.GetOverlappedResult(True)
                return bytes(overlapped.getbuffer() or b"")
            except (BrokenPipeError, ConnectionError):
                return b""

        def write(self, data: bytes) -> None:
            while data:
                overlapped, _ = _winapi.WriteFile(self._handle, data, overlapped=True)
                written, _ = overlapped.GetOverlappedResult(True)
                data = data[written:]

        def close(self) -> None:
            if self._pending is not None:
                self._pending.cancel()
            _winapi.CloseHandle(self._handle)

    def connect(address: str) -> Stream:
        """Open the host's pipe. Raises one of :data:`NOBODY_THERE`, or another ``OSError``."""
        return PipeStream(address)

else:

    class SocketStream:
        """A connected Unix socket."""

        def __init__(self, connection: socket.socket) -> None:
            self._socket = connection

        def read(self, timeout_s: float | None = None) -> bytes:
            self._socket.settimeout(timeout_s)
            try:
                return self._socket.recv(CHUNK)
            except (ConnectionResetError, BrokenPipeError):
                return b""
            finally:
                self._socket.settimeout(None)

        def write(self, data: bytes) -> None:
            self._socket.sendall(data)

        def close(self) -> None:
            with contextlib.suppress(OSError):  # The other side was quicker.
                self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()

    def connect(address: str) -> Stream:
        """Open the host's socket. Raises one of :data:`NOBODY_THERE`, or another ``OSError``."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(address)
        except OSError:
            connection.close()
            raise
        return SocketStream(connection)
