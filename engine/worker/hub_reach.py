"""Whether the hub can be reached, found out in seconds.

The hub's own library tries each of a model's files several times, with a growing wait between: over
a minute of silence where there is no network.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from engine import hugging_face
from engine.planning import hub_cache
from engine.worker.failures import JobError

_SECONDS = 5.0
_HUB = "https://huggingface.co"


def must_be_reachable(path: str, environ: Mapping[str, str] = os.environ) -> None:
    """Raises JobError if a model has to come from the hub and the hub is not there. Where a proxy
    is set nobody can tell."""
    if Path(path).is_dir() or not hub_cache.is_hub_id(path):
        return
    if hugging_face.is_offline("transformers", environ):
        return
    if hub_cache.repository(hub_cache.folder(environ), path).is_dir():
        return
    must_answer(path, environ)


def must_answer(path: str, environ: Mapping[str, str] = os.environ) -> None:
    """Raises JobError if the hub, of which ``path`` is wanted, is not there."""
    if getproxies():
        return
    place = urlsplit(environ.get("HF_ENDPOINT") or _HUB)
    host, port = place.hostname or "", place.port or (80 if place.scheme == "http" else 443)
    try:
        socket.create_connection((host, port), timeout=_SECONDS).close()
    except OSError as error:
        raise JobError(
            "hub_unreachable",
            f"{path} is not on this machine, and {host} cannot be reached.",
            cause=f"{error}.",
            remedy="Check the network, or give the path of one that is here.",
        ) from error
