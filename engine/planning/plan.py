"""The plan: whether a run fits, what it is made of, and what could be changed, with reasons.

Values only; :mod:`engine.planning.planner` makes them, ``fettle plan`` and the window show them.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from engine.planning.form import Moment
from engine.planning.learnt import TimeLesson

Verdict = Literal["fits", "tight", "does_not_fit", "unknown"]
"""``tight``: fits by less than the estimate may be off. ``unknown``: no card to compare with."""


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a budget."""

    part: str
    """A :data:`engine.planning.form.Part`, or ``context``, ``workspace`` or ``reserve``."""
    label: str
    """For people: ``Model weights, 4-bit``."""
    size_bytes: int
    how: str
    """The formula or trace behind the number, in a sentence or two."""


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """What one moment of the run's life takes on the card at its peak."""

    moment: Moment
    segment: str
    items: list[Item]
    total_bytes: int
    error_bytes: int = 0
    """How far off the total may be, either way."""


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """Something that ``auto`` came to."""

    field: str
    """Of the spec where there is one, such as ``training.precision``; else a name of its own."""
    value: str
    reason: str
    cost: str = ""


class Rung(msgspec.Struct, frozen=True, kw_only=True):
    """A change that could be made."""

    title: str
    """Such as ``Batch 2 → 1, accumulation 4 → 8``."""
    patch: dict[str, Any]
    """Dotted field of the spec to its new value; None removes it."""
    total_bytes: int
    """The training peak with it."""
    saves_bytes: int
    """What it saves; below 0 for what it costs."""
    speed: float
    """Tokens a second with it, as a multiple of those without."""
    effect: str
    """On the result, in a sentence; empty where the mathematics stay the same."""
    keeps_result: bool
    fits: bool
    """Also where it is tight."""
    verdict: Verdict = "unknown"


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """An estimate from the card's published rates, and from what earlier runs here took."""

    step_seconds: float
    step_tokens: int = 0
    """Of this step: every row is taken to be full."""
    tokens_per_second: float
    total_seconds: float | None = None
    """None where the number of steps is not known before the data is tokenised."""
    bound_by: str = ""
    """``compute``, ``memory traffic``, ``kernel launches`` or ``offload copies``."""
    parts: dict[str, float] = {}
    """Seconds of a step by what they go into; together ``step_seconds``. Copies only count as far
    as they are not hidden behind the computation."""
    hidden_seconds: float = 0.0
    """Of a step's kernel launches, what a card's work hides, and less of it would not."""
    fixed_seconds: float = 0.0
    """Of a step's memory traffic, what is the same for fewer tokens: that of the weights."""
    learnt: TimeLesson = TimeLesson()
    """What earlier runs taught, which is in these figures: they lie between ``least`` and ``most``
    times what is told."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is foretold of a spec on a machine."""

    machine: str
    """The profile or card it was made for, for people."""
    verdict: Verdict
    sentence: str
    """The verdict in words, with the margin."""
    card_bytes: int | None
    """Memory of the card."""
    available_bytes: int | None
    """What of it a run may use: less what the desktop and the driver hold."""
    budgets: list[Budget]
    """Training first, then resume, evaluation and export."""
    ram_bytes: int
    pinned_bytes: int
    trainable_parameters: int
    total_parameters: int
    adapter_file_bytes: int
    checkpoint_bytes: int
    timing: Timing | None
    choices: list[Choice]
    ladder: list[Rung]
    """What keeps the result first, cheapest first; what changes it last."""
    advice: list[str] = []
    """Sentences on embeddings and the like."""
    spec: dict[str, Any] = {}
    """The spec with everything that was ``auto`` settled."""
    traced: bool = True
    """False where the numbers come from a formula since no trace was to be had."""

    @property
    def margin_bytes(self) -> int | None:
        """What is left over at the peak of training; below 0 if it does not fit."""
        if self.available_bytes is None:
            return None
        return self.available_bytes - self.budgets[0].total_bytes
