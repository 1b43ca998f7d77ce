"""The life of a run, as properties of the one table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.contract.lifecycle import (
    FINAL,
    LIVE,
    RESTING,
    RESUMABLE,
    TABLE,
    Event,
    IllegalMove,
    State,
    move,
)

states = st.sampled_from(State)
events = st.sampled_from(Event)


def walk(moves: list[Event]) -> list[State]:
    """The states of a new run to which all this happens; what is refused changes nothing."""
    path = [State.CREATED]
    for event in moves:
        try:
            path.append(move(path[-1], event))
        except IllegalMove:
            path.append(path[-1])
    return path


def test_an_undisturbed_run_goes_the_straight_way() -> None:
    way = [Event.ENQUEUE, Event.LAUNCH, Event.PREPARE, Event.TRAIN, Event.FINISH]
    assert walk(way) == [
        State.CREATED,
        State.QUEUED,
        State.STARTING,
        State.PREPARING,
        State.TRAINING,
        State.FINISHED,
    ]


@given(moves=st.lists(events, max_size=40))
def test_nothing_leaves_a_final_state(moves: list[Event]) -> None:
    path = walk(moves)
    for state in FINAL & set(path):
        assert set(path[path.index(state) :]) == {state}


@given(moves=st.lists(events, max_size=40))
def test_only_resume_leads_back(moves: list[Event]) -> None:
    path = walk(moves)
    for before, event, after in zip(path, moves, path[1:], strict=False):
        if before in RESTING and after not in RESTING:
            assert event == Event.RESUME
            assert after == State.QUEUED


@given(moves=st.lists(events, max_size=40))
def test_a_stop_is_a_promise(moves: list[Event]) -> None:
    """After a stop the run comes to rest, or is already on its way there."""
    path = walk([*moves, Event.STOP])
    assert path[-1] in RESTING | {State.STOPPING}


@given(state=states)
def test_stop_is_always_accepted(state: State) -> None:
    assert move(state, Event.STOP) in RESTING | {State.STOPPING}


@pytest.mark.parametrize("state", sorted(LIVE))
@pytest.mark.parametrize("event", [Event.STOP, Event.HALT, Event.FAIL, Event.LOSE])
def test_every_live_state_has_a_way_out(state: State, event: Event) -> None:
    assert move(state, event) in RESTING | {State.STOPPING}


def test_every_state_can_be_reached() -> None:
    reached = {State.CREATED}
    while found := {after for (before, _), after in TABLE.items() if before in reached} - reached:
        reached |= found
    assert reached == set(State)


def test_every_event_is_good_for_something() -> None:
    assert {event for _, event in TABLE} == set(Event)


@given(state=states, event=events)
def test_a_refused_move_says_why(state: State, event: Event) -> None:
    if (state, event) in TABLE:
        assert move(state, event) == TABLE[state, event]
    else:
        with pytest.raises(IllegalMove, match=f"is {state.value} cannot {event.value}"):
            move(state, event)


def test_the_groups_of_states_do_not_overlap_wrongly() -> None:
    assert RESTING | {State.RECOVERING, State.PAUSED} == FINAL | RESUMABLE
    assert not FINAL & RESUMABLE
    assert not LIVE & RESTING
    others = {State.CREATED, State.QUEUED, State.RECOVERING, State.PAUSED}
    assert set(State) - LIVE - RESTING == others


def test_a_run_that_recovers_goes_on_or_is_left_be() -> None:
    for state in LIVE - {State.STOPPING}:
        assert move(state, Event.RETRY) == State.RECOVERING
    with pytest.raises(IllegalMove):
        move(State.STOPPING, Event.RETRY)
    assert move(State.RECOVERING, Event.RESUME) == State.QUEUED
    assert move(State.RECOVERING, Event.STOP) == State.STOPPED


def test_a_paused_run_goes_on_or_is_stopped() -> None:
    for state in (LIVE | {State.RECOVERING}) - {State.STOPPING}:
        assert move(state, Event.PAUSE) == State.PAUSED
    assert move(State.PAUSED, Event.RESUME) == State.QUEUED
    assert move(State.PAUSED, Event.STOP) == State.STOPPED


def test_a_worker_that_halts_unasked_leaves_an_interrupted_run() -> None:
    assert move(State.TRAINING, Event.HALT) == State.INTERRUPTED
    assert move(State.STOPPING, Event.HALT) == State.STOPPED


@pytest.mark.parametrize("event", [Event.PREPARE, Event.TRAIN])
def test_the_wish_to_stop_outlives_what_the_worker_still_says(event: Event) -> None:
    assert move(State.STOPPING, event) == State.STOPPING
