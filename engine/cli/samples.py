"""``fettle sample-model``: a tiny model to try things with."""

from __future__ import annotations

import tempfile
from argparse import Namespace
from pathlib import Path

from engine.cli import words
from engine.cli.jobs import JobWorker
from engine.cli.output import Exit, Output
from engine.client import Refused
from engine.contract.messages import Job


def sample_model(arguments: Namespace, output: Output) -> Exit:
    """Write the model; an existing folder must be empty."""
    if not arguments.dir.strip():
        raise Refused("The folder has no name. Name a new folder.")
    folder = Path(arguments.dir).expanduser().absolute()
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise Refused(f"{folder} is there already and not empty. Name a new folder.")
        _try_place(folder)
    except OSError as error:
        why = error.strerror or str(error)
        raise Refused(f"{folder} cannot be made: {why}. Name a folder elsewhere.") from None
    make(folder, {"family": arguments.family, "seed": arguments.seed}, output)
    bytes_ = folder_bytes(folder)
    output.emit({"folder": str(folder), "family": arguments.family, "bytes": bytes_})
    if not output.as_json:
        output.say(f"Wrote a {arguments.family} model ({words.size(bytes_)}) to {folder}")
    return Exit.FINISHED


def _try_place(folder: Path) -> None:
    """Raises OSError if no folder can be made where ``folder`` will lie; leaves nothing there."""
    above = next(parent for parent in folder.parents if parent.exists())
    # Rights alone do not tell: root has all of them in /proc too.
    Path(tempfile.mkdtemp(prefix=".fettle-", dir=above)).rmdir()


def make(folder: Path, options: dict[str, object], output: Output) -> None:
    """Have a worker write a sample model to ``folder``. Raises JobFailed."""
    if output.is_terminal:
        output.progress("Making the model…")
    with JobWorker() as worker:
        worker.run(Job(kind="sample_model", folder=str(folder), spec=options), output.emit)
    output.clear_progress()


def folder_bytes(folder: Path) -> int:
    """Size of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
