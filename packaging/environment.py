"""The virtual environment as a folder: where its parts are, how it is made and mended."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from csv import reader
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path


class InstallError(Exception):
    """The set-up cannot go on; the text says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class Venv:
    """A virtual environment on disk."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.script("python")

    def script(self, name: str) -> Path:
        if sys.platform == "win32":
            return self.folder / "Scripts" / f"{name}.exe"
        return self.folder / "bin" / name

    @property
    def site_packages(self) -> Path:
        if sys.platform == "win32":
            return self.folder / "Lib" / "site-packages"
        found = sorted((self.folder / "lib").glob("python3*/site-packages"))
        return found[-1] if found else self.folder / "lib" / "site-packages"


def make(venv: Venv) -> None:
    """Make the environment, or mend the one that is there. Raises :class:`InstallError`."""
    if _works(venv):
        _drop_half_installed(venv.site_packages)
        return
    missing = [name for name in ("venv", "ensurepip") if find_spec(name) is None]
    if missing:
        raise InstallError(_no_venv_sentence(" and ".join(missing)))
    shutil.rmtree(venv.folder, ignore_errors=True)
    done = subprocess.run(
        [sys.executable, "-m", "venv", str(venv.folder)],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        raise InstallError(
            f"The environment {venv.folder} could not be made.\n{done.stdout}{done.stderr}".rstrip()
        )


def _no_venv_sentence(modules: str) -> str:
    major, minor = sys.version_info[:2]
    return (
        f"This Python comes without {modules}, so it cannot make an environment. On Debian and "
        f"Ubuntu install it with\n  sudo apt install python{major}.{minor}-venv\n"
        "elsewhere install Python from https://www.python.org/downloads/, and start again."
    )


def _works(venv: Venv) -> bool:
    """Whether the environment is one, was made at this place, and starts."""
    config = venv.folder / "pyvenv.cfg"
    if not config.exists() or not venv.python.exists():
        return False
    script = venv.script("pip")
    try:
        # Scripts carry the absolute path of their Python: a moved environment is a broken one.
        moved = os.fsencode(venv.folder) not in script.read_bytes()
        code = "import pip, sys; sys.exit(sys.prefix == sys.base_prefix)"
        return (
            not moved
            and subprocess.run(
                [venv.python, "-c", code], capture_output=True, check=False
            ).returncode
            == 0
        )
    except OSError:
        return False


def _drop_half_installed(site_packages: Path) -> None:
    """Remove the record of packages whose files are not all there, so that pip installs them anew.

    pip writes a package's list of files last, but takes it for installed without one.
    """
    for info in site_packages.glob("*.dist-info"):
        if not _is_whole(info):
            shutil.rmtree(info)
    for leftover in site_packages.glob("~*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _is_whole(info: Path) -> bool:
    record = info / "RECORD"
    if not record.exists():
        return False
    with record.open(newline="", encoding="utf-8") as file:
        for name, _, size in reader(file):
            try:
                if size and (info.parent / name).stat().st_size != int(size):
                    return False
            except OSError:
                return False
    return True
