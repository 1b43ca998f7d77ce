"""``fettle follow``, ``stop``, ``checkpoint``, ``remove`` and ``report``."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

from engine.cli import words
from engine.cli.output import Exit, Output
from engine.cli.training import newest_record
from engine.cli.watch import Watcher, watch
from engine.cli.watch import report as last_words
from engine.client import Refused, connect
from engine.contract.messages import (
    CheckpointSaved,
    Done,
    Finding,
    MakeReport,
    Remove,
    SaveCheckpoint,
    Stop,
)
from engine.contract.messages import Show as ShowRequest


def follow(arguments: Namespace, output: Output) -> Exit:
    """Show a run from record ``--since`` on, to its end."""
    return watch(connect(), output, arguments.run, arguments.since)


def stop(arguments: Namespace, output: Output) -> Exit:
    """Ask a run to stop, and wait until its save is done."""
    since = newest_record(arguments.run)
    client = connect()
    client.request(Stop(id=0, run=arguments.run, now=arguments.now))
    watcher = Watcher(client, output)
    try:
        done = watcher.to_the_end(arguments.run, since)
    finally:
        watcher.client.close()
    last_words(output, done, watcher.said)
    return Exit.FAILED if done.outcome == "failed" else Exit.FINISHED


def checkpoint(arguments: Namespace, output: Output) -> Exit:
    """Ask a run to save, and wait until it has."""
    since = newest_record(arguments.run)
    with connect() as client:
        client.request(SaveCheckpoint(id=0, run=arguments.run))
        for message in client.follow(arguments.run, since):
            if isinstance(message, CheckpointSaved):
                output.emit(message)
                if not output.as_json:
                    output.say(
                        f"Saved at step {message.step}: {words.size(message.bytes)}, "
                        f"{message.folder}"
                    )
                return Exit.FINISHED
            if isinstance(message, Finding) and message.code == "save_failed":
                reason = " ".join(filter(None, (message.title, message.cause)))
                output.refuse(Refused(reason, code="save_failed"))
                return Exit.FAILED
            if isinstance(message, Done):
                raise Refused(
                    f"The run ended before it could save: {message.outcome}.", code="wrong_state"
                )
    return Exit.FAILED


def remove(arguments: Namespace, output: Output) -> Exit:
    """Delete a run's folder; asks first, and without ``--yes`` refuses where nobody can answer."""
    with connect() as client:
        shown = client.request(ShowRequest(id=0, run=arguments.run))["summary"]
        if not arguments.yes and not (output.is_terminal and sys.stdin.isatty()):
            raise Refused(
                f"Nothing was removed: nobody can be asked here. Add --yes to delete "
                f"{shown['folder']} with its saves and results."
            )
        if not arguments.yes and not _is_sure(shown["folder"]):
            output.say("Nothing was removed.")
            return Exit.FINISHED
        client.request(Remove(id=0, run=shown["run"]))
    output.emit({"run": shown["run"], "folder": shown["folder"], "removed": True})
    if not output.as_json:
        output.say(f"Removed {shown['folder']}")
    return Exit.FINISHED


def report(arguments: Namespace, output: Output) -> Exit:
    """Write a report of a run; the host does it, and so it works where training does not."""
    place = str(Path(arguments.out).expanduser().absolute()) if arguments.out else ""
    request = MakeReport(id=0, run=arguments.run, path=place, with_data=arguments.with_data)
    with connect() as client:
        made = client.request(request)
    output.emit(made)
    if not output.as_json:
        output.say(f"{made['path']} ({words.size(made['bytes'])})")
        left_out = "tokens and names" if arguments.with_data else "tokens, names and rows of data"
        output.say(f"Without {left_out}; look it through before you give it away.")
    return Exit.FINISHED


def _is_sure(folder: str) -> bool:
    answer = input(f"Delete {folder} with its checkpoints and results? [y/N] ")
    return answer.strip().lower() in ("y", "yes")
