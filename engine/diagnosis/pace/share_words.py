"""The parts of a step's time in words: what they are, and what would save them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.planning.figures import percent

_WORTH = 0.1
"""A part below this is not worth a sentence on top."""
_SAID = {
    "padding": "goes into padding",
    "recompute": "goes into computing activations again",
    "idle": "the card idles while it waits for the processor",
    "waiting": "passes in waiting for data",
    "saving": "goes into saving",
    "evaluating": "goes into evaluating",
    "copies": "goes into moving activations between card and RAM",
    "optimizer": "goes into changing the weights",
}
_NEAR = 1.25
"""Times the estimate that a step may take and still be as planned."""


def sentence_of(
    shares: Mapping[str, float], step_seconds: float, planned_seconds: float | None
) -> str:
    """The most important in one or two sentences."""
    parts = {part: share for part, share in shares.items() if part in _SAID and share >= _WORTH}
    first = _beside_plan(step_seconds, planned_seconds)
    if not parts:
        return f"{first} Nearly all of it is computing: there is little to save.".strip()
    most = max(parts, key=lambda part: parts[part])
    return f"{first} {percent(parts[most])} of the time {_SAID[most]}.".strip()


def _beside_plan(step_seconds: float, planned_seconds: float | None) -> str:
    if not planned_seconds:
        return f"A step takes {_seconds(step_seconds)}."
    times = step_seconds / planned_seconds
    planned = _seconds(planned_seconds)
    if times <= _NEAR:
        return f"A step takes {_seconds(step_seconds)}, about as estimated ({planned})."
    return f"A step takes {_seconds(step_seconds)}, {times:.1f} times the estimate of {planned}."


def _seconds(seconds: float) -> str:
    if seconds < 0.1:
        return f"{1000 * seconds:.0f} ms"
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.0f} s"


def advice_on(part: str, spec: dict[str, Any], *, has_card: bool) -> str:
    """What a part is, and what would save it; the settings are looked at."""
    training = spec.get("training") or {}
    match part:
        case "padding":
            return _on_padding(training)
        case "recompute":
            return _on_recompute(training, "card" if has_card else "computer")
        case "idle":
            return _on_idle(training)
    return _ADVICE.get(part, "") if part != "computing" or has_card else _ON_PROCESSOR


_ADVICE = {
    "computing": "The work itself.",
    "waiting": "The processor gets the next samples ready. Close programs that keep it busy.",
    "saving": "training.save_minutes says how often; a save now and then costs little.",
    "evaluating": "training.eval_steps says how often; dataset.eval_fraction how much.",
    "copies": "gradient_checkpointing = full keeps them on the card, if it has the room.",
    "optimizer": "An 8-bit optimizer reads and writes a quarter; more accumulation makes it rarer.",
}
_ON_PROCESSOR = "Without a graphics card the processor does it all."


def _on_padding(training: dict[str, Any]) -> str:
    what = "Short samples are filled up to the longest of their batch."
    if training.get("packing"):
        return f"{what} They are packed already; what is left is the end of each row."
    return f"{what} packing = true puts several into one row instead."


def _on_recompute(training: dict[str, Any], place: str) -> str:
    way = training.get("gradient_checkpointing", "full")
    return (
        f"gradient_checkpointing = {way} computes activations twice to save memory; none is "
        f"quicker, if the {place} has the room. About a forward pass, by count of products."
    )


def _on_idle(training: dict[str, Any]) -> str:
    what = "Small pieces of work are done before the processor has handed over the next."
    batch = training.get("per_device_train_batch_size", 2)
    steps = training.get("gradient_accumulation_steps", 4)
    if steps > 1:
        return (
            f"{what} A larger batch with less accumulation ({batch} × {steps} → {2 * batch} × "
            f"{max(steps // 2, 1)}) makes them larger, if the card has the room."
        )
    return f"{what} A larger batch makes them larger, if the card has the room."


def unknown_of(
    *, busy: float | None, wait: float | None, padding: float | None, has_card: bool,
    is_planned: bool,
) -> list[str]:  # fmt: skip
    """What could not be told apart, and why."""
    found = []
    if not has_card:
        found.append(
            "No graphics card was measured: how well the processor is used is not known, and there "
            "are no published rates to compare with."
        )
    elif busy is None:
        found.append("The driver does not tell how busy the card is, as often under WSL.")
    if wait is None:
        found.append("This run's worker did not tell how long it waited for data.")
    if padding is None:
        found.append("This run's worker did not count padding.")
    if has_card and not is_planned:
        found.append(
            "There was no plan for this card when the run started, so copies and the optimizer are "
            "part of computing."
        )
    return found
