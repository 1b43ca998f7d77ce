"""The window's link to the host: connects by itself, asks, follows, and survives every loss.

Pages know only this object. Where the host lives is its transport's matter
(:mod:`app.endpoint`); one connection is :class:`app.conversation.Conversation`'s.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from PySide6.QtCore import QObject, QTimer, Signal

from app.conversation import Conversation, Pending, make_request, no_connection
from app.endpoint import Place, keep_alive, transport_to
from app.following import Followed
from app.transport import Transport
from engine.contract.lifecycle import LIVE, RESTING
from engine.contract.messages import (
    CaughtUp,
    Columns,
    Follow,
    Inspected,
    Message,
    Progress,
    Record,
    Rehearsed,
    Request,
    RunChanged,
    RunRemoved,
    RunSummary,
    Unfollow,
    Warm,
    Watch,
)

BACK_OFF_MS = (100, 200, 500, 1000, 2000, 5000)
"""Waits before the first, second, … try to connect again; the last one repeats."""


class HostLink(QObject):
    """The link to the host.

    Signals:
        connected: the host took our greeting; its data (dict: ``version``, ``pid``, …).
        disconnected: there is no connection; why and what to do, for people. Comes once an outage,
            and again if the reason changes.
        record_received: a new :class:`Record` of a followed run, each exactly once.
        columns_received: a piece of a run's past (:class:`Columns`), to be added to what is there.
        caught_up: the past of a run is complete (:class:`CaughtUp`); again after each reconnect.
        run_changed: a run's new :class:`RunSummary`.
        run_removed: name of a run whose folder is gone.
        progress_received: a :class:`Progress`.
        rehearsal_received: a :class:`Rehearsed`, or a record of what is not followed: rehearsals
            send theirs without being followed.
        inspected: an :class:`Inspected`.
        moved: the engine lives at another place from now on; what is known of runs is not of it.
    """

    connected = Signal(object)
    disconnected = Signal(str)
    record_received = Signal(object)
    columns_received = Signal(object)
    caught_up = Signal(object)
    run_changed = Signal(object)
    run_removed = Signal(str)
    progress_received = Signal(object)
    rehearsal_received = Signal(object)
    inspected = Signal(object)
    moved = Signal()

    def __init__(
        self,
        parent: QObject | None = None,
        *,
        place: Place | None = None,
        transport: Transport | None = None,
    ) -> None:
        super().__init__(parent)
        self.place = place or Place()
        self._followed: dict[str, Followed] = {}
        self._waiting: list[Pending] = []
        self._kept_alive: set[str] = set()
        self._is_wanted = False
        self._outage = ""
        self._hello: dict[str, Any] = {}
        self._losses = 0
        self._retry = QTimer(self, singleShot=True)
        self._retry.timeout.connect(self._on_retry)
        self._conversation = self._talk_over(transport or transport_to(self.place))

    # ------------------------------------------------------------ what pages use

    @property
    def is_connected(self) -> bool:
        """Requests reach the host at this moment."""
        return self._conversation.is_greeted

    @property
    def hello(self) -> dict[str, Any]:
        """What the host said of itself when it greeted last; empty before that."""
        return self._hello

    @property
    def outage(self) -> str:
        """Why there is no connection, for people; empty while there is one or none was tried."""
        return self._outage

    def open(self) -> None:
        """Connect, start the host if there is none, and stay connected from now on."""
        self._is_wanted = True
        self._conversation.begin()

    def close(self) -> None:
        """Disconnect. Runs go on without us."""
        self._is_wanted = False
        self._retry.stop()
        self._conversation.end()

    def move_to(self, place: Place) -> None:
        """Talk to the host at another place from now on. Followed runs are let go."""
        old = self._conversation
        old.greeted.disconnect(self._on_greeted)
        old.message_received.disconnect(self._on_message)
        old.ended.disconnect(self._on_ended)
        old.ended.connect(old.deleteLater)
        old.end()
        self._retry.stop()
        self.place = place
        self._followed.clear()
        self._kept_alive.clear()
        self._losses, self._outage = 0, ""
        self._conversation = self._talk_over(transport_to(place))
        self.moved.emit()
        if self._is_wanted:
            self._conversation.begin()

    def ask(self, kind: type[Request], **fields: Any) -> Pending:
        """Send a request. Before the first connection it waits; in an outage it is refused."""
        request = make_request(kind, self._conversation.next_id(), fields)
        pending = Pending(request, self)
        if self.is_connected:
            self._conversation.ask(pending)
        else:
            self._waiting.append(pending)
            if self._outage or not self._is_wanted:
                QTimer.singleShot(0, self._refuse_waiting)
        return pending

    def follow(self, run: str) -> None:
        """Send all records of a run, past and coming. Following it already changes nothing."""
        if run not in self._followed:
            self._followed[run] = Followed()
            if self.is_connected:
                self._send_follow(run)

    def unfollow(self, run: str) -> None:
        """Send no more records of a run; a later :meth:`follow` begins from its start."""
        if self._followed.pop(run, None) is not None and self.is_connected:
            self.ask(Unfollow, run=run)

    # ------------------------------------------------------------ the connection

    def _talk_over(self, transport: Transport) -> Conversation:
        conversation = Conversation(transport, "window", self)
        conversation.greeted.connect(self._on_greeted)
        conversation.ended.connect(self._on_ended)
        conversation.message_received.connect(self._on_message)
        return conversation

    def _on_greeted(self, data: dict[str, Any]) -> None:
        self._losses, self._outage = 0, ""
        self._hello = data
        self.ask(Watch)
        self.ask(Warm)
        for run in self._followed:
            self._send_follow(run)
        held, self._waiting = self._waiting, []
        for pending in held:
            self._conversation.ask(pending)
        self.connected.emit(data)

    def _on_ended(self, sentence: str) -> None:
        if not self._is_wanted:
            self._refuse_waiting()
            return
        reason = sentence or "The connection to the engine was closed."
        if reason != self._outage:
            self._outage = reason
            self.disconnected.emit(reason)
        self._refuse_waiting()
        self._retry.start(BACK_OFF_MS[min(self._losses, len(BACK_OFF_MS) - 1)])
        self._losses += 1

    def _on_retry(self) -> None:
        self._conversation.begin()

    def _refuse_waiting(self) -> None:
        held, self._waiting = self._waiting, []
        for pending in held:
            pending.answer(no_connection(pending.request.id, self._outage))

    def _send_follow(self, run: str) -> None:
        followed = self._followed[run]
        followed.ask()
        self.ask(Follow, run=run, since=followed.since, columns=True).replied.connect(
            partial(self._on_follow_taken, run)
        )

    def _on_follow_taken(self, run: str, data: dict[str, Any]) -> None:
        followed = self._followed.get(run)
        if followed is not None and not followed.accept(data):
            self._send_follow(run)

    # ------------------------------------------------------------ what arrives

    def _on_message(self, message: Message) -> None:
        if isinstance(message, Record):
            followed = self._followed.get(message.run)
            if followed is None:
                self.rehearsal_received.emit(message)
            elif followed.take_record(message):
                self.record_received.emit(message)
        elif isinstance(message, Rehearsed):
            self.rehearsal_received.emit(message)
        elif isinstance(message, Inspected):
            self.inspected.emit(message)
        elif isinstance(message, Columns | CaughtUp):
            self._on_past(message)
        elif isinstance(message, RunChanged):
            self._hold_distribution(message.summary)
            self.run_changed.emit(message.summary)
        elif isinstance(message, RunRemoved):
            self._followed.pop(message.run, None)
            self.run_removed.emit(message.run)
        elif isinstance(message, Progress):
            self.progress_received.emit(message)

    def _on_past(self, message: Columns | CaughtUp) -> None:
        followed = self._followed.get(message.run)
        if followed is None:
            return
        if isinstance(message, CaughtUp):
            if followed.take_border(message):
                self.caught_up.emit(message)
            return
        new = followed.take_columns(message)
        if new is not None:
            self.columns_received.emit(new)

    def _hold_distribution(self, summary: RunSummary) -> None:
        if summary.state in RESTING:
            self._kept_alive.discard(summary.run)  # What held it leaves; a resume needs it anew.
        elif summary.state in LIVE and summary.run not in self._kept_alive:
            self._kept_alive.add(summary.run)
            keep_alive(self.place, summary.run)
