"""Spikes, ruins and rates that are too high, from losses and gradient norms alone."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable

import pytest

from engine.diagnosis.losses import Losses, gentler

CHANCE = math.log(32_000)


def after(losses: Iterable[float], norms: Iterable[float] | None = None) -> Losses:
    made = Losses(CHANCE)
    losses = list(losses)
    for loss, norm in zip(losses, norms or [1.0] * len(losses), strict=True):
        made.note(loss, norm)
    return made


def healthy(seed: int, steps: int = 400) -> Iterable[float]:
    """A falling loss; batches of few samples, some of them hard, and a second epoch."""
    dice = random.Random(seed)
    start, end = dice.uniform(1.2, 4), dice.uniform(0.3, 1.2)
    rows, sigma = dice.choice((1, 2, 8)), dice.uniform(0.1, 0.45)
    for step in range(steps):
        trend = end + (start - end) * math.exp(-step / dice.uniform(40, 60))
        trend *= 0.8 if step > steps / 2 else 1.0
        yield trend * sum(dice.lognormvariate(0, sigma) for _ in range(rows)) / rows


def test_in_healthy_noise_next_to_nothing_is_a_spike_and_nothing_ruin() -> None:
    spikes = 0
    for seed in range(200):
        made = Losses(CHANCE)
        for loss in healthy(seed):
            spikes += made.is_spike(loss)
            made.note(loss, 1.0)
            assert not made.seems_ruined
    assert spikes <= 2, "of 80 000 steps"


@pytest.mark.parametrize("seed", range(20))
def test_a_loss_out_of_all_proportion_is_a_spike(seed: int) -> None:
    made = after(list(healthy(seed))[:200])
    usual = made.usual
    assert usual is not None
    assert made.is_spike(12 * usual + 2)
    assert not made.is_spike(1.3 * usual)


def test_the_first_steps_are_no_measure_for_spikes() -> None:
    assert not after([1.0] * 10).is_spike(50.0)
    assert after([1.0] * 30).is_spike(50.0)


def test_a_model_in_ruins_is_near_guessing_or_worse() -> None:
    ruined = after([1.4] * 30 + [8.5] * 8)
    assert ruined.seems_ruined
    assert not after([1.4] * 30 + [3.0] * 8).seems_ruined, "much worse, but it still knows a lot"
    assert not after([10.4] * 60).seems_ruined, "never knew anything"
    assert not after([1.4] * 30 + [8.5] * 4).seems_ruined, "a few hard batches"


def test_growth_is_against_the_middle_of_before() -> None:
    assert after([1.0] * 20, [1.0] * 19 + [300.0]).norm_growth == 300.0
    assert after([1.0] * 20, [2.0] * 20).norm_growth == 1.0
    assert after([1.0, 1.0], [1.0, 9.0]).norm_growth == 9.0
    assert after([1.0]).norm_growth == 1.0
    made = after([1.0] * 20)
    made.note_norm(math.inf)
    assert made.norm_growth == 1.0


def test_it_knows_whether_anything_was_ever_trained() -> None:
    assert not after([1.0] * 3, [0.0] * 3).had_gradient
    assert after([1.0] * 3, [0.0, 0.1, 0.0]).had_gradient


@pytest.mark.parametrize(
    ("rate", "usual", "wanted"),
    [(10.0, 2e-4, 2e-4), (4e-4, 2e-4, 1e-4), (1e-5, 2e-5, 3e-6), (2e-3, 2e-4, 2e-4),
     (1e-3, 2e-4, 3e-4)],
)  # fmt: skip
def test_a_gentler_rate_has_one_figure(rate: float, usual: float, wanted: float) -> None:
    assert gentler(rate, usual) == pytest.approx(wanted)
    assert gentler(rate, usual) < rate
