"""``fettle``: the terminal's way to the engine; a client of the same host as the window."""

from __future__ import annotations


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code (see :class:`engine.cli.output.Exit`)."""
    from engine.cli.commands import run

    return run(argv)
