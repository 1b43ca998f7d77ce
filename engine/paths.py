"""Where Fettle keeps things on this machine.

Everything that lives longer than a process lies below one folder, the *home*: ``FETTLE_HOME`` if
set, else the platform's user data folder. The socket is the exception: its path has a length
limit, so it may lie in a short private folder named after the home.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from pathlib import Path

import platformdirs

RESOURCES = Path(__file__).resolve().parents[1] / "resources"
"""Bundled data: models, hardware, samples, icons, fonts, themes, help."""

_SUN_PATH_MAX = 100
"""Longest socket path used, in bytes: Linux allows 107, macOS 103."""


def home() -> Path:
    """The folder of all of Fettle's state (``FETTLE_HOME`` moves it). It may not exist yet."""
    moved = os.environ.get("FETTLE_HOME")
    if moved:
        return Path(moved).expanduser().resolve()
    return Path(platformdirs.user_data_dir("fettle", appauthor=False))


def make_home() -> Path:
    """The home, made if it is not there yet, and then for its owner only. Raises OSError."""
    folder = home()
    folder.parent.mkdir(parents=True, exist_ok=True)
    # One that is there may have been opened to others on purpose.
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    return folder


def store() -> Path:
    """The folder that holds one folder a run."""
    return home() / "runs"


def rehearsals() -> Path:
    """The folder that holds one folder a rehearsal, while it goes on."""
    return home() / "rehearsals"


def host_folder() -> Path:
    """The private (0700) folder of the host: token, lock, log and, where it fits, the socket."""
    return home() / "host"


def token_file() -> Path:
    """The 0600 file with the token that a client's first frame must carry."""
    return host_folder() / "token"


def socket_address() -> str:
    """Path of the host's Unix socket, or the name of its pipe on Windows.

    The same home always gives the same address, so that clients need no look-up.
    """
    digest = hashlib.sha256(str(home()).encode()).hexdigest()[:16]
    if sys.platform == "win32":
        return rf"\\.\pipe\fettle-{digest}"
    direct = host_folder() / "host.sock"
    if len(os.fsencode(direct)) <= _SUN_PATH_MAX:
        return str(direct)
    # Not XDG_RUNTIME_DIR or TMPDIR: two clients may have different ones, or none.
    return str(Path("/tmp") / f"fettle-{os.getuid()}-{digest}" / "host.sock")
