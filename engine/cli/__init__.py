"""``fettle``: the terminal's way to the engine; a client of the same host as the window."""

from __future__ import annotations

import time


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code (see :class:`engine.cli.output.Exit`)."""
    began = time.monotonic()
    from engine.cli.commands import run

    return run(argv, began)
