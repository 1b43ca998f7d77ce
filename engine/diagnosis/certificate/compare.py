"""Facts of then against facts of now, a line each."""

from __future__ import annotations

from collections.abc import Iterator

from engine.contract.messages import CertificateLine, Matters
from engine.diagnosis.certificate.data import data_line, template_line
from engine.diagnosis.certificate.facts import ComputeFacts, Facts, OrderFacts, Tensors
from engine.diagnosis.certificate.lines import differs, same, unknown
from engine.diagnosis.certificate.replay import replay_line
from engine.diagnosis.certificate.settings import (
    ACCUMULATION,
    MICRO,
    differing,
    setting_lines,
)
from engine.planning.figures import count


def lines_of(before: Facts, now: Facts) -> Iterator[CertificateLine]:
    """A line for everything that was looked at now; what was not reached has none."""
    replayed = replay_line(before, now)
    if now.data is not None:
        yield data_line(before, now)
    if now.template or before.template:
        yield template_line(before, now)
    if now.order is not None:
        yield _order(before, now)
    if now.place is not None:
        yield _cursor(before, now)
    if now.random is not None:
        yield _random(before, now)
    if now.optimizer is not None:
        yield _optimizer(before, now)
    if now.schedule is not None:
        yield _schedule(before, now)
    yield from _settings(before, now, replayed)
    if now.trained is not None:
        yield _trained(before, now)
    yield from _circumstances(before, now)
    if replayed is not None:
        yield replayed


def _settings(
    before: Facts, now: Facts, replayed: CertificateLine | None
) -> Iterator[CertificateLine]:
    if now.settings is None:
        return
    yield _batch(before, now)
    if before.settings is None:
        yield unknown("spec", "Spec")
        return
    is_equal = replayed is not None and replayed.standing == "same"
    found = list(setting_lines(before, now, is_replay_equal=is_equal))
    if not found:
        text = f"All {len(now.settings)} settings are those of the save."
        changed = differing(before.settings, now.settings)
        if changed:
            text = "All other settings are those of the save."
        found = [same("spec", "Spec", text)]
    yield from found


# ---------------------------------------------------------------- data


def _order(before: Facts, now: Facts) -> CertificateLine:
    assert now.order is not None
    if before.order is None:
        return unknown("order", "Data order")
    if before.order == now.order:
        text = f"Seed {now.order.seed} gives the same order of {count(now.order.rows)} rows"
        return same("order", "Data order", f"{text} in epoch {now.order.epoch + 1}.")
    old, new = before.order, now.order
    return differs("order", "Data order", "yes", _order_text(old), _order_text(new), _why(old, new))


def _why(old: OrderFacts, new: OrderFacts) -> str:
    again = "in this epoch some come twice and some not at all."
    if old.rows != new.rows:
        return f"The samples are put into other rows, and the place means others: {again}"
    if old.seed != new.seed:
        return f"training.seed changed, so the rows come in another order: {again}"
    return f"The same seed shuffles otherwise here: {again}"


def _order_text(order: OrderFacts) -> str:
    return f"seed {order.seed}, {count(order.rows)} rows, {order.digest[:8]}"


def _cursor(before: Facts, now: Facts) -> CertificateLine:
    assert now.place is not None
    if before.place is None:
        return unknown("cursor", "Place in the data")
    old, new = before.place, now.place
    if old == new:
        done = f"{count(new.cursor)} rows are done after step {count(new.step)}"
        return same("cursor", "Place in the data", f"{done}; the next row is the next one.")
    return differs(
        "cursor", "Place in the data", "yes", f"step {old.step}, row {count(old.cursor)}",
        f"step {new.step}, row {count(new.cursor)}", "Rows are left out, or trained on again.",
    )  # fmt: skip


# ---------------------------------------------------------------- what a step depends on


def _random(before: Facts, now: Facts) -> CertificateLine:
    title = "Random state"
    if before.random is None:
        return unknown("random", title)
    if before.random == now.random:
        text = "Every generator stands where it stood, so dropout draws what it would have drawn."
        return same("random", title, text)
    text = "Dropout draws other numbers than it would have; the run is as good, but another."
    return differs("random", title, "yes", before.random[:8], (now.random or "")[:8], text)


def _optimizer(before: Facts, now: Facts) -> CertificateLine:
    assert now.optimizer is not None
    if before.optimizer is None:
        return unknown("optimizer", "Optimizer")
    old, new = before.optimizer, now.optimizer
    if old == new:
        updates = f" and its count of {count(new.updates)} updates" if new.updates else ""
        text = f"{new.kind} has its {count(new.tensors.count)} tensors back{updates}."
        return same("optimizer", "Optimizer", text)
    is_kind_alone = (old.tensors, old.updates) == (new.tensors, new.updates)
    return differs(
        "optimizer", "Optimizer", "last_digits" if is_kind_alone else "yes",
        f"{old.kind}, {_tensors(old.tensors)}, {old.updates} updates",
        f"{new.kind}, {_tensors(new.tensors)}, {new.updates} updates",
        "What it remembers is kept, but another program goes on with it." if is_kind_alone
        else "It does not remember what it remembered at the save.",
    )  # fmt: skip


def _schedule(before: Facts, now: Facts) -> CertificateLine:
    assert now.schedule is not None
    title, found = "Schedule", now.schedule
    if found.rates != found.scheduled:
        text = "The optimizer goes on with another rate than the schedule has for the next step."
        old, new = _rates(found.scheduled), _rates(found.rates)
        return differs("schedule", title, "yes", old, new, text)
    if before.schedule is None:
        return unknown("schedule", title)
    if before.schedule.rates == found.rates:
        text = f"The next step's learning rate is {_rates(found.rates)}, as the schedule has it."
        return same("schedule", title, text)
    text = "The schedule of the spec as it is now has another rate for the next step."
    return differs(
        "schedule", title, "yes", _rates(before.schedule.rates), _rates(found.rates), text
    )


def _rates(rates: list[float]) -> str:
    return ", ".join(f"{rate:.6g}" for rate in dict.fromkeys(rates))


def _batch(before: Facts, now: Facts) -> CertificateLine:
    title = "Effective batch"
    if before.settings is None or now.settings is None:
        return unknown("batch", title)
    old, new = ((s[MICRO], s[ACCUMULATION]) for s in (before.settings, now.settings))
    product = new[0] * new[1]
    if old == new:
        text = f"{product} rows a step: {new[0]} at once, {new[1]} times."
        return same("batch", title, text)
    before_text, now_text = (f"{micro} × {times} = {micro * times}" for micro, times in (old, new))
    if old[0] * old[1] == product:
        text = f"A step is still the same {product} rows, only summed in other portions."
        return differs("batch", title, "last_digits", before_text, now_text, text)
    text = f"A step is made of {product} rows instead of {old[0] * old[1]}, so it is another step."
    return differs("batch", title, "yes", before_text, now_text, text)


def _trained(before: Facts, now: Facts) -> CertificateLine:
    assert now.trained is not None
    title = "Trained weights"
    if before.trained is None:
        return unknown("trained", title)
    if before.trained == now.trained:
        return same("trained", title, f"{_tensors(now.trained)}, by name and shape.")
    return differs(
        "trained", title, "yes", _tensors(before.trained), _tensors(now.trained),
        "Other weights are trained from here on.",
    )  # fmt: skip


def _tensors(tensors: Tensors) -> str:
    return f"{count(tensors.count)} tensors with {count(tensors.numbers)} numbers"


# ---------------------------------------------------------------- circumstances


def _circumstances(before: Facts, now: Facts) -> Iterator[CertificateLine]:
    if now.versions is not None:
        yield _versions(before.versions, now.versions)
    if now.compute is not None:
        yield _device(before, now)
        if before.compute is not None and before.compute.loss != now.compute.loss:
            yield _loss(before.compute, now.compute)


def _versions(before: dict[str, str] | None, now: dict[str, str]) -> CertificateLine:
    if not before:
        return unknown("versions", "Packages")
    names = [name for name in dict.fromkeys([*before, *now]) if before.get(name) != now.get(name)]
    if not names:
        return same("versions", "Packages", ", ".join(f"{name} {now[name]}" for name in now) + ".")
    old, new = (
        ", ".join(f"{name} {versions.get(name, 'missing')}" for name in names)
        for versions in (before, now)
    )
    text = "Another version may round otherwise: the same run, but perhaps not to the last digit."
    return differs("versions", "Packages", "last_digits", old, new, text)


def _device(before: Facts, now: Facts) -> CertificateLine:
    assert now.compute is not None
    if before.compute is None:
        return unknown("device", "Device")
    old, new = before.compute, now.compute
    looked_at = ("name", "driver", "precision", "threads")
    changed = [name for name in looked_at if getattr(old, name) != getattr(new, name)]
    if old.device == new.device and not changed:
        driver = f", driver {new.driver}" if new.driver else ""
        return same("device", "Device", f"{new.name}{driver}, {new.precision}.")
    names = changed or ["name"]
    matters: Matters = "yes" if old.precision != new.precision else "last_digits"
    text = "Another number format rounds much more, or less, in every step."
    if matters != "yes":
        text = "The same formulas, but sums may be rounded in another order."
    return differs("device", "Device", matters, _part(old, names), _part(new, names), text)


_LOSSES = {"fused": "of a quicker head", "own": "of the model's own logits"}


def _loss(before: ComputeFacts, now: ComputeFacts) -> CertificateLine:
    """A line for the very few families whose head the quicker one does not reproduce."""
    old, new = (_LOSSES.get(facts.loss, facts.loss) for facts in (before, now))
    text = "With this model the two are not the same: losses before and after cannot be compared."
    return differs("loss", "Loss", "yes", old, new, text)


def _part(compute: object, names: list[str]) -> str:
    words = {"driver": "driver {}", "threads": "{} threads"}
    return ", ".join(words.get(name, "{}").format(getattr(compute, name)) for name in names)
