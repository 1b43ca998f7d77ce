"""``fettle app``: the window, as a process of its own. Nothing here imports Qt."""

from __future__ import annotations

import os
import subprocess
import sys
from argparse import Namespace
from importlib.util import find_spec
from pathlib import Path

import engine
from engine.cli.output import Exit, Output
from engine.launch import ClientError


def app(arguments: Namespace, output: Output) -> Exit:
    """Open the window and return when it is closed."""
    if (missing := why_no_window()) is not None:
        raise ClientError(missing)
    return Exit.FINISHED if open_window() == 0 else Exit.FAILED


def why_no_window() -> str | None:
    """Why no window can be opened here; None if one can."""
    if find_spec("PySide6") is None:
        return "The window needs PySide6, which is not installed: pip install 'fettle[app]'"
    if sys.platform == "win32" or sys.platform == "darwin":
        return None
    if any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")):
        return None
    return "There is no display here (neither DISPLAY nor WAYLAND_DISPLAY is set)."


def open_window(*arguments: str) -> int:
    """Run the window until it is closed; returns its exit code."""
    command = [sys.executable, "-m", "app.main", *arguments]
    return subprocess.run(command, cwd=Path(engine.__file__).parents[1], check=False).returncode
