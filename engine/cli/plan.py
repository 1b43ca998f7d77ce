"""``fettle plan``: whether a spec fits before it starts, what it is made of, what could change."""

from __future__ import annotations

import shlex
from argparse import Namespace
from pathlib import Path
from typing import Any

import msgspec

from engine.cli import settings
from engine.cli.foretell import Traces, machine_for
from engine.cli.output import Exit, Output
from engine.cli.plan_report import report, settings_words
from engine.client import connect
from engine.contract.spec import Spec
from engine.formats.corpus import dataset_of
from engine.formats.example import DatasetError
from engine.formats.hub_datasets import NotHere
from engine.hugging_face import is_offline
from engine.planning import conflicts
from engine.planning.choices import settle
from engine.planning.ladder import make_it_fit
from engine.planning.model_facts import linear_names
from engine.planning.plan import Plan
from engine.planning.planner import make_plan

PLAN_SECONDS = 2.0
"""For the whole plan in a script: what would take longer to trace is left out of the ladder."""
_LAST_TRACE_SECONDS = PLAN_SECONDS - 0.4
"""Until then: Python takes a moment to start, and the plan one to be worked out and written."""
_MIB = 1 << 20


def plan(arguments: Namespace, output: Output) -> Exit:
    """Plan what a file describes. 0 if it fits, 3 if it would die."""
    _, spec = settings.load(Path(arguments.spec), arguments.settings, "plan")
    with connect() as client:
        profile = arguments.profile or spec.hardware.profile
        machine = machine_for(client, spec, profile, arguments.platform)
        if arguments.pinned is not None:
            budget = arguments.pinned * _MIB
            machine = msgspec.structs.replace(machine, pinned_budget_bytes=budget)
        settled, _ = settle(spec, machine)
        traces = Traces(client, machine)
        if output.is_terminal:
            output.progress("Tracing a step of the model …")
        form, config = traces.first(settled)
        if output.is_terminal:
            # Whoever looks on has the verdict at once, and may wait for the rest.
            verdict = make_plan(spec, form, machine).sentence
            output.progress(f"{verdict} Working out what could be changed …")
        elif not (arguments.all or arguments.fit):
            traces.limit(arguments.began + _LAST_TRACE_SECONDS)
        fix = make_it_fit(settled, form, machine, traces.form) if arguments.fit else None
        found = make_plan(spec, form, machine, forms=traces.form, config=config)
    layers = sorted(linear_names(config) or ()) if spec.lora else []
    raw = {"type": "plan", **msgspec.to_builtins(found), "margin_bytes": found.margin_bytes,
           "layers": layers, "forms_left_out": traces.left_out}  # fmt: skip
    output.emit(raw | ({"make_it_fit": fix} if arguments.fit else {}))
    if not output.as_json:
        for line in report(found, output, layers):
            output.say(line)
        if arguments.fit:
            output.say(_fix_sentence(found, fix))
    for conflict in conflicts.check(spec, machine, config, packages={}):
        output.warn(f"{conflict.title} {conflict.reason} {conflicts.asked(conflict)}".rstrip())
    _say_of_data(spec, output)
    if traces.left_out and not output.as_json:
        output.say(f"There was no time to work out every change; `{_again(arguments)}` does.")
    return Exit.WOULD_DIE if found.verdict == "does_not_fit" else Exit.FINISHED


def _say_of_data(spec: Spec, output: Output) -> None:
    """A plan needs no data; a run does, and would be refused."""
    try:
        dataset_of(spec.dataset, spec.method)
    except DatasetError as error:
        if isinstance(error, NotHere) and not is_offline("datasets"):
            return  # The run fetches it.
        output.warn(f"The plan stands without the data, but a run would be refused: {error}")


def _again(arguments: Namespace) -> str:
    """The same command, with all the time that it needs."""
    words = ["fettle", "plan", str(arguments.spec)]
    for change in arguments.settings:
        words += ["--set", change]
    for name in ("profile", "platform", "pinned"):
        if getattr(arguments, name) is not None:
            words += [f"--{name}", str(getattr(arguments, name))]
    return shlex.join([*words, "--all"])


def _fix_sentence(found: Plan, fix: dict[str, Any] | None) -> str:
    if fix:
        return f"Make it fit: {settings_words(fix)}"
    if fix is None:
        return "Nothing that keeps the result makes it fit."
    return "It fits as it is." if found.verdict == "fits" else "Nothing makes more room."
