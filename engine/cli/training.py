"""``fettle train`` and ``fettle resume``."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import msgspec

from engine.cli import settings
from engine.cli.fixing import wanted_fix
from engine.cli.foretell import foretold
from engine.cli.output import Exit, Output
from engine.cli.watch import watch
from engine.client import connect, connect_to_train
from engine.contract.messages import Follow, Resume, Start
from engine.planning.conflicts import Conflict, lines

_BEYOND = 1 << 53
"""A record number that no run reaches."""


def train(arguments: Namespace, output: Output) -> Exit:
    """Start a run and follow it to its end."""
    raw, spec = settings.load(Path(arguments.spec), arguments.settings)
    client = connect_to_train(output.warn)
    started = client.request(Start(id=0, spec=raw, plan=foretold(client, spec, output)))
    _announce(output, started)
    if arguments.detach:
        client.close()
        # Who follows the run sees them among its records.
        _warn(output, started.get("conflicts", []))
        return Exit.FINISHED
    return watch(client, output, started["run"])


def _warn(output: Output, found: list[dict[str, Any]]) -> None:
    for line in lines(msgspec.convert(found, list[Conflict])):
        output.warn(line)


def resume(arguments: Namespace, output: Output) -> Exit:
    """Go on with a run, and follow what is new of it to its end."""
    since = newest_record(arguments.run)
    client = connect_to_train(output.warn)
    patch = wanted_fix(client, arguments, output) if arguments.fix else {}
    resumed = client.request(Resume(id=0, run=arguments.run, patch=patch))
    _announce(output, resumed)
    if not output.as_json:
        step = resumed.get("step", 0)
        usual = f"Goes on from step {step}." if step else "There is no save: starts again."
        output.say(resumed.get("passed_over") or usual)
    if arguments.detach:
        client.close()
        return Exit.FINISHED
    return watch(client, output, resumed["run"], since)


def newest_record(run: str) -> int:
    """The number of the run's newest record, so that following can begin after it."""
    # On a connection of its own: what this following still sends must not mix with the real one's.
    with connect() as client:
        newest: int = client.request(Follow(id=0, run=run, since=_BEYOND))["seq"]
    return newest


def _announce(output: Output, reply: dict[str, Any]) -> None:
    output.emit(reply)
    if not output.as_json:
        output.say(f"Run {output.paint(reply['run'], 'bold')} in {reply['folder']}")
