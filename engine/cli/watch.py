"""Follow a run to its end: print what happens, survive the host, know when it is over."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from engine.cli.output import EXIT_OF, Exit, Output
from engine.cli.progress import RunProgress, sentence, with_reason
from engine.client import Client, HostLost, connect
from engine.contract.lifecycle import RESTING, State
from engine.contract.messages import (
    CaughtUp,
    Done,
    Finding,
    Follow,
    Message,
    Outcome,
    Record,
    RunSummary,
    StateChanged,
)

_PLAIN_SECONDS = 5.0
"""Between two progress lines where there is no terminal to write one over and over."""
_NEXT_HOST_SECONDS = 120.0
"""How long a host that ends may wait for its worker to save before the next one serves."""
_DONE_SECONDS = 3.0
"""How long a run that has come to rest may take to say Done."""
_OUTCOMES: dict[State, Outcome] = {
    State.FINISHED: "finished",
    State.STOPPED: "stopped",
    State.INTERRUPTED: "stopped",
}


class EndOfRun:
    """Tells from a run's messages when it has come to rest, and how. Pure."""

    def __init__(self, summary: RunSummary) -> None:
        self._summary = summary
        self._done: Done | None = None
        self._caught_up = False
        self._has_records = False
        self.state = summary.state

    def feed(self, message: Message) -> Done | None:
        """The end, once it is known that nothing comes after it."""
        match message:
            case StateChanged():
                self.state = message.state
                if message.state not in RESTING:
                    self._done = None
            case Done():
                self._done = message
            case CaughtUp():
                self._caught_up = True
        self._has_records = self._has_records or isinstance(message, Record)
        if not self._caught_up:
            return None
        if self._done is None and self.state in RESTING and not self._has_records:
            return self.made_up()
        return self._completed(self._done) if self._done else None

    def made_up(self) -> Done:
        """The end as the summary tells it, where the record of it is not at hand."""
        summary = self._summary
        return Done(
            run=summary.run,
            at=summary.ended_at or time.time(),
            attempt=summary.attempt,
            outcome=_OUTCOMES.get(self.state, "failed"),
            step=summary.step,
            folder=summary.folder,
            output=summary.output,
            sentence=summary.sentence or f"The run is {self.state.value}.",
        )

    def _completed(self, done: Done) -> Done:
        return msgspec.structs.replace(
            done, run=self._summary.run, folder=done.folder or self._summary.folder
        )


class Display:
    """Shows a run's messages: every one as JSON, or for people a line and what is of note."""

    def __init__(self, output: Output, summary: RunSummary) -> None:
        self.progress = RunProgress(summary)
        self._output = output
        self._is_live = False
        self._is_at_rest = summary.state in RESTING
        self._shown_at, self._began = 0.0, time.monotonic()

    def show(self, message: Message) -> None:
        """Print a message; Done is the caller's."""
        if isinstance(message, Done):
            return
        self._output.emit(message)
        self.progress.feed(message)
        self._is_live = self._is_live or isinstance(message, CaughtUp)
        if isinstance(message, StateChanged):
            self._is_at_rest = message.state in RESTING
        if self._output.as_json:
            return
        if (text := sentence(message)) is not None:
            self._output.say(self._painted(message, text))
        if self._is_live and not self._is_at_rest:
            self._show_progress()

    def _show_progress(self) -> None:
        if self._output.is_terminal:
            self._output.progress(self.progress.line_with_bar(self._output.width))
            return
        now = time.monotonic()
        is_told = self.progress.step or (self.progress.doing and now - self._began > _PLAIN_SECONDS)
        if is_told and now - self._shown_at > _PLAIN_SECONDS:
            self._shown_at = now
            self._output.say(self.progress.line())

    def _painted(self, message: Message, text: str) -> str:
        if isinstance(message, Finding):
            colour = {"error": "red", "warning": "yellow"}.get(message.severity, "blue")
            return self._output.paint(text, colour)
        return text if isinstance(message, StateChanged) else self._output.paint(text, "dim")


class Watcher:
    """Follows one run over as many connections as it takes."""

    def __init__(
        self, client: Client, output: Output, seen: Callable[[Message], None] | None = None
    ) -> None:
        self.client = client
        self._output = output
        self._seen = seen
        self._since = 0
        self._shown = 0
        """Number of the newest record that was shown."""
        self.run = ""
        """What the person called it, and then its full name."""
        self.said = ""
        """The last reason that was shown for the run's state."""

    def to_the_end(self, run: str, since: int = 0) -> Done:
        """Show the run from record ``since`` on until it has come to rest."""
        self.run, self._since = run, since
        while True:
            try:
                return self._follow()
            except HostLost:
                self._output.say("The host has ended. The run saves and stops; asking a new host.")
                self.client.close()
                self.client = connect(timeout_s=_NEXT_HOST_SECONDS)

    def _follow(self) -> Done:
        reply = self.client.request(Follow(id=0, run=self.run, since=self._since))
        if reply["seq"] < self._shown:
            # A power cut there took back what was shown here; those numbers come again.
            self._since = self._shown = reply["seq"]
            reply = self.client.request(Follow(id=0, run=self.run, since=self._since))
        self.run = reply["run"]
        summary = msgspec.convert(reply["summary"], RunSummary)
        end, display = EndOfRun(summary), Display(self._output, summary)
        while True:
            # A run at rest that keeps its Done to itself was cut off before it could be written.
            wait_s = None if end.state not in RESTING else _DONE_SECONDS
            for message in self.client.messages(wait_s):
                if getattr(message, "run", "") != summary.run:
                    continue
                self._note(message)
                display.show(message)
                if (done := end.feed(message)) is not None:
                    return done
                if (end.state in RESTING) != (wait_s is not None):
                    break
            else:
                return end.made_up()

    def _note(self, message: Message) -> None:
        if isinstance(message, Record):
            self._shown = self._since = max(self._since, message.seq)
        if isinstance(message, StateChanged):
            self.said = message.sentence
        if self._seen:
            self._seen(message)


def watch(client: Client, output: Output, run: str, since: int = 0) -> Exit:
    """Follow a run to its end, print the end, and give its exit code.

    Ctrl-C leaves the run alone: it says how to come back.
    """
    watcher = Watcher(client, output)
    try:
        done = watcher.to_the_end(run, since)
    except KeyboardInterrupt:
        output.say(
            "Training goes on without this terminal.\n"
            f"Watch it again: fettle follow {watcher.run}\n"
            f"Save and stop:  fettle stop {watcher.run}"
        )
        return Exit.DETACHED
    finally:
        watcher.client.close()
    report(output, done, watcher.said)
    return EXIT_OF[done.outcome]


def report(output: Output, done: Done, said: str = "") -> None:
    """The last words on a run; with ``--json`` the last line. What was ``said`` is not repeated."""
    output.emit(done)
    if output.as_json:
        return
    colour = {"finished": "green", "stopped": "yellow", "failed": "red"}[done.outcome]
    reason = "" if done.sentence == said else done.sentence
    last = with_reason(f"{done.outcome.capitalize()} at step {done.step}", reason)
    output.say(output.paint(last, colour))
    output.say(f"Run:    {done.folder}")
    if done.output:
        output.say(f"Output: {done.output}")
    if _would_fail_again(done):
        output.say("Nothing was trained yet, and the same again would end so: mend it first.")
    elif done.outcome == "failed":
        output.say(f"When that is mended, go on with it: fettle resume {done.run}")
    elif done.outcome != "finished":
        output.say(f"Go on with it: fettle resume {done.run}")


def _would_fail_again(done: Done) -> bool:
    """Whether the worker gave up, with a reason, before there was anything to go on from."""
    if done.outcome != "failed" or done.synthesised or done.step:
        return False
    return not any(Path(done.folder).glob("checkpoints/step-*"))
