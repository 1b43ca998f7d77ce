"""What the host answers when Windows ends the session; the window itself is Windows' own."""

from __future__ import annotations

import threading

from engine.host.session_end import END_SESSION, QUERY_END_SESSION, SessionEnd


class Log:
    """What was done, in order."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def end(self, seconds: float = 20.0) -> SessionEnd:
        return SessionEnd(
            lambda: self.done.append("ask"), seconds, lambda: self.done.append("hold"),
            lambda: self.done.append("let go"),
        )  # fmt: skip


def test_a_question_is_answered_at_once_and_asks_for_nothing_yet() -> None:
    log = Log()
    assert log.end().on_message(QUERY_END_SESSION, 0) == 1
    assert log.done == ["hold"]


def test_an_end_waits_until_the_run_has_saved() -> None:
    log = Log()
    end = log.end()
    thread = threading.Thread(target=end.on_message, args=(END_SESSION, 1))
    thread.start()
    thread.join(0.3)
    assert thread.is_alive()
    assert log.done == ["ask"]
    end.saved()
    thread.join(5.0)
    assert log.done == ["ask", "let go"]


def test_an_end_waits_no_longer_than_it_may() -> None:
    log = Log()
    assert log.end(0.05).on_message(END_SESSION, 1) == 0
    assert log.done == ["ask", "let go"]


def test_an_end_that_another_program_prevented_ends_nothing() -> None:
    log = Log()
    assert log.end().on_message(END_SESSION, 0) == 0
    assert log.done == ["let go"]


def test_other_messages_are_windows_own() -> None:
    assert Log().end().on_message(0x0001, 0) is None
