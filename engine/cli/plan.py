"""``fettle plan``: whether a spec fits before it starts, what it is made of, what could change."""

from __future__ import annotations

import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import msgspec

from engine.cli import settings
from engine.cli.output import Exit, Output
from engine.cli.plan_report import report
from engine.client import Client, Refused, connect
from engine.contract.messages import Complaint, Facts, Trace
from engine.contract.spec import Spec
from engine.contract.toml import to_raw
from engine.paths import home
from engine.planning.choices import device_of, precision_of, settle
from engine.planning.embedding_words import advice
from engine.planning.facts import MachineFacts
from engine.planning.form import Form
from engine.planning.hardware import Machine, UnknownProfile, machine_of
from engine.planning.ladder import make_it_fit
from engine.planning.plan import Plan
from engine.planning.planner import make_plan, taught

TRACE_SECONDS = 120.0
"""For one trace: a worker may have to import everything first."""
LADDER_SECONDS = 1.2
"""For the forms of all that could be changed; what has none by then is left out."""
_MIB = 1 << 20


def plan(arguments: Namespace, output: Output) -> Exit:
    """Plan what a file describes. Finishes with 0 where it fits, 20 where it does not."""
    _, spec = settings.load(Path(arguments.spec), arguments.settings)
    with connect() as client:
        machine = _machine(client, spec, arguments)
        settled, _ = settle(spec, machine)
        traces = Traces(client, machine)
        if output.is_terminal:
            output.progress("Tracing a step of the model …")
        form, config = traces.first(settled)
        traces.limit(None if arguments.fit else LADDER_SECONDS)
        fix = make_it_fit(settled, form, machine, traces.form) if arguments.fit else None
        found = make_plan(spec, form, machine, forms=traces.form, advice=advice(settled, config))
    _show(found, fix, arguments, output)
    return Exit.FAILED if found.verdict == "does_not_fit" else Exit.FINISHED


def _show(found: Plan, fix: dict[str, Any] | None, arguments: Namespace, output: Output) -> None:
    raw = {"type": "plan", **msgspec.to_builtins(found), "margin_bytes": found.margin_bytes}
    output.emit(raw | ({"make_it_fit": fix} if arguments.fit else {}))
    if output.as_json:
        return
    for line in report(found, output):
        output.say(line)
    if arguments.fit:
        output.say(_fix_sentence(found, fix))


def _fix_sentence(found: Plan, fix: dict[str, Any] | None) -> str:
    if fix:
        return "Make it fit: " + " ".join(f"--set {k}={v}" for k, v in fix.items())
    if fix is None:
        return "Nothing that keeps the result makes it fit."
    return "It fits as it is." if found.verdict == "fits" else "Nothing makes more room."


def _machine(client: Client, spec: Spec, arguments: Namespace) -> Machine:
    """The machine that was asked for. Raises :class:`Refused` if there is no such profile."""
    facts = msgspec.convert(client.request(Facts(id=0))["facts"], MachineFacts)
    profile = arguments.profile or spec.hardware.profile
    try:
        machine = machine_of(facts, profile, arguments.platform, gpu=spec.hardware.gpu)
    except UnknownProfile as error:
        field = "--profile" if arguments.profile else "hardware.profile"
        complaint = Complaint(field=field, problem=str(error))
        raise Refused(str(error), [complaint]) from error
    machine = taught(machine, home())
    if arguments.pinned is not None:
        budget = arguments.pinned * _MIB
        machine = msgspec.structs.replace(machine, pinned_budget_bytes=budget)
    return machine


class Traces:
    """Forms from the host, as long as there is time."""

    def __init__(self, client: Client, machine: Machine) -> None:
        self._client = client
        self._machine = machine
        self._deadline: float | None = None

    def first(self, spec: Spec) -> tuple[Form, dict[str, Any]]:
        """The form without which there is no plan, and the model's config. Raises
        :class:`Refused`."""
        return self._ask(spec)

    def limit(self, seconds: float | None) -> None:
        """From now on, give no form that is begun later than that; None: wait for all."""
        self._deadline = None if seconds is None else time.monotonic() + seconds

    def form(self, spec: Spec) -> Form | None:
        """The form of a spec that could be tried; None if it cannot be traced, or time is up."""
        if self._deadline is not None and time.monotonic() > self._deadline:
            return None
        try:
            return self._ask(spec)[0]
        except Refused:
            return None

    def _ask(self, spec: Spec) -> tuple[Form, dict[str, Any]]:
        request = Trace(
            id=0,
            spec=to_raw(spec),
            device=device_of(self._machine),
            precision=precision_of(spec, self._machine)[0],
        )
        reply = self._client.request(request, TRACE_SECONDS)
        return msgspec.convert(reply["form"], Form), reply["config"]
