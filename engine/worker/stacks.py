"""Lets the host read where every thread of this process is, even if Python itself does not answer.

The signal's handler is C and takes no lock: it works in a loop that never lets go of the
interpreter, and in a call into the driver that never comes back.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import sys
from pathlib import Path

from engine.store.runs import STACKS

log = logging.getLogger(__name__)


def leave_stacks_when_asked(folder: Path) -> None:
    """From now on SIGUSR1 appends all stacks to a file of the run folder. Not on Windows."""
    if sys.platform == "win32":
        return
    # Opened now: when it is needed, nothing may be possible any more.
    try:
        descriptor = os.open(folder / STACKS, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError as error:
        log.warning("No stacks are kept of this run: %s", error)
        return
    faulthandler.register(signal.SIGUSR1, file=descriptor, all_threads=True, chain=False)
