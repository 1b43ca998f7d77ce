"""A plan in words and figures, as the window shows it. Pure: values in, texts out."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from app.words import GIB, SPACE, count, counted, seconds, size, span
from engine.planning.figures import file_size
from engine.planning.plan import Budget, Item, Plan, Rung, Timing

SMALL_SHARE = 0.004
"""Items below this share of the total are one line."""

TONES = {"fits": "good", "tight": "warning", "does_not_fit": "danger", "unknown": "info"}
SMALL_PART = "small"
_FASTER = 0.005
_MINUS = "\N{MINUS SIGN}"


def gib(number: float) -> str:
    """Bytes of a part, finer than :func:`app.words.size`: ``3.90 GiB``, ``80 MiB``."""
    if number < GIB / 10:
        return size(number)
    return f"{number / GIB:.2f}{SPACE}GiB"


def change(number: int) -> str:
    """A difference in bytes with its sign: ``+1.4 GiB``."""
    if not number:
        return "same memory"
    return f"{'+' if number > 0 else _MINUS}{size(abs(number))}"


def headline(plan: Plan) -> str:
    """What training takes at its peak, of what a run may use: ``8.5 of 10.1 GiB``."""
    total = plan.budgets[0].total_bytes
    room = plan.available_bytes or plan.card_bytes
    if room is None or room < GIB:
        return size(total)
    return f"{total / GIB:.1f} of {room / GIB:.1f}{SPACE}GiB"


def brief(plan: Plan) -> str:
    """The verdict in a line: ``Fits: 8.5 of 10.2 GiB``."""
    words = {"fits": "Fits", "tight": "Tight", "does_not_fit": "Does not fit"}
    figures = headline(plan)
    return f"{words[plan.verdict]}: {figures}" if plan.verdict in words else f"Takes {figures}"


def tone(plan: Plan) -> str:
    """The colour of the verdict."""
    return TONES[plan.verdict]


def lines(budget: Budget) -> list[Item]:
    """The items of a budget, with what is too small to be seen as one line."""
    least = budget.total_bytes * SMALL_SHARE
    shown = [item for item in budget.items if item.size_bytes >= least]
    small = [item for item in budget.items if 0 < item.size_bytes < least]
    if len(small) < 2:
        return shown + small
    parts = ", ".join(f"{item.label} {gib(item.size_bytes)}" for item in small)
    rest = Item(
        part=SMALL_PART,
        label="Small parts",
        size_bytes=sum(item.size_bytes for item in small),
        how=f"{parts}.",
    )
    return [*shown, rest]


def story(plan: Plan) -> str:
    """Where the figures come from, what a resume takes, and how large the result's file is."""
    source = (
        "Traced from the real model code."
        if plan.traced
        else "From a formula: no trace of the model was to be had, so it is less exact."
    )
    result = (
        f"The adapter file will be {file(plan.adapter_file_bytes)}."
        if plan.trainable_parameters < plan.total_parameters
        else f"The model's files will be {file(plan.adapter_file_bytes)}."
    )
    return " ".join(filter(None, (source, _resume(plan), result)))


def file(number: int) -> str:
    """A file's size, on one line: ``80 MiB``."""
    return file_size(number).replace(" ", SPACE)


def _resume(plan: Plan) -> str:
    train = plan.budgets[0]
    found = next((b for b in plan.budgets if b.moment == "resume"), None)
    if found is None:
        return ""
    more = found.total_bytes - train.total_bytes
    if more <= 0:
        return f"Resume needs {size(found.total_bytes)}, no more than the first start."
    return f"Resume needs {size(found.total_bytes)}, {size(more)} more than the first start."


def speed(rung: Rung) -> str:
    """How a change tells on speed: ``18 % faster``."""
    if abs(rung.speed - 1) < _FASTER:
        return "same speed"
    percent = max(1, round(abs(rung.speed - 1) * 100))
    return f"{percent}{SPACE}% {'faster' if rung.speed > 1 else 'slower'}"


def price(rung: Rung) -> str:
    """What a change does to memory and speed: ``+1.4 GiB · 18 % faster``."""
    parts = [change(-rung.saves_bytes), speed(rung)]
    if not rung.fits:
        parts[1] = "not enough" if rung.saves_bytes > 0 else "does not fit"
    elif rung.verdict == "tight":
        parts.append("tight")
    return " · ".join(parts)


def forecast(timing: Timing | None) -> str:
    """The time a run takes: ``Estimated 2 h 50 m · 12.1 s per step``; where earlier runs taught
    it, ``About 2 h 50 m (2 h 30 m to 3 h 10 m) · 12.1 s per step``."""
    if timing is None:
        return ""
    head = "About" if timing.learnt.runs else "Estimated"
    step = seconds(timing.step_seconds)
    if timing.total_seconds is None:
        return f"{head} {step}{_between(timing, timing.step_seconds, seconds)} per step"
    whole = span(timing.total_seconds)
    return f"{head} {whole}{_between(timing, timing.total_seconds, span)} · {step} per step"


def _between(timing: Timing, middle: float, told: Callable[[float], str]) -> str:
    """Between what it lies, as far as earlier runs taught that."""
    known = timing.learnt
    least, most = told(known.least * middle), told(known.most * middle)
    return f" ({least} to {most})" if least != most else ""


def forecast_why(timing: Timing | None) -> str:
    """What the estimate of time rests on."""
    if timing is None:
        return ""
    bound = f" Held back by {timing.bound_by}." if timing.bound_by else ""
    speed = f"about {count(timing.tokens_per_second)} tokens a second, all rows full"
    known = timing.learnt
    if not known.runs:
        return (
            f"A rough estimate: {speed}, from the published rates of what computes.{bound} Try it "
            "first measures it, and each finished run here teaches it."
        )
    return (
        f"An estimate: {speed}. {counted(known.runs, 'earlier run')} here took {known.ratio:.2g} "
        f"times what the published rates give; how far apart they were is the span.{bound}"
    )


class Split(msgspec.Struct, frozen=True, kw_only=True):
    """The ladder, parted by whether what is learnt stays the same."""

    keeping: list[Rung]
    changing: list[Rung]


def split(ladder: list[Rung]) -> Split:
    """Changes that keep the result, and those that do not."""
    return Split(
        keeping=[rung for rung in ladder if rung.keeps_result],
        changing=[rung for rung in ladder if not rung.keeps_result],
    )


def moments(plan: Plan) -> list[tuple[str, Budget]]:
    """The other moments of the run's life that take memory, named."""
    names = {"resume": "Resume", "evaluate": "Evaluation", "export": "Merge and export"}
    return [(names[b.moment], b) for b in plan.budgets[1:] if b.moment in names]


def parts(budget: Budget) -> str:
    """What a budget is made of, in a sentence."""
    return ", ".join(f"{item.label} {gib(item.size_bytes)}" for item in lines(budget)) + "."


def remarks(plan: Plan) -> list[str]:
    """What is worth knowing beside the verdict; of resuming :func:`story` tells already."""
    return [text for text in plan.advice if not text.startswith("Resuming ")]
