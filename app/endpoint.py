"""Where the engine lives: this machine, a WSL distribution, or another machine over SSH.

A place gives a transport; what can go wrong on the way is told in a sentence with its remedy. The
relay (``python -m engine attach``) speaks the same stream as the local socket, so that nothing
behind the transport knows the difference.
"""

from __future__ import annotations

import re
import shlex
from typing import Any, Literal, NamedTuple

import msgspec
from PySide6.QtCore import QObject, QProcess

from app.transport import Ending, LocalTransport, ProcessTransport, Transport

Kind = Literal["this", "wsl", "ssh"]
DEFAULT_PYTHON = "python3"


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where the engine lives."""

    kind: Kind = "this"
    name: str = ""
    """The distribution, or the machine as ``ssh`` knows it; empty for this machine."""
    python: str = DEFAULT_PYTHON
    """The Python there that Fettle's engine is installed in; not used for this machine."""

    @classmethod
    def from_data(cls, data: object) -> Place:
        """The place in stored data; this machine if that cannot be read."""
        try:
            place = msgspec.convert(data, cls)
        except msgspec.ValidationError:
            return cls()
        return cls() if place.problem() else place

    def to_data(self) -> dict[str, Any]:
        """The place as plain values; :meth:`from_data` gives it back."""
        return {"kind": self.kind, "name": self.name, "python": self.python}

    def label(self) -> str:
        """A few words for people."""
        return {
            "this": "this machine",
            "wsl": f"WSL, {self.name}",
            "ssh": f"{self.name} over SSH",
        }[self.kind]

    def problem(self) -> str:
        """What is wrong with what was typed, empty if nothing."""
        if self.kind == "this":
            return ""
        what = "distribution" if self.kind == "wsl" else "machine"
        if not self.name.strip():
            return f"Write the name of the {what}."
        if self.name.startswith("-") or any(c.isspace() for c in self.name):
            return f"{self.name!r} cannot be the name of a {what}."
        if not self.python.strip() or self.python.startswith("-"):
            return "Write the path of the Python that the engine is installed in."
        return ""

    def path_there(self, path: str) -> str:
        """A path of this machine as the engine sees it. Over SSH nothing is shared: unchanged."""
        if self.kind != "wsl":
            return path
        drive = re.fullmatch(r"([A-Za-z]):[\\/](.*)", path, re.DOTALL)
        if drive:
            return f"/mnt/{drive[1].lower()}/" + drive[2].replace("\\", "/")
        inside = re.fullmatch(r"[\\/]{2}wsl(?:\$|\.localhost)[\\/][^\\/]+(.*)", path, re.DOTALL)
        return inside[1].replace("\\", "/") if inside else path

    @property
    def shares_files(self) -> bool:
        """Files chosen here can be read there."""
        return self.kind != "ssh"

    def command(self, *arguments: str) -> list[str]:
        """The command that runs ``python -m …`` there."""
        if self.kind == "wsl":
            return ["wsl.exe", "-d", self.name, "--exec", self.python, "-m", *arguments]
        # ssh joins its arguments with spaces and hands them to a shell there.
        quoted = [shlex.quote(part) for part in (self.python, "-m", *arguments)]
        # Without a terminal of its own it would ask for a password on whichever started the window.
        return ["ssh", "-o", "BatchMode=yes", self.name, *quoted]


def transport_to(place: Place, parent: QObject | None = None) -> Transport:
    """The stream to the host at a place, not open yet."""
    if place.kind == "this":
        return LocalTransport(parent)

    def explain_here(ending: Ending) -> str:
        return explain(place, ending)

    return ProcessTransport(place.command("engine", "attach"), explain_here, parent)


def keep_alive(place: Place, run: str) -> None:
    """Keep Windows from ending the distribution under a run when the window is closed.

    WSL counts only what was started through ``wsl.exe``, and our host is not; so a detached
    ``fettle follow`` of the run holds the distribution until the run ends. Elsewhere: nothing.
    """
    if place.kind != "wsl":
        return
    command = place.command("engine.cli", "follow", run, "--json")
    process = QProcess()
    process.setProgram(command[0])
    process.setArguments(command[1:])
    process.setStandardInputFile(QProcess.nullDevice())
    process.setStandardOutputFile(QProcess.nullDevice())
    process.setStandardErrorFile(QProcess.nullDevice())
    process.startDetached()


# ---------------------------------------------------------------- what went wrong, in sentences


class _Rule(NamedTuple):
    pattern: str
    sentence: str


_WSL_RULES = (
    _Rule(
        r"WSL_E_DISTRO_NOT_FOUND|no distribution with the supplied name",
        "There is no WSL distribution called {name}. `wsl.exe --list` names those that are "
        "installed; choose one of them in Settings.",
    ),
    _Rule(
        r"WSL_E_DEFAULT_DISTRO_NOT_FOUND|has no installed distributions",
        "WSL has no distribution yet. Install one with `wsl.exe --install Ubuntu`, then Fettle's "
        "engine in it.",
    ),
    _Rule(
        r"WSL_E_WSL_OPTIONAL_COMPONENT_REQUIRED|HCS_E_SERVICE_NOT_AVAILABLE|HCS_E_HYPERV",
        "WSL 2 is not switched on. Run `wsl.exe --install` as administrator and restart Windows.",
    ),
)

_SSH_RULES = (
    _Rule(
        r"Could not resolve hostname",
        "There is no machine called {name}. Check the name in Settings, or add it to "
        "~/.ssh/config.",
    ),
    _Rule(
        r"Connection refused",
        "{name} refuses SSH connections. Start its SSH server (`sudo systemctl start ssh`), or "
        "check the port in ~/.ssh/config.",
    ),
    _Rule(
        r"timed out|No route to host|Network is unreachable",
        "{name} does not answer. Check that it is on and that this network reaches it.",
    ),
    _Rule(
        r"Permission denied|Too many authentication failures",
        "{name} does not let you in. Fettle cannot type a password: set up a key with "
        "`ssh-copy-id {name}`.",
    ),
    _Rule(
        r"Host key verification failed|REMOTE HOST IDENTIFICATION HAS CHANGED",
        "The key of {name} is not known or has changed. Connect once by hand with `ssh {name}` "
        "and check it.",
    ),
)

_ENGINE_RULES = (
    _Rule(
        r"No module named '?engine",
        "{python} in {where} has no Fettle engine. Run `python3 packaging/bootstrap.py install` "
        "there, and give the path of its .venv/bin/python in Settings.",
    ),
    _Rule(
        r"No module named '?(\w+)",
        "The engine in {where} is not installed in full. Run `python3 packaging/bootstrap.py "
        "install` there again.",
    ),
    _Rule(
        r"execvpe?\(.*\) failed|command not found|: not found|No such file or directory"
        r"|is not recognized|cannot execute",
        "There is no {python} in {where}. Install Fettle there, and give the path of its "
        ".venv/bin/python in Settings.",
    ),
)


def explain(place: Place, ending: Ending) -> str:
    """Why the relay to a place ended and what to do, in a sentence or two."""
    words = {"name": place.name, "python": place.python, "where": place.label()}
    if not ending.started:
        return _no_program(place)
    rules = (_WSL_RULES if place.kind == "wsl" else _SSH_RULES) + _ENGINE_RULES
    for pattern, sentence in rules:
        if re.search(pattern, ending.output, re.IGNORECASE):
            return sentence.format(**words)
    if ending.was_open:
        return (
            f"The connection to {place.label()} ended. What runs there goes on; Fettle connects "
            "again by itself."
        )
    last = ending.output.splitlines()[-1] if ending.output else "it gave no reason"
    return (
        f"No connection to {place.label()} (exit code {ending.exit_code}): {last}. "
        "Try the same command in a terminal: " + shlex.join(place.command("engine", "attach"))
    )


def _no_program(place: Place) -> str:
    if place.kind == "wsl":
        return (
            "There is no wsl.exe here. WSL is a part of Windows: install it with `wsl.exe "
            "--install` in an administrator's terminal, or choose this machine in Settings."
        )
    return (
        "There is no ssh program here. Install the OpenSSH client (Windows: Settings, Optional "
        "features; Linux: package openssh-client), or choose another place in Settings."
    )
