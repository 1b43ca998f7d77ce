"""``fettle pause`` and ``fettle continue``."""

from __future__ import annotations

from argparse import Namespace

import msgspec

from engine.cli.output import Exit, Output
from engine.cli.training import newest_record
from engine.cli.watch import watch
from engine.client import Refused, connect
from engine.contract.lifecycle import State
from engine.contract.messages import Done, Pause, Resume, RunSummary, Show, StateChanged

_GO_ON = "Go on with it: fettle continue {}"


def pause(arguments: Namespace, output: Output) -> Exit:
    """Ask a run to give the card back, and wait until it has."""
    since = newest_record(arguments.run)
    with connect() as client:
        paused = client.request(Pause(id=0, run=arguments.run))
        if paused["state"] == State.PAUSED:
            output.emit(paused)
            if not output.as_json:
                output.say(f"{paused['run']} is paused. {paused['sentence']}".rstrip())
                output.say(_GO_ON.format(paused["run"]))
            return Exit.FINISHED
        for message in client.follow(arguments.run, since):
            if isinstance(message, StateChanged) and message.state is State.PAUSED:
                output.emit(message)
                if not output.as_json:
                    output.say(f"Paused. {message.sentence}")
                    output.say(_GO_ON.format(paused["run"]))
                return Exit.FINISHED
            if isinstance(message, Done):
                raise Refused(
                    f"The run ended before it could pause: {message.outcome}.", code="wrong_state"
                )
    return Exit.FAILED


def continue_(arguments: Namespace, output: Output) -> Exit:
    """Let a paused run go on, and follow what is new of it to its end."""
    since = newest_record(arguments.run)
    client = connect()
    shown = client.request(Show(id=0, run=arguments.run))["summary"]
    summary = msgspec.convert(shown, RunSummary)
    if summary.state is not State.PAUSED:
        client.close()
        raise Refused(
            f"{summary.run} is {summary.state.value} and not paused. `fettle resume` goes on with "
            "a run that has ended.",
            code="wrong_state",
        )
    resumed = client.request(Resume(id=0, run=summary.run))
    output.emit(resumed)
    if not output.as_json:
        step = resumed["step"]
        usual = f"goes on from step {step}." if step else "begins anew: there is no save."
        output.say(resumed.get("passed_over") or f"{summary.run} {usual}")
    if arguments.detach:
        client.close()
        return Exit.FINISHED
    return watch(client, output, summary.run, since)
