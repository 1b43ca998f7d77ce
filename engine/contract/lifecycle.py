"""The life of a run: states, events, and the one table that joins them.

``created -> queued -> starting -> preparing -> training -> finished``, with ``stopping ->
stopped``, ``failed`` and ``interrupted`` (found dead) as the other ends. A run whose attempt ended
before its time, and that Fettle takes up again by itself, is ``recovering`` in between; one that
gave the card back for a while is ``paused``. ``resume``
is the only way back, and the caller raises ``attempt`` with it. What a run is busy with inside a
state is its *phase*, which is shown to people and never decides anything here.
"""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where a run is in its life."""

    CREATED = "created"
    QUEUED = "queued"
    STARTING = "starting"
    PREPARING = "preparing"
    TRAINING = "training"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FINISHED = "finished"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    RECOVERING = "recovering"
    PAUSED = "paused"


class Event(StrEnum):
    """What can happen to a run."""

    ENQUEUE = "enqueue"
    LAUNCH = "launch"
    """A worker has been given the job."""
    PREPARE = "prepare"
    """The worker has accepted the job and loads model and data."""
    TRAIN = "train"
    """The first training step begins."""
    STOP = "stop"
    """A person or the system asked for the end."""
    FINISH = "finish"
    HALT = "halt"
    """The worker has saved and ended because it was asked to."""
    FAIL = "fail"
    LOSE = "lose"
    """The run was found without a living worker."""
    PAUSE = "pause"
    """The worker has saved and ended, so that the card is free; the run keeps its place in line."""
    RETRY = "retry"
    """The attempt ended before its time, and the run will be resumed without being asked."""
    RESUME = "resume"


class Phase(StrEnum):
    """What a live run is busy with; gives people a word and the watchdog a time budget."""

    WAITING = "waiting"
    LOADING_MODEL = "loading model"
    TOKENISING = "tokenising"
    FIRST_STEP = "first step"
    TRAINING = "training"
    EVALUATING = "evaluating"
    SAVING = "saving"
    ENDED = "ended"


FINAL = frozenset({State.FINISHED})
"""States that nothing leaves."""

RESTING = frozenset({State.FINISHED, State.STOPPED, State.FAILED, State.INTERRUPTED})
"""States without a worker, present or promised."""

LIVE = frozenset({State.STARTING, State.PREPARING, State.TRAINING, State.STOPPING})
"""States in which a worker process belongs to the run."""

RESUMABLE = frozenset(
    {State.STOPPED, State.FAILED, State.INTERRUPTED, State.RECOVERING, State.PAUSED}
)


def _table() -> dict[tuple[State, Event], State]:
    table: dict[tuple[State, Event], State] = {
        (State.CREATED, Event.ENQUEUE): State.QUEUED,
        (State.QUEUED, Event.LAUNCH): State.STARTING,
        (State.STARTING, Event.PREPARE): State.PREPARING,
        (State.PREPARING, Event.TRAIN): State.TRAINING,
        (State.PREPARING, Event.FINISH): State.FINISHED,
        (State.TRAINING, Event.FINISH): State.FINISHED,
        (State.STOPPING, Event.FINISH): State.FINISHED,
        (State.CREATED, Event.STOP): State.STOPPED,
        (State.QUEUED, Event.STOP): State.STOPPED,
        (State.STOPPING, Event.HALT): State.STOPPED,
        (State.CREATED, Event.LOSE): State.INTERRUPTED,
        (State.QUEUED, Event.LOSE): State.INTERRUPTED,
    }
    for state in LIVE:
        table[state, Event.STOP] = State.STOPPING
        table[state, Event.FAIL] = State.FAILED
        table[state, Event.LOSE] = State.INTERRUPTED
    for state in LIVE - {State.STOPPING}:
        # A worker that lost its host, or was told to end by the system, halts unasked.
        table[state, Event.HALT] = State.INTERRUPTED
        table[state, Event.RETRY] = State.RECOVERING
        table[state, Event.PAUSE] = State.PAUSED
    # Its host leaves before it has a worker: the next one finds it in the queue.
    table[State.STARTING, Event.ENQUEUE] = State.QUEUED
    table[State.RECOVERING, Event.PAUSE] = State.PAUSED
    table[State.PAUSED, Event.STOP] = State.STOPPED
    table[State.RECOVERING, Event.STOP] = State.STOPPED
    table[State.RECOVERING, Event.FAIL] = State.FAILED
    for state in RESTING:
        table[state, Event.STOP] = state
    for state in RESUMABLE:
        table[state, Event.RESUME] = State.QUEUED
    # A worker may say it prepares or trains after it was asked to stop: the wish stands.
    table[State.STOPPING, Event.PREPARE] = State.STOPPING
    table[State.STOPPING, Event.TRAIN] = State.STOPPING
    return table


TABLE = _table()
"""Every allowed move: ``(state, event) -> next state``. What is not here is refused."""


class IllegalMove(ValueError):
    """An event that the state does not allow."""


def move(state: State, event: Event) -> State:
    """The state that follows. Raises :class:`IllegalMove` with a sentence for the user."""
    try:
        return TABLE[state, event]
    except KeyError:
        sentence = f"A run that is {state.value} cannot {event.value}. {_next(state, event)}"
        raise IllegalMove(sentence.rstrip()) from None


def _next(state: State, event: Event) -> str:
    """What to do instead."""
    if event is not Event.RESUME:
        return ""
    if state is State.FINISHED:
        return "All its steps are done: to train further, start a new run with more of them."
    if state is State.STOPPING:
        return "Wait until it has saved, and resume it then."
    return "It goes on already: follow it, or stop it first."
