"""Which library a native crash came from, as far as Python's own dump of the stacks tells. Pure."""

from __future__ import annotations

import re

from engine.diagnosis.places import Seen

_DUMP = re.compile(r"^(?:Current thread|Thread) 0x\w+.*most recent call first")
_FATAL = re.compile(r"^(?:Fatal Python error|Windows fatal exception): ")
_FRAME = re.compile(r'^\s*File "(?P<path>[^"]+)", line \d+ in ')
_PACKAGE = re.compile(r"(?:site|dist)-packages[\\/](?P<name>\w+)")


def library_of(seen: Seen) -> str:
    """The package whose call the crashed thread was in; empty if that is not told."""
    lines = list(seen.log.lines)
    fatal = next((n for n in reversed(range(len(lines))) if _FATAL.match(lines[n])), None)
    if fatal is None:
        return ""
    is_current = False
    for line in lines[fatal:]:
        if _DUMP.match(line):
            is_current = line.startswith("Current thread")
        frame = _FRAME.match(line)
        package = _PACKAGE.search(frame["path"]) if frame and is_current else None
        if package:
            return package["name"]
    return ""
