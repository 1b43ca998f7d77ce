"""``fettle options``: what holds for all runs of this machine, shown or chosen."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from engine.cli.output import Exit, Output
from engine.cli.settings import parse_value
from engine.client import Refused, connect
from engine.contract.messages import ChangeOptions, Complaint, ReadOptions
from engine.store.options import descriptions

_SWITCHES = {"on": True, "yes": True, "off": False, "no": False}


def options(arguments: Namespace, output: Output) -> Exit:
    """Change what was given, and say how things stand."""
    wanted = dict(_pair(text) for text in arguments.changes)
    request = ChangeOptions(id=0, options=wanted) if wanted else ReadOptions(id=0)
    with connect() as client:
        found: dict[str, Any] = client.request(request)["options"]
    output.emit({"options": found})
    if not output.as_json:
        said = descriptions()
        width = max(len(f"{name} = {_shown(value)}") for name, value in found.items())
        for name, value in found.items():
            setting = f"{name} = {_shown(value)}"
            output.say(f"{setting:<{width}}  {said.get(name, '')}".rstrip())
    return Exit.FINISHED


def _pair(text: str) -> tuple[str, Any]:
    name, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not name:
        problem = f"{text!r} chooses nothing."
        remedy = "Write an option and its value, such as resume_tries=5."
        raise Refused(
            "Nothing was changed.", [Complaint(field="options", problem=problem, remedy=remedy)]
        )
    return name, _SWITCHES.get(value.lower(), parse_value(value))


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)
