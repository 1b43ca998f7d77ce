"""What the time of a step goes into, and what of it could be saved. Pure.

The time that passes for each step, pauses included, is cut into parts that add up to it. What is
measured comes first: pauses, the wait for data, a card that idles. What is left is computing; it is
cut by what is known of it: padding by count, recomputation by its cost in products, copies and the
optimizer as the plan estimated them. A part that nobody knows stays in the rest, and is named.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from engine.diagnosis.pace.share_words import advice_on, sentence_of, unknown_of

QUESTION = "Why is this not faster?"
"""What the shares answer."""

Part = Literal[
    "computing", "padding", "recompute", "idle", "waiting", "saving", "evaluating", "copies",
    "optimizer",
]  # fmt: skip


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a run's steps; None is not known."""

    steps: int
    """So many were looked at."""
    step_seconds: float
    """Of one, on average, without pauses."""
    wait_seconds: float | None = None
    """Of it until its batches were there."""
    busy_share: float | None = None
    """Of the time in which the card computes anything."""
    padding_share: float | None = None
    """Of the tokens that are computed."""
    recompute_share: float = 0.0
    """Of the computation, for what checkpointing does again."""
    saving_share: float = 0.0
    evaluating_share: float = 0.0
    """Of all time, for pauses in which nothing is trained."""
    planned_seconds: float | None = None
    """Of a step, as estimated from the card's published rates."""
    planned_parts: dict[str, float] = {}
    """See :class:`engine.planning.plan.Timing`."""
    has_card: bool = True
    spec: dict[str, Any] = {}


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a step's time."""

    part: Part
    seconds: float
    share: float
    """Of all the time, from 0 to 1."""
    name: str
    """For people."""
    advice: str = ""
    """What it is and what would save it, in a sentence or two."""


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """Where the time goes."""

    steps: int
    step_seconds: float
    """Without pauses."""
    whole_seconds: float
    """With its part of the pauses; what the shares are shares of."""
    planned_seconds: float | None = None
    sentence: str
    """The most important of it."""
    shares: list[Share]
    """The largest first; together they are everything."""
    unknown: list[str] = []
    """What could not be told apart here, and why; a sentence each."""


_NAMES: dict[Part, str] = {
    "computing": "Computing",
    "padding": "Computing padding",
    "recompute": "Recomputing activations",
    "idle": "The card idles",
    "waiting": "Waiting for data",
    "saving": "Saving",
    "evaluating": "Evaluating",
    "copies": "Copies to RAM and back",
    "optimizer": "Changing the weights",
}
_LEAST = 0.005
"""Less of the time is not shown by itself."""


def pace_of(facts: Facts) -> Pace:
    """The pace of a run."""
    parts = seconds_of(facts)
    whole = sum(parts.values())
    small = [part for part, s in parts.items() if s < _LEAST * whole and part != "computing"]
    for part in small:
        parts["computing"] += parts.pop(part)
    shares = [_share(part, seconds, whole, facts) for part, seconds in parts.items()]
    shares.sort(key=lambda share: -share.seconds)
    told: dict[str, float] = {share.part: share.share for share in shares}
    return Pace(
        steps=facts.steps,
        step_seconds=facts.step_seconds,
        whole_seconds=whole,
        planned_seconds=facts.planned_seconds,
        sentence=sentence_of(told, facts.step_seconds, facts.planned_seconds),
        shares=shares,
        unknown=unknown_of(
            busy=facts.busy_share, wait=facts.wait_seconds, padding=facts.padding_share,
            has_card=facts.has_card, is_planned=bool(facts.planned_parts),
        ),
    )  # fmt: skip


def _share(part: Part, seconds: float, whole: float, facts: Facts) -> Share:
    name = "Computing, and what is not known" if _is_vague(part, facts) else _NAMES[part]
    share = seconds / whole if whole else 0.0
    return Share(
        part=part, seconds=seconds, share=share, name=name,
        advice=advice_on(part, facts.spec, has_card=facts.has_card),
    )  # fmt: skip


def _is_vague(part: Part, facts: Facts) -> bool:
    return part == "computing" and facts.has_card and facts.busy_share is None


def seconds_of(facts: Facts) -> dict[Part, float]:
    """Seconds of each part; they add up to what passes for each step, pauses included."""
    pauses = min(facts.saving_share + facts.evaluating_share, 0.95)
    whole = facts.step_seconds / (1 - pauses)
    waiting = min(facts.wait_seconds or 0.0, facts.step_seconds)
    idle = _idle(facts, waiting)
    work = facts.step_seconds - waiting - idle
    copies = work * _planned(facts, "offload copies")
    optimizer = work * _planned(facts, "optimizer")
    rest = work - copies - optimizer
    padding = rest * (facts.padding_share or 0.0)
    recompute = (rest - padding) * facts.recompute_share
    parts: dict[Part, float] = {
        "computing": rest - padding - recompute, "padding": padding, "recompute": recompute,
        "idle": idle, "waiting": waiting, "copies": copies, "optimizer": optimizer,
        "saving": whole * facts.saving_share, "evaluating": whole * facts.evaluating_share,
    }  # fmt: skip
    return {part: seconds for part, seconds in parts.items() if seconds > 0 or part == "computing"}


def _idle(facts: Facts, waiting: float) -> float:
    """Time in which the card has nothing to do, beside the wait for data."""
    if facts.busy_share is None:
        return 0.0
    return max(facts.step_seconds * (1 - min(facts.busy_share, 1.0)) - waiting, 0.0)


def _planned(facts: Facts, part: str) -> float:
    """The share of a step's work that the plan estimated for a part."""
    # Launches keep the card waiting, so they are in the time in which it idles.
    whole = sum(s for name, s in facts.planned_parts.items() if name != "kernel launches")
    return facts.planned_parts.get(part, 0.0) / whole if whole else 0.0


def recompute_share(spec: dict[str, Any]) -> float:
    """Of the products of a step, for what checkpointing computes again: a forward pass beside
    forward and backward. Frozen weights need half of a backward pass, only for what lies before
    them."""
    training = spec.get("training") or {}
    if training.get("gradient_checkpointing", "full") == "none":
        return 0.0
    return 1 / 3 if spec.get("lora") is not None else 1 / 4
