"""What is known of the end of a run. All of it may be missing."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from engine.contract.messages import Step, Telemetry
from engine.planning.facts import MachineFacts

Link = Literal["", "cause", "context"]
"""How an exception stands to the one after it: its declared cause, or what was being handled."""
How = Literal["exception", "signal", "exit", "hang", "alive"]


class ErrorSeen(msgspec.Struct, frozen=True, kw_only=True):
    """One exception of a chain."""

    type: str
    """Name of its class, without the module."""
    text: str = ""
    frames: str = ""
    """The traceback's lines."""
    link: Link = ""
    """To the exception that comes after it in the chain; empty for the last."""


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a run's end, or of a run that does not go on."""

    errors: tuple[ErrorSeen, ...] = ()
    """The chain of the exception that ended the job, the last raised at the end; empty if nobody
    caught one. Then the log is searched for it."""
    error_code: str = ""
    """The code of a failure that the worker itself has words for, such as ``nan_loss``."""
    exit_code: int | None = None
    """Of the worker; negative is a signal, None where it has not ended by itself."""
    oom_kills: int | None = None
    """How many programs the system ended for want of memory since shortly before the end."""
    is_hanging: bool = False
    """It lives, and nothing moves."""
    log: str = ""
    """The end of what this attempt's worker printed, native libraries included."""
    phase: str = ""
    step: int = 0
    saved_step: int | None = None
    """Step of the newest checkpoint, 0 without any; None if that is not known."""
    is_resumed: bool | None = None
    """Whether the attempt went on from a checkpoint."""
    steps: tuple[Step, ...] = ()
    """The newest of this attempt, oldest first."""
    telemetry: tuple[Telemetry, ...] = ()
    """The newest of this attempt, oldest first."""
    machine: MachineFacts | None = None
    config: dict[str, Any] | None = None
    """The model's config."""
    plan: dict[str, Any] = {}
    """What was foretold, as in run.json."""
    spec: dict[str, Any] = {}
    """As the attempt was given it."""

    @property
    def signal(self) -> int | None:
        """What ended the worker; shells tell it as 128 and more."""
        code = self.exit_code or 0
        return -code if code < 0 else code - 128 if 128 < code < 160 else None

    @property
    def how(self) -> How:
        """In which way it ended, if it did."""
        if self.errors or self.error_code:
            return "exception"
        if self.is_hanging:
            return "hang"
        if not self.exit_code:
            return "alive"
        return "exit" if self.signal is None else "signal"
