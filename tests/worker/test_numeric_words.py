"""Whatever the numeric guard proposes: that it changes the result follows from what it patches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from engine.contract import effects
from engine.contract.messages import Finding
from engine.contract.spec import DatasetSpec, ModelSpec, Spec
from engine.worker import numeric_words as words
from engine.worker.failures import JobError, explain
from engine.worker.inbox import Wishes
from engine.worker.report import Report

SPEC = Spec(name="s", model=ModelSpec(path="m"), dataset=DatasetSpec(path="d"))


def errors() -> Iterator[JobError]:
    yield words.poisoned(3, ["lm_head"], 2e-4, "")
    yield words.grown(3, SPEC, "")
    yield words.broken_weights(3, ["lm_head"])
    yield words.overflow(3, 1.0, in_loss=True)
    yield words.overflow(3, 1.0, in_loss=False)
    yield words.too_many(3, 5, SPEC)
    yield words.ruined(3, SPEC, 1.0, 9.0, "")
    yield words.no_gradient(3, 3, SPEC, had_some=True)
    yield words.no_gradient(3, 3, SPEC, had_some=False)


@pytest.mark.parametrize("error", list(errors()), ids=lambda error: error.code)
def test_the_fix_of_an_end_is_labelled_by_what_it_patches(error: JobError) -> None:
    failure = explain(error)
    assert failure.patch == error.patch
    assert failure.changes_result == effects.changes_result(failure.patch)
    assert failure.effect == effects.sentence_of(failure.patch)
    is_numeric = {"training.learning_rate", "training.precision"} & set(failure.patch)
    assert failure.changes_result == bool(is_numeric)


def test_the_fix_of_a_spike_is_labelled_too() -> None:
    heard: list[Any] = []

    class Outbox:
        send = staticmethod(heard.append)

    report = Report(Outbox(), Wishes())  # type: ignore[arg-type]
    samples: Any = None
    words.tell_spike(report, 9, 9.0, 1.0, spec=SPEC, samples=samples, worst=None, growth=1.0)
    found = msgspec.convert(heard[0], Finding)
    assert found.patch
    assert found.changes_result
    assert found.effect == "That changes the result."
