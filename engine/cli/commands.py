"""From a command line to an exit code."""

from __future__ import annotations

import os
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from importlib import import_module
from keyword import iskeyword

from engine.cli.output import Exit, Output, ReaderGone
from engine.cli.parser import UsageError, build, wants_json
from engine.client import Refused
from engine.launch import ClientError

Command = Callable[[Namespace, Output], Exit]

_MODULES = {
    "train": "training",
    "resume": "training",
    "plan": "plan",
    "rehearse": "rehearse",
    "data": "data",
    "runs": "listing",
    "show": "listing",
    "follow": "control",
    "stop": "control",
    "pause": "pausing",
    "continue": "pausing",
    "checkpoint": "control",
    "verify": "verify",
    "remove": "control",
    "report": "control",
    "spec": "specs",
    "sample-model": "samples",
    "demo": "demo",
    "options": "options",
    "doctor": "doctor",
    "app": "window",
}
"""The module of :mod:`engine.cli` that has the command's function, named like the command."""


def run(argv: list[str] | None, began: float | None = None) -> int:
    """Run the command of ``argv`` (None: of the process) and return its exit code. ``began``: when
    whoever waits for it began to (monotonic); None: now."""
    output = Output(as_json=wants_json(argv))
    try:
        arguments = build().parse_args(argv)
        arguments.began = time.monotonic() if began is None else began
        return int(_find(arguments.command)(arguments, output))
    except UsageError as error:
        output.refuse(Refused(str(error)))
        return Exit.BAD_INPUT
    except Refused as refused:
        output.refuse(_in_words_of(arguments, refused))
        return Exit.BUSY if refused.code == "busy" else Exit.BAD_INPUT
    except ClientError as error:
        output.refuse(Refused(error.sentence, code="no_host"))
        return Exit.FAILED
    except KeyboardInterrupt:
        output.say("Left.")
        return Exit.DETACHED
    except ReaderGone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.DETACHED


def _in_words_of(arguments: Namespace, refused: Refused) -> Refused:
    """With what to type, where the command takes changes of its spec; ``data`` has said so itself,
    in options of its own."""
    if arguments.command == "data" or not hasattr(arguments, "settings"):
        return refused
    from engine.cli.flags import advised

    return advised(refused)


def _find(command: str) -> Command:
    # Looked up late, so that --help and --version load none of them.
    module = import_module(f"engine.cli.{_MODULES[command]}")
    name = command.replace("-", "_")
    found: Command = getattr(module, f"{name}_" if iskeyword(name) else name)
    return found
