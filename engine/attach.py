"""``python -m engine attach``: the host's socket, by way of this process's stdin and stdout.

The window starts it where the engine lives: ``wsl.exe … -m engine attach``, ``ssh … -m engine
attach``. It starts the host if need be, puts the token into the first Hello (the window cannot read
the file), and then hands bytes to and fro unread. It ends when either side does. While it lives,
Windows keeps the distribution alive.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from typing import NoReturn

import msgspec

from engine import client, launch
from engine.contract.messages import Hello, Message, Refusal, Request, decode_line
from engine.contract.wire import MAX_LINE, frame
from engine.transport import CHUNK, Stream


def main() -> NoReturn:
    """Relay until one side ends; exit code 0, or 1 if the host could not be reached."""
    stdin, stdout = _claim_stdio()
    first, rest = _first_request(stdin)
    if first is None:
        os._exit(0)
    try:
        client.connect("attach").close()
        stream = launch.open_stream(time.monotonic() + launch.START_SECONDS)
        if isinstance(first, Hello):
            first = msgspec.structs.replace(first, token=launch.read_token())
        stream.write(frame(first) + rest)
    except (launch.ClientError, OSError) as error:
        _refuse(stdout, first, error)
        os._exit(1)
    threading.Thread(target=_to_host, args=(stdin, stream), daemon=True).start()
    _from_host(stream, stdout)
    # The other thread may wait in a read of stdin that nothing ends.
    os._exit(0)


def _claim_stdio() -> tuple[int, int]:
    """Private descriptors of stdin and stdout; whatever prints from now on goes to stderr."""
    stdin, stdout = os.dup(0), os.dup(1)
    os.dup2(2, 1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    if sys.platform == "win32":
        import msvcrt

        msvcrt.setmode(stdin, os.O_BINARY)
        msvcrt.setmode(stdout, os.O_BINARY)
    return stdin, stdout


def _first_request(stdin: int) -> tuple[Request | None, bytes]:
    """The first request, and what had already come behind it; None at the end of the stream.

    Lines that are no request (a shell's greeting, say) are dropped.
    """
    buffer = b""
    while chunk := os.read(stdin, CHUNK):
        *lines, buffer = (buffer + chunk).split(b"\n")
        for place, line in enumerate(lines):
            message = _decode(line)
            if isinstance(message, Request):
                return message, b"\n".join([*lines[place + 1 :], buffer])
        if len(buffer) > MAX_LINE:
            buffer = b""
    return None, b""


def _decode(line: bytes) -> Message | None:
    try:
        return decode_line(line)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _refuse(stdout: int, request: Request, error: launch.ClientError | OSError) -> None:
    sentence = error.sentence if isinstance(error, launch.ClientError) else f"The host: {error}."
    code = error.code if isinstance(error, client.Refused) else "no_host"
    with contextlib.suppress(OSError):
        _write_all(stdout, frame(Refusal(to=request.id, sentence=sentence, code=code)))


def _to_host(stdin: int, stream: Stream) -> None:
    with contextlib.suppress(OSError):
        while chunk := os.read(stdin, CHUNK):
            stream.write(chunk)
    # Also ends the read of the other thread, and with it the process.
    stream.close()


def _from_host(stream: Stream, stdout: int) -> None:
    with contextlib.suppress(OSError):
        while chunk := stream.read():
            _write_all(stdout, chunk)


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
