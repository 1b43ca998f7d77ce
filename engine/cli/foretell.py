"""What the host is asked for when something is planned: the machine, and forms."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from engine.cli.output import Output
from engine.client import Client, HostFailed, Refused
from engine.contract.messages import Complaint, Facts, Trace
from engine.contract.spec import Spec
from engine.contract.toml import to_raw
from engine.planning.choices import device_of, is_cpu, precision_of, settle
from engine.planning.facts import MachineFacts
from engine.planning.form import Form
from engine.planning.hardware import AUTO, Machine, UnknownProfile, machine_of
from engine.planning.planner import expectation, make_plan

TRACE_SECONDS = 330.0
"""For one trace: a worker may have to import everything first."""
_SLOWEST = 1.6
"""Times what the slowest so far took, another may take."""
_BEYOND_WINDOW = 2.5
"""Times what rows within a sliding window take, longer ones may: they are traced as well, and show
more layers."""


def machine_for(client: Client, spec: Spec, profile: str, platform: str | None = None) -> Machine:
    """The machine to plan for. Raises :class:`Refused` if there is no such profile."""
    facts = msgspec.convert(client.request(Facts(id=0))["facts"], MachineFacts)
    try:
        return machine_of(facts, profile, platform, gpu=spec.hardware.gpu)
    except UnknownProfile as error:
        complaint = Complaint(field="profile", problem=str(error))
        raise Refused(str(error), [complaint]) from error


class Traces:
    """Forms from the host, as long as there is time."""

    def __init__(self, client: Client, machine: Machine, *, only_kept: bool = False) -> None:
        self._client = client
        self._machine = machine
        self._only_kept = only_kept
        self._deadline: float | None = None
        self._usual_seconds = 0.0
        self._longest: int | None = None
        """Tokens of the rows that so far was traced for."""
        self.left_out = 0
        """Forms that there was no time for."""

    def first(self, spec: Spec) -> tuple[Form, dict[str, Any]]:
        """The form without which there is no plan, and the model's config. Raises
        :class:`Refused`, :class:`HostFailed`."""
        return self._ask(spec, only_kept=self._only_kept)

    def _ask(self, spec: Spec, *, only_kept: bool) -> tuple[Form, dict[str, Any]]:
        request = Trace(
            id=0, spec=to_raw(spec), device=device_of(self._machine),
            precision=precision_of(spec, self._machine)[0], only_kept=only_kept,
        )  # fmt: skip
        began = time.monotonic()
        try:
            reply = self._client.request(request, TRACE_SECONDS)
        except HostFailed as error:
            more = "A run that takes every core leaves little for a plan; try when it has ended."
            raise HostFailed(f"{error} {more}") from error
        form = msgspec.convert(reply["form"], Form)
        # What was asked for is longer under way than it is traced; what was kept, less.
        taken = max(form.seconds, time.monotonic() - began)
        self._usual_seconds = max(self._usual_seconds, taken)
        self._longest = form.longest
        return form, reply["config"]

    def limit(self, deadline: float | None) -> None:
        """From now on, begin no trace that would end after that time (monotonic); None: all."""
        self._deadline = deadline

    def form(self, spec: Spec) -> Form | None:
        """The form of a spec that could be tried; None if it cannot be traced, or not in time: a
        trace that is given up half way would cost the host its warm worker."""
        is_longer = self._longest is not None and spec.training.max_length > self._longest
        factor = _SLOWEST * (_BEYOND_WINDOW if is_longer else 1)
        ends = time.monotonic() + factor * self._usual_seconds
        is_late = self._deadline is not None and ends > self._deadline
        try:
            return self._ask(spec, only_kept=is_late or self._only_kept)[0]
        except Refused:
            self.left_out += is_late
            return None


def foretold(client: Client, spec: Spec, output: Output) -> dict[str, Any]:
    """What is foretold of a run that is about to start on this machine, for the run's folder and to
    learn from; a warning if it is not to fit. Empty without a trace. Without a card there is one
    only where the run was planned before: such runs are small, and not worth a wait."""
    try:
        machine = machine_for(client, spec, AUTO)
        if client.host.get("busy"):
            return {}
        settled, _ = settle(spec, machine)
        traces = Traces(client, machine, only_kept=is_cpu(machine))
        plan = make_plan(spec, traces.first(settled)[0], machine)
    except (Refused, HostFailed):
        return {}
    if plan.verdict == "does_not_fit":
        output.warn(f"{plan.sentence} `fettle plan` says what could be changed.")
    return expectation(plan, machine)
