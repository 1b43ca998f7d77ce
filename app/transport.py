"""Byte streams to a host: a local socket, or a command that relays one.

All transports look alike to :class:`app.conversation.Conversation`: ``opened``, then
``bytes_received`` whenever :meth:`Transport.read` has something, then one ``closed`` with a
sentence for people. A closed transport can be opened again.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from PySide6.QtCore import QCoreApplication, QObject, QProcess, QProcessEnvironment, QTimer, Signal
from PySide6.QtNetwork import QLocalSocket

from engine import client, paths

READ_BUFFER_BYTES = 4 << 20
"""How far a socket reads ahead of us; above that the host has to wait."""

START_SECONDS = 30.0
"""How long a host may take to begin listening."""

_POLL_MS = 40
_STDERR_KEPT_BYTES = 8 << 10
_KILL_AFTER_MS = 2000


class Transport(QObject):
    """Base of all transports.

    Signals:
        opened: bytes can be written.
        closed: the stream ended, or never began; the sentence says why and what to do.
        bytes_received: :meth:`read` has something.
    """

    opened = Signal()
    closed = Signal(str)
    bytes_received = Signal()

    restarts_host = False
    """If the host leaves, opening again starts one of this very version."""

    def open(self) -> None:
        """Begin to open; answered by ``opened`` or ``closed``."""
        raise NotImplementedError

    def close(self) -> None:
        """End the stream. ``closed`` follows, with an empty sentence, unless it was closed."""
        raise NotImplementedError

    def read(self, limit: int) -> bytes:
        """At most ``limit`` bytes that have arrived; empty if there are none."""
        raise NotImplementedError

    def write(self, data: bytes) -> None:
        """Send bytes; they are kept until the other side takes them."""
        raise NotImplementedError

    def token(self) -> str:
        """What the first frame must carry; empty if the other side fills it in."""
        return ""


class LocalTransport(Transport):
    """The host of this machine, over its local socket; started if it is not there."""

    restarts_host = True

    def __init__(
        self,
        parent: QObject | None = None,
        *,
        launch: Callable[[], None] | None = client.start_host,
    ) -> None:
        super().__init__(parent)
        self._launch = launch
        self._waited_ms = 0
        self._socket = QLocalSocket(self)
        self._socket.setReadBufferSize(READ_BUFFER_BYTES)
        self._socket.connected.connect(self._on_connected)
        self._socket.disconnected.connect(self._on_disconnected)
        self._socket.errorOccurred.connect(self._on_error)
        self._socket.readyRead.connect(self.bytes_received)
        self._poll = QTimer(self, singleShot=True, interval=_POLL_MS)
        self._poll.timeout.connect(self._on_poll)
        self._open = False
        self._asked_to_close = False

    def open(self) -> None:
        self._waited_ms = 0
        self._asked_to_close = False
        self._connect()

    def close(self) -> None:
        self._asked_to_close = True
        waiting = self._poll.isActive()
        self._poll.stop()
        self._socket.abort()
        if waiting:
            self.closed.emit("")

    def read(self, limit: int) -> bytes:
        return bytes(self._socket.read(limit).data()) if self._socket.isOpen() else b""

    def write(self, data: bytes) -> None:
        self._socket.write(data)
        self._socket.flush()

    def token(self) -> str:
        try:
            return paths.token_file().read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            return ""  # The host refuses it in a sentence.

    def _connect(self) -> None:
        self._socket.connectToServer(paths.socket_address())

    def _on_connected(self) -> None:
        self._open = True
        self.opened.emit()

    def _on_disconnected(self) -> None:
        if not self._open:
            return
        self._open = False
        lost = "The engine's host ended. Fettle starts it again; what is saved is safe."
        self.closed.emit("" if self._asked_to_close else lost)

    def _on_error(self, _error: QLocalSocket.LocalSocketError) -> None:
        if self._open or self._asked_to_close:
            return  # ``disconnected`` follows.
        if self._waited_ms == 0 and self._launch is not None:
            try:
                self._launch()
            except client.HostFailed as failure:
                self.closed.emit(failure.sentence)
                return
        self._poll.start()

    def _on_poll(self) -> None:
        self._waited_ms += _POLL_MS
        if self._launch is None or self._waited_ms > START_SECONDS * 1000:
            log = paths.host_folder() / "host.log"
            self.closed.emit(
                f"The engine's host does not answer (waited {self._waited_ms / 1000:.0f} s). "
                f"Its log says why: {log}"
            )
        else:
            self._connect()


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """How a relay command ended."""

    started: bool
    """False: there is no such program."""
    exit_code: int
    output: str
    """The last of what it wrote to stderr."""
    was_open: bool
    """Something had come over the stream before."""


class ProcessTransport(Transport):
    """The stdin and stdout of a command that relays the stream of a host elsewhere."""

    def __init__(
        self,
        command: list[str],
        explain: Callable[[Ending], str],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._explain = explain
        self._stderr = b""
        self._was_open = False
        self._asked_to_close = False
        self._process = QProcess(self)
        self._process.setProgram(command[0])
        self._process.setArguments(command[1:])
        environment = QProcessEnvironment.systemEnvironment()
        environment.insert("WSL_UTF8", "1")  # else wsl.exe writes its errors as UTF-16
        self._process.setProcessEnvironment(environment)
        self._process.started.connect(self.opened)
        self._process.readyReadStandardOutput.connect(self._on_output)
        self._process.readyReadStandardError.connect(self._on_stderr)
        self._process.finished.connect(self._on_finished)
        self._process.errorOccurred.connect(self._on_error)
        self._killer = QTimer(self, singleShot=True, interval=_KILL_AFTER_MS)
        self._killer.timeout.connect(self._process.kill)
        application = QCoreApplication.instance()
        if application is not None:
            application.aboutToQuit.connect(self._on_about_to_quit)

    def open(self) -> None:
        self._stderr = b""
        self._was_open = self._asked_to_close = False
        self._process.start()

    def close(self) -> None:
        self._asked_to_close = True
        if self._process.state() != QProcess.ProcessState.NotRunning:
            self._process.closeWriteChannel()
            self._killer.start()

    def read(self, limit: int) -> bytes:
        return bytes(self._process.read(limit).data()) if self._process.isOpen() else b""

    def write(self, data: bytes) -> None:
        self._process.write(data)

    def _on_about_to_quit(self) -> None:
        self.close()  # The relay ends at the end of its input; there is no event loop to wait in.
        if not self._process.waitForFinished(_KILL_AFTER_MS):
            self._process.kill()
            self._process.waitForFinished(_KILL_AFTER_MS)

    def _on_output(self) -> None:
        self._was_open = True
        self.bytes_received.emit()

    def _on_stderr(self) -> None:
        new = bytes(self._process.readAllStandardError().data())
        self._stderr = (self._stderr + new)[-_STDERR_KEPT_BYTES:]

    def _on_finished(self, exit_code: int, _status: QProcess.ExitStatus) -> None:
        self._killer.stop()
        self._on_stderr()
        self._end(started=True, exit_code=exit_code)

    def _on_error(self, error: QProcess.ProcessError) -> None:
        if error == QProcess.ProcessError.FailedToStart:
            self._end(started=False, exit_code=-1)

    def _end(self, *, started: bool, exit_code: int) -> None:
        ending = Ending(
            started=started,
            exit_code=exit_code,
            output=decode_output(self._stderr),
            was_open=self._was_open,
        )
        self.closed.emit("" if self._asked_to_close else self._explain(ending))


def decode_output(raw: bytes) -> str:
    """What a command printed, as text; wsl.exe may answer in UTF-16."""
    wide = raw.count(0) * 3 > len(raw)
    return raw.decode("utf-16-le" if wide else "utf-8", "replace").replace("\ufeff", "").strip()
