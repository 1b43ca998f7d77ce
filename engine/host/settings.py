"""What the environment changes about a host; all of it has a default that suits people."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

import msgspec

from engine.diagnosis.comeback import FIRST_SECONDS


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Times in seconds; each is ``FETTLE_<NAME>`` in the environment."""

    idle_seconds: float = 300.0
    """A host without clients and runs leaves after this."""
    warm_seconds: float = 600.0
    """An idle worker without a window is kept this long after it was asked for."""
    ready_seconds: float = 600.0
    """Longest that a worker may import; a cold disk takes minutes."""
    stop_grace_seconds: float = 600.0
    """Longest from a wish to stop to the end of the worker, saving included."""
    exit_seconds: float = 30.0
    """Longest from a worker's Done to its end."""
    mute_seconds: float = 120.0
    """A worker that says nothing for this long, not even a heartbeat, is mentioned."""
    keep_awake: bool = True
    """Keep the computer from sleeping while a run trains."""
    watchdog_scale: float = 1.0
    """What the fixed times of the watch over a worker are multiplied with, for tests; 0 for no
    watch."""
    orphan_seconds: float = 60.0
    """How long a worker that lost its host may save before it is ended."""
    leave_seconds: float = 80.0
    """How long a host that the system ends waits for its worker to save."""
    resume_automatically: bool = True
    """Off: no run is resumed by itself, whatever people chose in the options."""
    resume_seconds: float = FIRST_SECONDS
    """Before the first time that a run is resumed by itself; longer before each further one."""
    telemetry: bool = True
    worker_command: tuple[str, ...] = (sys.executable, "-m", "engine", "work")


def read_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings of this process. Raises ``ValueError`` naming the variable."""
    found: dict[str, object] = {}
    for field in msgspec.structs.fields(Settings):
        name = f"FETTLE_{field.name.upper()}"
        text = environment.get(name)
        if text:
            found[field.name] = _read(name, text, field.type)
    return Settings(**found)  # type: ignore[arg-type]


def _read(name: str, text: str, kind: type) -> object:
    if kind is bool:
        return text.lower() not in ("off", "0", "false", "no")
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.MsgspecError as error:
        raise ValueError(f"{name}={text!r} cannot be used: {error}.") from None
