"""A plan on a terminal: verdict, bar, items, choices, ladder, time."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Sequence
from typing import Any

import msgspec

from engine.cli import words
from engine.cli.output import Output
from engine.planning import figures
from engine.planning.plan import Choice, Item, Plan, Rung, Timing, Verdict

_COLOURS: dict[Verdict, str] = {
    "fits": "green", "tight": "yellow", "does_not_fit": "red", "unknown": "dim",
}  # fmt: skip
_FITS: dict[Verdict, str] = {
    "fits": "fits", "tight": "tight", "does_not_fit": "does not fit", "unknown": "fits",
}  # fmt: skip
_MOMENTS = {"resume": "Resume", "evaluate": "Evaluation", "export": "Writing the result"}
_BAR, _LABEL, _WIDEST = 48, 34, 100
_FILLS = "█▓▒░"
_FILL_COLOURS = ("blue", "green", "yellow", "red", "bold")


def report(plan: Plan, output: Output, layers: Sequence[str] = ()) -> list[str]:
    """The whole report, line by line; ``layers`` are those that an adapter can be put on."""
    parts = [
        _head(plan, output),
        _budget(plan, output),
        _facts(plan, output, layers),
        _choices(plan.choices, output),
        _ladder(plan.ladder, plan.verdict, output),
        [output.paint(f"  {line}", "dim") for text in plan.advice for line in _wrap(text)],
    ]
    return [line for part in parts if part for line in (*part, "")]


def _head(plan: Plan, output: Output) -> list[str]:
    verdict = output.paint(plan.sentence, _COLOURS[plan.verdict])
    return [f"{output.paint(plan.machine, 'bold')}  {verdict}"]


# ---------------------------------------------------------------- memory


def _budget(plan: Plan, output: Output) -> list[str]:
    train = plan.budgets[0]
    items = [item for item in train.items if item.size_bytes >= figures.MIB]
    limit = plan.available_bytes
    of = f" of {figures.gib(limit)}" if limit else ""
    error = f" ± {figures.gib(train.error_bytes)}" if train.error_bytes else ""
    lines = [
        f"  {figures.gib(train.total_bytes)}{of}{output.paint(error, 'dim')}",
        f"  {_bar(items, limit or train.total_bytes, output)}",
    ]
    lines += [
        f"  {_fill(index, output)} {item.label:<{_LABEL}}{_column(item.size_bytes)}"
        for index, item in enumerate(items)
    ]
    return lines


def _column(size_bytes: int) -> str:
    text = figures.gib(size_bytes, 2)
    return f"{text:>10}"


def _fill(index: int, output: Output, width: int = 1) -> str:
    """Cells of the bar: told apart by colour, and without colours by their density."""
    text = _FILLS[index % len(_FILLS)] * width
    return output.paint(text, _FILL_COLOURS[index % len(_FILL_COLOURS)]) if width else ""


def _bar(items: list[Item], limit: int, output: Output) -> str:
    """The items to scale; what is beyond the limit stands behind a line."""
    whole = max(limit, sum(item.size_bytes for item in items))
    end = round(limit / whole * _BAR)
    bar, reached, cells = "", 0, 0
    for index, item in enumerate(items):
        reached += item.size_bytes
        upto = round(reached / whole * _BAR)
        inside = max(min(upto, end) - cells, 0)
        bar += _fill(index, output, inside)
        if cells + inside == end < upto and "│" not in bar:
            bar += "│"
        bar += _fill(index, output, upto - cells - inside)
        cells = upto
    return bar if "│" in bar else bar + "·" * (end - cells) + "│"


# ---------------------------------------------------------------- what else is known


def _facts(plan: Plan, output: Output, layers: Sequence[str]) -> list[str]:
    lines = [
        (_MOMENTS[b.moment], figures.gib(b.total_bytes))
        for b in plan.budgets
        if b.moment in _MOMENTS
    ]
    is_whole = plan.trainable_parameters == plan.total_parameters
    file = "Model file" if is_whole else "Adapter file"
    lines += [("RAM", _ram(plan)), ("Trains", _trained(plan)), (file, _file(plan))]
    lines += [("Checkpoint", f"{figures.file_size(plan.checkpoint_bytes)} each")]
    if layers:
        lines += [("Linear layers", ", ".join(layers))]
    if plan.timing:
        lines += [("Time", _time(plan.timing)), ("", _time_source(plan.timing))]
    return [f"  {output.paint(f'{name:<20}', 'dim')}{text}" for name, text in lines]


def _ram(plan: Plan) -> str:
    pinned = f", {figures.gib(plan.pinned_bytes)} of it pinned" if plan.pinned_bytes else ""
    return figures.gib(plan.ram_bytes) + pinned


def _trained(plan: Plan) -> str:
    if plan.trainable_parameters == plan.total_parameters:
        return f"all {figures.count(plan.total_parameters)} weights"
    share = plan.trainable_parameters / max(plan.total_parameters, 1)
    trained, total = figures.count(plan.trainable_parameters), figures.count(plan.total_parameters)
    return f"{trained} weights, {share * 100:.2g} % of the model's {total}"


def _file(plan: Plan) -> str:
    return figures.file_size(plan.adapter_file_bytes)


def _time(timing: Timing) -> str:
    step = timing.step_seconds
    text = f"about {_seconds(step)} a step of {figures.count(timing.step_tokens)} tokens, "
    text += f"{figures.count(timing.tokens_per_second)} tokens/s"
    if timing.total_seconds:
        text += f", {words.duration(timing.total_seconds)} in all"
    return text


def _time_source(timing: Timing) -> str:
    """What the time rests on, and between what it lies as far as earlier runs taught that."""
    learnt = timing.learnt
    if not learnt.runs:
        return f"a rough estimate, bound by {timing.bound_by}"
    told = words.duration if timing.total_seconds else _seconds
    middle = timing.total_seconds or timing.step_seconds
    least, most = told(learnt.least * middle), told(learnt.most * middle)
    runs = "1 earlier run" if learnt.runs == 1 else f"{learnt.runs} earlier runs"
    return f"{least} to {most} by {runs} here, bound by {timing.bound_by}"


def _seconds(number: float) -> str:
    return f"{number:.0f} s" if number >= 10 else f"{number:.2g} s"


# ---------------------------------------------------------------- choices and ladder


def _choices(choices: list[Choice], output: Output) -> list[str]:
    lines = [output.paint("Chosen", "bold")]
    for choice in choices:
        table, _, name = choice.field.rpartition(".")
        head = "" if table == "safe_mode" else f"{name.replace('_', ' ')}: "
        lines.append(f"  {head}{choice.value}")
        text = f"{choice.reason} {choice.cost}".strip()
        lines += [output.paint(f"    {line}", "dim") for line in _wrap(text)]
    return lines


def _ladder(rungs: list[Rung], verdict: Verdict, output: Output) -> list[str]:
    if not rungs:
        return []
    title = "What you could trade" if verdict in ("fits", "unknown") else "What would make room"
    lines = [output.paint(title, "bold")]
    kept = True
    for rung in rungs:
        if kept and not rung.keeps_result:
            lines.append(output.paint("  These change the result:", "dim"))
            kept = False
        lines += _rung(rung, output)
    return lines


def _rung(rung: Rung, output: Output) -> list[str]:
    sign = "-" if rung.saves_bytes > 0 else "+"
    fits = output.paint(_FITS[rung.verdict], _COLOURS[rung.verdict])
    facts = [f"{sign}{figures.gib(abs(rung.saves_bytes))}", *_speed(rung.speed), fits]
    lines = [f"  {rung.title}: {' · '.join(facts)}"]
    more = [*_wrap(rung.effect), *_wrap(settings_words(rung.patch))]
    return lines + [output.paint(f"    {line}", "dim") for line in more]


def settings_words(patch: dict[str, Any]) -> str:
    """What to add to the command; empty for what has to be changed in the file."""
    if any(value is None or isinstance(value, dict) for value in patch.values()):
        return ""
    return " ".join(
        f"--set {shlex.quote(f'{name}={_as_word(value)}')}" for name, value in patch.items()
    )


def _as_word(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _speed(speed: float) -> list[str]:
    change = abs(speed - 1)
    if change < 0.015:
        return []
    return [f"{figures.percent(change)} {'faster' if speed > 1 else 'slower'}"]


def _wrap(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDEST - 6, break_long_words=False, break_on_hyphens=False)
