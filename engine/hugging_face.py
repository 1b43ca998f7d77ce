"""Where Hugging Face's libraries keep things on this machine, and whether they may use the network,
by the variables that they read themselves."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

Library = Literal["transformers", "datasets"]

_YES = ("1", "on", "yes", "true")


def home(environ: Mapping[str, str] = os.environ) -> Path:
    """The folder with all that they keep."""
    base = environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(environ.get("HF_HOME") or str(Path(base) / "huggingface")).expanduser()


def is_offline(library: Library, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the user told this library, or all of them, not to use the network."""
    names = ("HF_HUB_OFFLINE", _OFFLINE[library])
    return any(environ.get(name, "").lower() in _YES for name in names)


_OFFLINE: dict[Library, str] = {
    "transformers": "TRANSFORMERS_OFFLINE",
    "datasets": "HF_DATASETS_OFFLINE",
}
