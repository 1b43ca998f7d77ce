"""What could change in a spec, each change worked out: its memory, speed and effect. Pure.

Changes of sizes (batch, length, rank) are evaluated in the form at hand. Others, and rows longer
than it holds for, need a form of their own, which ``forms`` gives, or None if there is none: then
they are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import Any

import msgspec

from engine.contract.spec import Spec
from engine.planning import rungs
from engine.planning.adapter import forecast
from engine.planning.budget import Sizes, sizes, verdict_of
from engine.planning.choices import device_of, is_cpu, patched, point_of, precision_of, settle
from engine.planning.figures import file_size
from engine.planning.form import Form, value
from engine.planning.hardware import Machine
from engine.planning.model_config import layout_key
from engine.planning.model_facts import context_of
from engine.planning.plan import Rung, Verdict
from engine.planning.roofline import timing
from engine.planning.rungs import Change

Forms = Callable[[Spec], Form | None]
"""The form of a spec; None where none is to be had (in time)."""

_ABOUT = 0.97
"""Estimates of speed are no finer than this."""
_OK: tuple[Verdict, ...] = ("fits", "tight", "unknown")


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a spec comes to."""

    spec: Spec
    sizes: Sizes
    verdict: Verdict
    tokens_per_second: float
    file_bytes: int


def file_bytes_of(spec: Spec, form: Form, config: dict[str, Any] | None) -> int:
    """What the run writes: as forecast from the model's config, else as traced."""
    told = forecast(config, spec.lora or None) if config else None
    return told.file_bytes if told else round(value(form.adapter_file, point_of(spec)))


class Bench:
    """Specs side by side on one machine. A form is asked for once, and again for longer rows."""

    def __init__(
        self, spec: Spec, form: Form, machine: Machine, forms: Forms | None,
        config: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self.spec = spec
        self.machine = machine
        self._config = config
        self._forms = forms
        self._known: dict[str, Form | None] = {self._key(spec): form}
        self._outcomes: dict[bytes, Outcome | None] = {}
        self.base = self._outcome(spec, form)

    def outcome(self, patch: dict[str, Any]) -> Outcome | None:
        """What the spec comes to with the patch; None without a form."""
        key = msgspec.json.encode(patch, order="sorted")
        if key not in self._outcomes:
            self._outcomes[key] = self._work_out(patch)
        return self._outcomes[key]

    def _work_out(self, patch: dict[str, Any]) -> Outcome | None:
        spec = patched(self.spec, patch)
        form = self._form(spec)
        return self._outcome(spec, form) if form else None

    def _key(self, spec: Spec) -> str:
        return layout_key(spec, device_of(self.machine), precision_of(spec, self.machine)[0])

    def _form(self, spec: Spec) -> Form | None:
        key = self._key(spec)
        known = self._known.get(key)
        if known and known.holds_for(spec.training.max_length):
            return known
        if known is None and key in self._known:
            return None
        found = self._forms(spec) if self._forms else None
        # One for shorter rows still serves those.
        self._known[key] = found or known
        return found

    def _outcome(self, spec: Spec, form: Form) -> Outcome:
        found = sizes(form, spec, self.machine)
        return Outcome(
            spec=spec,
            sizes=found,
            verdict=verdict_of(found, self.machine)[0],
            tokens_per_second=timing(form, spec, self.machine).tokens_per_second,
            file_bytes=file_bytes_of(spec, form, self._config),
        )


# ---------------------------------------------------------------- make it fit


def make_it_fit(
    spec: Spec, form: Form, machine: Machine, forms: Forms | None = None
) -> dict[str, Any] | None:
    """The patch that makes the spec fit at the least cost in speed and keeps its result and its
    effective batch; empty if it fits, None if nothing does."""
    bench = Bench(settle(spec, machine)[0], form, machine, forms)
    found = _cheapest(bench, {}, bench.base)
    return found.patch if found else None


def _cheapest(
    bench: Bench, start: dict[str, Any], now: Outcome | None, *, first: bool = False
) -> Change | None:
    """The cheapest set on top of ``start``; with no title and patch if that fits by itself. With
    ``first`` the first that fits, which is nearly always the same and needs fewer forms."""
    if now and now.verdict in ("fits", "unknown"):
        return Change(title="", patch={})
    spec = patched(bench.spec, start)
    same = list(_groups(spec, optimizer=False))
    rounded = list(_groups(spec, optimizer=True))
    for wanted, groups in (("fits", same), ("fits", rounded), ("tight", same), ("tight", rounded)):
        fitting = (best for group in groups if (best := _best(bench, start, group, wanted)))
        if found := list(islice(fitting, 1 if first else None)):
            return _fastest(found)
    return None


def _fastest(found: list[tuple[float, Change]]) -> Change:
    """The quickest; of those that are about as quick the first, which changes least."""
    limit = max(speed for speed, _ in found) * _ABOUT
    return next(change for speed, change in found if speed >= limit)


def _groups(spec: Spec, *, optimizer: bool) -> Iterator[Change]:
    """Changes that need a form of their own and keep the result, the empty one first."""
    none = Change(title="", patch={})
    firsts = list(rungs.smaller_optimizer(spec)) if optimizer else [none]
    for first in firsts:
        for second in chain([none], rungs.stronger_checkpointing(spec)):
            yield _together(second, first)


def _together(first: Change, second: Change) -> Change:
    if not first.patch or not second.patch:
        return first if first.patch else second
    return rungs.joined(first, second)


def _best(
    bench: Bench, start: dict[str, Any], group: Change, wanted: str
) -> tuple[float, Change] | None:
    """The largest micro-batch with which the group's change fits, and its speed."""
    spec = patched(bench.spec, start)
    steps = [Change(title="", patch={}), *rungs.batches(spec)]
    changes = [_together(smaller, group) for smaller in steps]
    least = bench.outcome({**start, **changes[-1].patch})
    if least is None or least.verdict == "does_not_fit":
        # Then no larger batch fits either, but for one that needs no accumulation.
        del changes[1:]
    outcomes = (bench.outcome({**start, **change.patch}) for change in changes)
    for change, outcome in zip(changes, outcomes, strict=True):
        if outcome and outcome.verdict == wanted:
            return outcome.tokens_per_second, change
    return None


# ---------------------------------------------------------------- the ladder


def ladder(
    spec: Spec,
    form: Form,
    machine: Machine,
    forms: Forms | None = None,
    config: dict[str, Any] | None = None,
) -> list[Rung]:
    """What could be changed: downwards where it does not fit, else what there is room for. With the
    model's ``config`` the adapter's file is forecast exactly."""
    bench = Bench(spec, form, machine, forms, config)
    fits = bench.base.verdict in ("fits", "unknown")
    changes = _upwards(spec, context_of(config)) if fits else _downwards(bench)
    once: dict[bytes, Change] = {}
    for change in changes:
        # Two ways may come to the same; the first says it.
        once.setdefault(msgspec.json.encode(change.patch, order="sorted"), change)
    found = [rung for change in once.values() if (rung := _rung(bench, change))]
    return sorted(found, key=lambda rung: not rung.keeps_result)


def _upwards(spec: Spec, context: int | None) -> Iterator[Change]:
    yield from rungs.larger_batch(spec)
    yield from rungs.weaker_checkpointing(spec)
    yield from rungs.longer(spec, context)
    yield from rungs.rank(spec, up=True)
    yield from rungs.more_modules(spec)


def _downwards(bench: Bench) -> Iterator[Change]:
    spec = bench.spec
    _ask_for_the_best_first(bench)
    single = [
        *_first_fitting(bench, rungs.batches(spec)),
        *rungs.stronger_checkpointing(spec),
        *_fused(bench),
        *rungs.smaller_optimizer(spec),
    ]
    yield from single
    whole = _cheapest(bench, {}, bench.base)
    if whole and whole.patch and whole.patch not in [change.patch for change in single]:
        yield whole
    for change in rungs.fewer_modules(spec):
        yield _made_to_fit(bench, change)
    for change in _changing(bench):
        # What keeps the result is enough by itself, or has to come on top.
        yield change if whole else _made_to_fit(bench, change)


def _fused(bench: Bench) -> Iterator[Change]:
    """Where the optimizer's step is the peak on a card: elsewhere it saves nothing."""
    if not is_cpu(bench.machine) and bench.base.sizes.train_segment == "optimizer":
        yield from rungs.fused_optimizer(bench.spec)


def _ask_for_the_best_first(bench: Bench) -> None:
    """Have the forms of what mostly frees most, before time runs out for them."""
    spec = bench.spec
    promising = (
        *rungs.fewer_bits(spec), *rungs.adapter_instead(spec), *rungs.stronger_checkpointing(spec),
        *rungs.smaller_optimizer(spec),
    )  # fmt: skip
    for change in promising:
        bench.outcome(change.patch)


def _changing(bench: Bench) -> Iterator[Change]:
    """What else changes the result, least first."""
    spec = bench.spec
    yield from rungs.adafactor(spec)
    yield from rungs.fewer_bits(spec)
    yield from rungs.adapter_instead(spec)
    yield from _fitting_length(bench)
    yield from rungs.rank(spec, up=False)


def _first_fitting(bench: Bench, changes: Iterable[Change]) -> Iterator[Change]:
    """The first, and if it does not fit the first that does, or the last."""
    last: Change | None = None
    for index, change in enumerate(changes):
        outcome = bench.outcome(change.patch)
        last = change
        if outcome and outcome.verdict in _OK:
            break
        if index == 0:
            yield change
            last = None
    if last:
        yield last


def _fitting_length(bench: Bench) -> Iterator[Change]:
    """The greatest length that fits as things are, or half."""
    low, high = 0, (bench.spec.training.max_length - 1) // rungs.STEP
    if not high:
        return
    most = high
    while low < high:
        middle = (low + high + 1) // 2
        outcome = bench.outcome({"training.max_length": middle * rungs.STEP})
        low, high = (middle, high) if outcome and outcome.verdict == "fits" else (low, middle - 1)
    yield rungs.shorter(bench.spec, (low or (most + 1) // 2) * rungs.STEP)


def _made_to_fit(bench: Bench, change: Change) -> Change:
    """The change, with what else it takes to fit if it does not by itself."""
    alone = bench.outcome(change.patch)
    if alone is None or alone.verdict in _OK:
        return change
    more = _cheapest(bench, change.patch, alone, first=True)
    return rungs.joined(change, more) if more and more.patch else change


def _rung(bench: Bench, change: Change) -> Rung | None:
    outcome = bench.outcome(change.patch)
    if outcome is None:
        return None
    return Rung(
        title=change.title,
        patch=change.patch,
        total_bytes=outcome.sizes.train_bytes,
        saves_bytes=bench.base.sizes.train_bytes - outcome.sizes.train_bytes,
        speed=outcome.tokens_per_second / bench.base.tokens_per_second,
        effect=f"{change.effect} {_file_sentence(bench.base, outcome)}".strip(),
        keeps_result=change.keeps_result,
        fits=outcome.verdict in _OK,
        verdict=outcome.verdict,
    )


def _file_sentence(base: Outcome, other: Outcome) -> str:
    """How the adapter's file changes, where it does by much."""
    before, after = base.file_bytes, other.file_bytes
    if not (base.spec.lora and other.spec.lora) or max(before, after) < 2 * min(before, after):
        return ""
    return f"The adapter's file goes from {file_size(before)} to {file_size(after)}."
