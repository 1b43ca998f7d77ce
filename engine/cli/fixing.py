"""``fettle resume --fix``: what the reason of a run's failure asks to be changed."""

from __future__ import annotations

import sys
from argparse import Namespace
from typing import Any

import msgspec

from engine.cli.output import Output
from engine.client import Client, Refused
from engine.contract.messages import Finding, Show
from engine.contract.patching import changes


def wanted_fix(client: Client, arguments: Namespace, output: Output) -> dict[str, Any]:
    """The patch of the run's failure. Asks first where it changes the result.

    Raises :class:`Refused` if there is none, or nobody to ask.
    """
    shown = client.request(Show(id=0, run=arguments.run))
    failure = msgspec.convert(shown.get("failure"), Finding | None)
    if failure is None or not failure.patch:
        raise Refused(_nothing(failure), code="wrong_state")
    what = ", ".join(changes(shown["spec"], failure.patch))
    if failure.changes_result and not arguments.yes and not _is_wanted(what, output):
        raise Refused(f"It was not resumed: {what} changes the result. Add --yes to do it.")
    if not output.as_json:
        output.say(f"Changed: {what}")
    return failure.patch


def _nothing(failure: Finding | None) -> str:
    if failure is None:
        return "The run has not failed, so there is nothing to fix."
    return f"Nothing can be changed for it by itself. {failure.title} {failure.remedy}".strip()


def _is_wanted(what: str, output: Output) -> bool:
    if not (output.is_terminal and sys.stdin.isatty()):
        return False
    answer = input(f"{what}: the result will be another than it would have been. Go on? [y/N] ")
    return answer.strip().lower() in ("y", "yes")
