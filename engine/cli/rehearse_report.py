"""A rehearsal on a terminal: verdict, what each pool held beside its plan, times, disk."""

from __future__ import annotations

import textwrap

from engine.cli import words
from engine.cli.output import Output
from engine.contract.messages import PoolPeak, Rehearsed
from engine.planning import figures

_COLOURS = {"fits": "green", "would_die": "red", "stopped": "yellow"}
_POOLS = {
    "vram": "Whole card",
    "vram_reserved": "  held by torch",
    "vram_allocated": "  in tensors",
    "tensors": "Tensors in RAM",
    "ram": "RAM of the worker",
    "pinned": "Pinned RAM",
    "disk": "A save on disk",
}
_WHILE = {
    "load": "loading",
    "train": "training",
    "evaluate": "evaluating",
    "save": "saving",
    "resume": "resuming",
}
_WIDEST = 100
_OFF_SHARE = 0.05
"""A measurement this far beyond its plan is shown in another colour."""


def report(found: Rehearsed, name: str, output: Output) -> list[str]:
    """The whole report, line by line."""
    verdict = output.paint(found.sentence, _COLOURS[found.verdict])
    lines = textwrap.wrap(found.sentence, _WIDEST)
    head = [output.paint(line, _COLOURS[found.verdict]) for line in lines] or [verdict]
    if found.verdict != "fits":
        return head
    tried = f"Tried {name} on {_DEVICES.get(found.device, found.device)}: {found.heaviest}"
    return [
        *head, "", output.paint(tried, "dim"), "", *_table(found.pools, output), "",
        *_facts(found, output),
    ]  # fmt: skip


_DEVICES = {"cuda": "the card", "cpu": "the CPU"}


# ---------------------------------------------------------------- memory


def _table(pools: list[PoolPeak], output: Output) -> list[str]:
    columns = f"{'Most that was taken':<20}{'planned':>10}{'measured':>11}{'':>9}"
    head = f"  {columns}  {'there is':<10} while"
    return [output.paint(head, "dim"), *(_row(pool, output) for pool in _sorted(pools))]


def _sorted(pools: list[PoolPeak]) -> list[PoolPeak]:
    order = list(_POOLS)
    return sorted(pools, key=lambda pool: order.index(pool.pool))


def _row(pool: PoolPeak, output: Output) -> str:
    planned = "" if pool.planned_bytes is None else figures.gib(pool.planned_bytes, 2)
    limit = "" if pool.limit_bytes is None else figures.gib(pool.limit_bytes)
    measured = figures.gib(pool.measured_bytes, 2)
    name = f"  {_POOLS[pool.pool]:<20}"
    rest = f"  {limit:<10} {_WHILE.get(pool.moment, '')}"
    return f"{name}{planned:>10}{measured:>11}{_difference(pool, output)}{rest}".rstrip()


def _difference(pool: PoolPeak, output: Output) -> str:
    if not pool.planned_bytes:
        return f"{'':>9}"
    share = pool.measured_bytes / pool.planned_bytes - 1
    text = f"{100 * share:+.1f} %".replace("-", "\N{MINUS SIGN}")
    return output.paint(f"{text:>9}", "yellow" if share > _OFF_SHARE else "dim")


# ---------------------------------------------------------------- time and disk


def _facts(found: Rehearsed, output: Output) -> list[str]:
    lines = [("A step", _steps(found)), ("The whole run", _whole(found)), ("A save", _save(found))]
    lines.append(("This took", words.duration(found.seconds)))
    return [f"  {output.paint(f'{name:<20}', 'dim')}{text}" for name, text in lines if text]


def _steps(found: Rehearsed) -> str:
    if found.step_seconds is None:
        return ""
    text = f"{_seconds(found.step_seconds)} on average"
    # Steps of equal weight differ by chance.
    if found.longest_step_seconds and found.longest_step_seconds > found.step_seconds:
        text += f", {_seconds(found.longest_step_seconds)} the heaviest"
    return text


def _whole(found: Rehearsed) -> str:
    if found.total_seconds is None:
        return ""
    steps = figures.count(found.total_steps)
    return f"about {words.duration(found.total_seconds)} for {steps} steps"


def _save(found: Rehearsed) -> str:
    if found.checkpoint_bytes is None:
        return ""
    return f"{figures.file_size(found.checkpoint_bytes)} on the disk"


def _seconds(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
