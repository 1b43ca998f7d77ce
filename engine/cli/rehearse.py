"""``fettle rehearse``: the heaviest steps of a run are tried, and measured beside the plan."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import msgspec

from engine.cli import settings
from engine.cli.foretell import Traces, machine_for
from engine.cli.output import Exit, Output
from engine.cli.progress import RunProgress, sentence
from engine.cli.rehearse_report import report
from engine.client import Client, HostFailed, HostLost, Refused, connect_to_train
from engine.contract.messages import Finding, Message, PhaseChanged, Rehearse, Rehearsed
from engine.contract.spec import Spec
from engine.planning.choices import patched, settle
from engine.planning.hardware import AUTO
from engine.planning.plan import Plan
from engine.planning.planner import make_plan
from engine.planning.pools import planned_pools

_EXITS = {"fits": Exit.FINISHED, "would_die": Exit.WOULD_DIE, "stopped": Exit.STOPPED}


def rehearse(arguments: Namespace, output: Output) -> Exit:
    """Try what a file describes. 0 if it would get through, 3 if it would die."""
    raw, spec = settings.load(Path(arguments.spec), arguments.settings)
    with connect_to_train(output.warn) as client:
        name = client.request(Rehearse(id=0, spec=raw))["rehearsal"]
        try:
            found = _to_the_end(client, name, output)
            found = _beside_plan(client, spec, found)
        except KeyboardInterrupt:
            # The host ends it as soon as the connection is closed.
            output.say("Stopped. Nothing of the rehearsal is left.")
            return Exit.STOPPED
        except HostLost:
            raise Refused("The host ended, and the rehearsal with it. Try it again.") from None
    output.emit(found)
    if not output.as_json:
        for line in report(found, spec.name, output):
            output.say(line)
    return _EXITS[found.verdict]


def _to_the_end(client: Client, name: str, output: Output) -> Rehearsed:
    progress = RunProgress()
    for message in client.messages():
        if getattr(message, "run", "") != name:
            continue
        if isinstance(message, Rehearsed):
            output.clear_progress()
            return message
        output.emit(message)
        progress.feed(message)
        _show(message, progress, output)
    raise HostLost("The host ended.")


def _show(message: Message, progress: RunProgress, output: Output) -> None:
    if output.as_json:
        return
    if isinstance(message, Finding) and message.severity != "error":
        output.say(output.paint(sentence(message) or "", "yellow"))
    elif output.is_terminal:
        output.progress(f"Trying: {_doing(message) or progress.line()}")


def _doing(message: Message) -> str:
    return message.detail if isinstance(message, PhaseChanged) else ""


# ---------------------------------------------------------------- the plan beside it


def _beside_plan(client: Client, spec: Spec, found: Rehearsed) -> Rehearsed:
    """With what the plan says of the very batch that was tried; as it is where there is no plan."""
    if found.verdict != "fits":
        return found
    try:
        planned = planned_pools(_plan(client, spec, found))
    except (Refused, HostFailed):
        # What was measured stands without it.
        return found
    pools = [
        msgspec.structs.replace(pool, planned_bytes=planned.get(pool.pool, pool.planned_bytes))
        for pool in found.pools
    ]
    return msgspec.structs.replace(found, pools=pools)


def _plan(client: Client, spec: Spec, found: Rehearsed) -> Plan:
    tried = patched(
        spec,
        {
            "training.max_length": found.heaviest_tokens,
            "training.per_device_train_batch_size": found.heaviest_rows,
        },
    )
    machine = machine_for(client, tried, AUTO)
    settled, _ = settle(tried, machine)
    return make_plan(tried, Traces(client, machine).first(settled)[0], machine)
