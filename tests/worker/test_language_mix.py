"""What is said of the languages of a dataset of which few answers tell theirs."""

from __future__ import annotations

from engine.worker.language_mix import Mix, _mixed


def test_of_a_few_that_tell_nothing_is_said() -> None:
    found: list[str | None] = ["German", "German", *[None] * 98]
    assert _mixed(list(range(100)), found) == Mix(looked=100, untold=98)


def test_of_enough_that_tell_their_shares_are_said() -> None:
    found: list[str | None] = [*["German"] * 30, *["English"] * 10, *[None] * 60]
    mix = _mixed(list(range(100)), found)
    assert mix.shares == {"German": 0.75, "English": 0.25}
    assert (mix.others, mix.untold) == (list(range(30, 40)), 60)
