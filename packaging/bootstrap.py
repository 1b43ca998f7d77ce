#!/usr/bin/env python3
"""Sets Fettle up beside this file's repository and starts it. Needs Python 3.11 or newer, no more.

    python3 packaging/bootstrap.py demo [--headless]   train a tiny model, from nothing
    python3 packaging/bootstrap.py app                 open the window
    python3 packaging/bootstrap.py test [pytest args]  every check of the repository
    python3 packaging/bootstrap.py install             only set up

Every verb sets up first what is missing, and is quick where nothing is. An interrupted set-up goes
on with the next call.

This file has to parse on any Python 3, to say to its owner what is wrong; the modules beside it
need not, and are imported after the check.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

OLDEST = (3, 11)
NEWEST = (3, 14)
"""Newest Python that the pinned packages are built for."""

ROOT = Path(__file__).resolve().parents[1]


def main(arguments: list[str]) -> int:
    complaint = python_complaint(sys.version_info[:2], sys.maxsize)
    if complaint:
        return _give_up(complaint)
    verb, rest = _read(arguments)
    import environment

    # Asked to end, take along what runs: pip, the tests.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        return _do(verb, rest)
    except environment.InstallError as error:
        return _give_up(str(error))
    except KeyboardInterrupt:
        print("\nStopped. The next call goes on from here.", file=sys.stderr)
        return 130


def python_complaint(version: tuple[int, ...], maxsize: int) -> str:
    """What is wrong with this Python, or an empty string."""
    have = ".".join(map(str, version))
    span = "3.{} to 3.{}".format(OLDEST[1], NEWEST[1])
    if OLDEST <= tuple(version) <= NEWEST:
        if maxsize < 2**32:
            return "This Python is a 32-bit one, and torch needs 64 bits. Install the 64-bit one."
        return ""
    found = _other_python()
    if found:
        return (
            "This is Python {}; Fettle needs {}. You have one: start it again with\n  {} {}".format(
                have, span, found, " ".join(sys.argv)
            )
        )
    return (
        "This is Python {}; Fettle needs {}. Get one from https://www.python.org/downloads/ or "
        "your system's packages (Debian, Ubuntu: sudo apt install python3.12 python3.12-venv), "
        "and start this file with it.".format(have, span)
    )


def _other_python() -> str | None:
    for minor in range(NEWEST[1], OLDEST[1] - 1, -1):
        name = "python3.{}".format(minor)
        found = shutil.which(name)
        # A name may be there without a Python behind it: pyenv's stand-ins are like that.
        if found and subprocess.call([found, "-c", ""], stderr=subprocess.DEVNULL) == 0:
            return name
    return None


def _read(arguments: list[str]) -> tuple[str, list[str]]:
    parser = argparse.ArgumentParser(
        prog="bootstrap.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("verb", choices=["demo", "app", "test", "install"])
    parser.add_argument("rest", nargs=argparse.REMAINDER, help="handed on to what is started")
    known = parser.parse_args(arguments)
    return known.verb, known.rest


def _do(verb: str, rest: list[str]) -> int:
    import gates
    import installer
    import machine

    venv = installer.ensure(ROOT, dev=verb == "test")
    if verb == "install":
        return 0
    if verb == "test":
        installer.require_qt(venv, on_screen=False)
        return gates.run(venv, ROOT, rest)
    if verb == "app" or (machine.has_screen() and "--headless" not in rest):
        installer.require_qt(venv, on_screen=True)
    return _become([str(venv.script("fettle")), verb, *rest])


def _become(command: list[str]) -> int:
    """Hand over to the program. Windows has no exec that a console waits for."""
    sys.stdout.flush()
    if os.name == "posix":
        os.execv(command[0], command)
    # Ctrl-C is for the program; this process only waits for its exit code.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return subprocess.call(command)


def _give_up(sentence: str) -> int:
    print(sentence, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
