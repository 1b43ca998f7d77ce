"""What a queued run is said to wait for."""

from __future__ import annotations

from engine.contract.lifecycle import State
from engine.host.waiting import Ahead, ahead_of, sentence_for
from engine.store.tally import Tally


def known(run: str, state: State) -> Tally:
    return Tally(run=run, name=run, created_at=0.0, state=state)


def test_a_run_that_is_continued_does_not_wait_for_itself() -> None:
    tallies = {"mine": known("mine", State.PAUSED)}
    assert sentence_for("mine", ["mine"], tallies) == ""
    assert ahead_of("mine", tallies) == Ahead()


def test_a_run_behind_another_that_is_paused_says_so() -> None:
    tallies = {run: known(run, State.PAUSED) for run in ("mine", "other")}
    assert sentence_for("mine", ["other", "mine"], tallies) == (
        "Number 2 in line, behind “other”, which is paused: it begins once you continue or stop "
        "that."
    )
