"""``fettle doctor``: what this machine is, what is well with it, and what to do where it is not."""

from __future__ import annotations

import textwrap
from argparse import Namespace

from engine import paths
from engine.cli.output import Exit, Output
from engine.planning import doctor as judgement
from engine.planning.checkup import Check, State
from engine.planning.examination import examine_this

_COLOURS: dict[State, str] = {
    "ok": "green", "note": "dim", "warning": "yellow", "problem": "red"
}  # fmt: skip
_SIGNS: dict[State, str] = {"ok": "✓", "note": "·", "warning": "!", "problem": "✗"}
_NARROWEST, _WIDEST = 60, 110


def doctor(arguments: Namespace, output: Output) -> Exit:
    """Look at the machine. The engine is asked nothing, so that a broken one can be told of."""
    facts, checks = examine_this(paths.store())
    output.emit({"type": "doctor", "facts": judgement.to_wire(facts, checks)})
    if output.as_json:
        return _exit(checks)
    if arguments.report:
        output.print_raw(judgement.report(checks))
        return _exit(checks)
    for line in _lines(checks, output):
        output.say(line)
    return _exit(checks)


def _exit(checks: list[Check]) -> Exit:
    return Exit.FAILED if judgement.verdict(checks) == "problem" else Exit.FINISHED


def _lines(checks: list[Check], output: Output) -> list[str]:
    state = judgement.verdict(checks)
    lines = [output.paint(judgement.headline(checks), _COLOURS[state])]
    for group in judgement.GROUPS:
        members = [check for check in checks if check.group == group]
        if members:
            lines += ["", output.paint(group, "bold")]
            lines += [line for check in members for line in _check_lines(check, output)]
    return lines


def _check_lines(check: Check, output: Output) -> list[str]:
    width = min(max(output.width, _NARROWEST), _WIDEST)
    head, *rest = textwrap.wrap(f"{check.name}: {check.value}", width - 4, break_long_words=False)
    lines = [f"  {output.paint(_SIGNS[check.state], _COLOURS[check.state])} {head}"]
    lines += [f"    {line}" for line in rest]
    if check.state in ("warning", "problem"):
        for text, colour in ((check.why, "dim"), (check.remedy, _COLOURS[check.state])):
            wrapped = textwrap.wrap(text, width - 6, break_on_hyphens=False, break_long_words=False)
            lines += [f"      {output.paint(line, colour)}" for line in wrapped]
    return lines
