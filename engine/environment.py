"""Settings of the environment that a run takes from its host, not from who starts it. Light."""

from __future__ import annotations

import os

NAMES = (
    "HF_HUB_OFFLINE",
    "TRANSFORMERS_OFFLINE",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_ENDPOINT",
)


def ours() -> dict[str, str]:
    """Those that are set in this process, with their values."""
    return {name: value for name in NAMES if (value := os.environ.get(name))}


def differences(theirs: dict[str, str]) -> str:
    """What is set here and is otherwise there, in words; empty if nothing is.

    What is not set here is no wish, so it is no difference either.
    """
    found = [
        (name, theirs.get(name)) for name, value in ours().items() if theirs.get(name) != value
    ]
    return ", ".join(f"{name}={value}" if value else f"{name} not set" for name, value in found)
