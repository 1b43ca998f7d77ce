"""``fettle app``: the window, as a process of its own. Nothing here imports Qt."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from argparse import Namespace
from importlib.util import find_spec
from pathlib import Path

import engine
from engine.cli.output import Exit, Output
from engine.client import Refused

X11_LIBRARIES = {
    "libxcb-cursor.so.0": "libxcb-cursor0",
    "libxcb-icccm.so.4": "libxcb-icccm4",
    "libxcb-keysyms.so.1": "libxcb-keysyms1",
    "libxcb-image.so.0": "libxcb-image0",
    "libxcb-render-util.so.0": "libxcb-render-util0",
    "libxcb-shape.so.0": "libxcb-shape0",
    "libxcb-xkb.so.1": "libxcb-xkb1",
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
}
"""What Qt needs for X11 and a server may lack, each with its package on Debian and Ubuntu."""


def app(arguments: Namespace, output: Output) -> Exit:
    """Open the window and return when it is closed."""
    if (missing := why_no_window()) is not None:
        raise Refused(
            f"{missing} `fettle demo` and all other commands do without.", code="no_window"
        )
    return Exit.FINISHED if open_window() == 0 else Exit.FAILED


def why_no_window() -> str | None:
    """Why no window can be opened here; None if one can."""
    if find_spec("PySide6") is None:
        return "The window needs PySide6, which is not installed: pip install 'fettle[app]'"
    if sys.platform == "win32" or sys.platform == "darwin":
        return None
    if any(os.environ.get(name) for name in ("WAYLAND_DISPLAY", "QT_QPA_PLATFORM")):
        return None
    if os.environ.get("DISPLAY"):
        return _why_no_x11()
    return "There is no display here (neither DISPLAY nor WAYLAND_DISPLAY is set)."


def _why_no_x11() -> str | None:
    """What Qt would miss to draw on an X11 display, before it says so in words of its own."""
    missing = [name for name in X11_LIBRARIES if not _is_there(name)]
    if not missing:
        return None
    return (
        f"The window needs system libraries that are missing: {', '.join(missing)}. Install them, "
        f"on Debian and Ubuntu with\n  sudo apt install {' '.join(X11_LIBRARIES.values())}"
    )


def _is_there(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def open_window(*arguments: str) -> int:
    """Run the window until it is closed; returns its exit code."""
    command = [sys.executable, "-m", "app.main", *arguments]
    return subprocess.run(command, cwd=Path(engine.__file__).parents[1], check=False).returncode
