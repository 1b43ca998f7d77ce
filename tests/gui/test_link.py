"""The link: asks, follows and reconnects, against a host that speaks the contract."""

from __future__ import annotations

import time

import pytest
from PySide6.QtCore import QElapsedTimer, QObject, QTimer
from pytestqt.qtbot import QtBot

from app import pulse, transport
from app.following import decode_column
from app.link import HostLink
from app.transport import LocalTransport
from engine import __version__
from engine.contract.lifecycle import State
from engine.contract.messages import (
    CaughtUp,
    Columns,
    Follow,
    ListRuns,
    Record,
    Refusal,
    RunChanged,
    Start,
    Step,
    Unfollow,
    Warm,
    Watch,
)
from engine.contract.wire import frame
from tests.gui.host_double import HostDouble, columns, event, step
from tests.gui.pages import host, link
from tests.gui.recorded import summary

__all__ = ["host", "link"]

RUN = "20261122-221503-support-bot"


class Seen(QObject):
    """All points of one run that reached the window, in order of arrival."""

    def __init__(self, link: HostLink) -> None:
        super().__init__()
        self.steps: list[int] = []
        self.events: list[int] = []
        self.borders: list[int] = []
        link.record_received.connect(self._on_record)
        link.columns_received.connect(self._on_columns)
        link.caught_up.connect(self._on_border)

    def _on_record(self, record: Record) -> None:
        (self.steps if isinstance(record, Step) else self.events).append(record.seq)

    def _on_columns(self, piece: Columns) -> None:
        self.steps += [int(value) for value in decode_column(piece.data["step"])]

    def _on_border(self, border: CaughtUp) -> None:
        self.borders.append(border.seq)


def opened(link: HostLink, qtbot: QtBot) -> None:
    with qtbot.waitSignal(link.connected):
        link.open()


def test_greets_watches_and_warms(host: HostDouble, link: HostLink, qtbot: QtBot) -> None:
    opened(link, qtbot)
    qtbot.waitUntil(lambda: bool(host.asked(Warm) and host.asked(Watch)))
    assert link.is_connected
    assert link.outage == ""


def test_a_request_is_answered(host: HostDouble, link: HostLink, qtbot: QtBot) -> None:
    host.replies["list_runs"] = {"runs": [{"run": RUN}]}
    opened(link, qtbot)
    pending = link.ask(ListRuns)
    with qtbot.waitSignal(pending.replied) as caught:
        pass
    assert caught.args == [{"runs": [{"run": RUN}]}]


def test_a_request_is_refused_with_its_complaints(
    host: HostDouble, link: HostLink, qtbot: QtBot
) -> None:
    host.replies["start"] = Refusal(to=0, sentence="The spec has 1 problem.", code="bad_input")
    opened(link, qtbot)
    with qtbot.waitSignal(link.ask(Start, spec={}).refused) as caught:
        pass
    assert caught.args[0].sentence == "The spec has 1 problem."


def test_a_request_before_the_connection_waits(
    host: HostDouble, link: HostLink, qtbot: QtBot
) -> None:
    link.open()
    with qtbot.waitSignal(link.ask(ListRuns).replied):
        pass


def test_a_lost_connection_refuses_what_was_asked(
    host: HostDouble, link: HostLink, qtbot: QtBot
) -> None:
    opened(link, qtbot)
    pending = link.ask(ListRuns)
    host.drop()
    with qtbot.waitSignals([pending.refused, link.disconnected, link.connected]):
        pass


def test_asking_in_an_outage_is_refused_with_the_reason(
    host: HostDouble, link: HostLink, qtbot: QtBot
) -> None:
    opened(link, qtbot)
    with qtbot.waitSignal(link.disconnected) as caught:
        host.drop()
    with qtbot.waitSignal(link.ask(ListRuns).refused) as refused:
        pass
    assert refused.args[0].sentence == caught.args[0]
    assert "starts it again" in caught.args[0]


def test_starts_the_host_if_there_is_none(host: HostDouble, link: HostLink, qtbot: QtBot) -> None:
    host.stop()
    opened(link, qtbot)  # ``launch`` of the fixture is host.listen


def test_says_where_the_log_is_if_no_host_comes(
    host: HostDouble, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "START_SECONDS", 0.1)
    host.stop()
    link = HostLink(transport=LocalTransport(launch=lambda: None))
    with qtbot.waitSignal(link.disconnected) as caught:
        link.open()
    link.close()
    assert "host.log" in caught.args[0]


def test_a_refused_greeting_gives_its_sentence(
    host: HostDouble, link: HostLink, qtbot: QtBot
) -> None:
    host.greeting = Refusal(to=0, sentence="The token is wrong.", code="token")
    with qtbot.waitSignal(link.disconnected) as caught:
        link.open()
    assert caught.args == ["The token is wrong."]


def test_another_version_is_told_with_the_remedy(
    host: HostDouble, link: HostLink, qtbot: QtBot
) -> None:
    host.version = "9.9.9"
    host.replies["leave"] = Refusal(to=0, sentence="A run is live.", code="busy")
    with qtbot.waitSignal(link.disconnected) as caught:
        link.open()
    assert "9.9.9" in caught.args[0]
    assert "same version" in caught.args[0]


def test_an_idle_host_of_another_version_makes_way(
    host: HostDouble, link: HostLink, qtbot: QtBot
) -> None:
    host.version = "9.9.9"

    def upgrade(_sentence: str) -> None:
        host.version = __version__

    link.disconnected.connect(upgrade)
    opened(link, qtbot)


def test_past_and_live_come_once(host: HostDouble, link: HostLink, qtbot: QtBot) -> None:
    host.journal = [event(RUN, 1), *(step(RUN, n) for n in range(2, 9))]
    seen = Seen(link)
    opened(link, qtbot)
    with qtbot.waitSignal(link.caught_up):
        link.follow(RUN)
    host.send(step(RUN, 9), step(RUN, 9), step(RUN, 10))
    qtbot.waitUntil(lambda: 10 in seen.steps)
    assert seen.steps == list(range(2, 11))
    assert seen.events == [1]


def test_follows_again_after_a_loss_with_no_gap_and_no_double(
    host: HostDouble, link: HostLink, qtbot: QtBot
) -> None:
    host.journal = [step(RUN, n) for n in range(1, 8)]
    seen = Seen(link)
    opened(link, qtbot)
    with qtbot.waitSignal(link.caught_up):
        link.follow(RUN)
    host.drop()
    host.journal += [step(RUN, 8), event(RUN, 9), step(RUN, 10)]
    with qtbot.waitSignal(link.caught_up):
        pass
    assert seen.steps == [1, 2, 3, 4, 5, 6, 7, 8, 10]
    assert seen.events == [9]
    assert [request.since for request in host.asked(Follow)] == [0, 7]


@pytest.mark.parametrize("cut", range(6))
def test_a_loss_in_the_middle_of_the_past_loses_nothing(
    host: HostDouble, link: HostLink, qtbot: QtBot, cut: int
) -> None:
    host.journal = [step(RUN, 1), event(RUN, 2), *(step(RUN, n) for n in range(3, 10))]
    host.journal.append(event(RUN, 10))
    host.cut_after = cut
    seen = Seen(link)
    opened(link, qtbot)
    with qtbot.waitSignal(link.caught_up):
        link.follow(RUN)
    assert seen.steps == [1, *range(3, 10)]
    assert seen.events == [2, 10]


def test_a_piece_that_is_known_in_part_is_cut(
    host: HostDouble, link: HostLink, qtbot: QtBot
) -> None:
    seen = Seen(link)
    opened(link, qtbot)
    with qtbot.waitSignal(link.caught_up):
        link.follow(RUN)
    host.send(columns(RUN, [1, 2, 3]), columns(RUN, [2, 3, 4, 5]), step(RUN, 6))
    qtbot.waitUntil(lambda: 6 in seen.steps)
    assert seen.steps == [1, 2, 3, 4, 5, 6]


def test_following_anew_ignores_left_overs(host: HostDouble, link: HostLink, qtbot: QtBot) -> None:
    host.journal = [step(RUN, n) for n in range(1, 5)]
    seen = Seen(link)
    opened(link, qtbot)
    with qtbot.waitSignal(link.caught_up):
        link.follow(RUN)
    seen.steps.clear()
    link.unfollow(RUN)
    host.send(step(RUN, 5))  # was on its way when we let go
    link.follow(RUN)
    with qtbot.waitSignal(link.caught_up):
        pass
    assert seen.steps == [1, 2, 3, 4]
    assert host.asked(Unfollow)


def test_a_distribution_is_held_again_when_a_run_goes_on(
    host: HostDouble, link: HostLink, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What held it left with the end of the attempt before."""
    held: list[str] = []
    monkeypatch.setattr("app.link.keep_alive", lambda place, run: held.append(run))
    opened(link, qtbot)
    for state, count in (("training", 1), ("training", 1), ("stopped", 1), ("preparing", 2)):
        with qtbot.waitSignal(link.run_changed):
            host.send(RunChanged(summary=summary(RUN, state=State(state))))
        assert held == [RUN] * count


def test_what_a_power_cut_took_back_there_comes_again(
    host: HostDouble, link: HostLink, qtbot: QtBot
) -> None:
    seen = Seen(link)
    host.journal = [step(RUN, seq) for seq in range(1, 9)]
    opened(link, qtbot)
    with qtbot.waitSignal(link.caught_up):
        link.follow(RUN)
    host.journal = host.journal[:5]
    with qtbot.waitSignal(link.caught_up):
        host.drop()
    assert [follow.since for follow in host.asked(Follow)] == [0, 8, 5]
    host.send(step(RUN, 6))
    qtbot.waitUntil(lambda: seen.steps == [*range(1, 9), 6])


def test_garbage_is_skipped(host: HostDouble, link: HostLink, qtbot: QtBot) -> None:
    seen = Seen(link)
    opened(link, qtbot)
    with qtbot.waitSignal(link.caught_up):
        link.follow(RUN)
    host.send_raw(b'\x00\xff not json\n{"type":"from_the_future"}\n')
    host.send(step(RUN, 1))
    qtbot.waitUntil(lambda: seen.steps == [1])


class MuteTransport(LocalTransport):
    """Goes deaf and mute when it is told to, as a network does, and stays open."""

    restarts_host = False
    is_dead = False

    def read(self, limit: int) -> bytes:
        return b"" if self.is_dead else super().read(limit)

    def write(self, data: bytes) -> None:
        if not self.is_dead:
            super().write(data)


def test_a_connection_that_died_silently_is_made_anew(
    host: HostDouble, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulse, "PULSE_MS", 30)
    line = MuteTransport(launch=None)
    link = HostLink(transport=line)
    opened(link, qtbot)
    qtbot.wait(300)  # Silent, but it answers when it is asked.
    assert link.is_connected
    line.is_dead = True
    with qtbot.waitSignal(link.disconnected) as caught:
        pass
    assert "made anew" in caught.args[0]
    line.is_dead = False
    with qtbot.waitSignal(link.connected):
        pass
    link.close()


def test_a_long_history_never_holds_the_event_loop(
    host: HostDouble, link: HostLink, qtbot: QtBot
) -> None:
    count = 40_000
    seen = Seen(link)
    opened(link, qtbot)
    with qtbot.waitSignal(link.caught_up):
        link.follow(RUN)
    raw = b"".join(frame_of(n) for n in range(1, count + 1))
    gaps: list[int] = []
    watch = QElapsedTimer()
    watch.start()

    def tick() -> None:
        gaps.append(watch.restart())

    timer = QTimer(interval=0)
    timer.timeout.connect(tick)
    host.send_raw(raw)
    watch.restart()
    timer.start()
    began = time.monotonic()
    qtbot.waitUntil(lambda: len(seen.steps) == count, timeout=60_000)
    timer.stop()
    assert seen.steps == list(range(1, count + 1))
    # Wall clock: a machine with other work may hold a turn or two back, and that is not ours.
    longest = sorted(gaps)[-3:]
    assert longest[0] <= 250, f"{longest} ms in a turn, {time.monotonic() - began:.1f} s in all"


def frame_of(seq: int) -> bytes:
    return frame(step(RUN, seq))
