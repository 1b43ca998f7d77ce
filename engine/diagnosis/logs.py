"""Reads the end of a worker's log: which exceptions are in it, and what stands between them. Pure.

Logs hold progress bars that overwrite themselves, colours, warnings, lines of C libraries and the
tracebacks of several processes. Nothing here knows what any of it means.
"""

from __future__ import annotations

import re

import msgspec

from engine.diagnosis.evidence import ErrorSeen, Link

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_RANK = re.compile(r"^\[rank\d+\]:\s?", re.MULTILINE)
_PROGRESS = re.compile(r"\d+%\||\d+(?:\.\d+)?\s?(?:it|s|examples|[kMG]?i?B)/(?:s|it)\b|^\s*\d+%")
_BEGIN = re.compile(r"^(?P<indent>[\s|+]*)(?P<before>.*?)Traceback \(most recent call last\):\s*$")
_LAST = re.compile(r"^(?P<type>[A-Za-z_][\w.]*(?:\.[A-Za-z_]\w*)*)(?:: ?(?P<text>.*))?$")
_VOICE = re.compile(
    r"\[?\d{4}-\d\d-\d\d[ T]\d\d:\d\d|\[?[IWEF]\d{4} \d\d:\d\d|\d\d:\d\d:\d\d|"
    r"\[?(?:WARNING|INFO|DEBUG|ERROR|CRITICAL)\b|\{'|\S+\.py:\d+: \w*Warning|Exception ignored|"
    r"Fatal Python error"
)
"""How a line begins that somebody else says."""
_LINKS: tuple[tuple[str, Link], ...] = (
    ("was the direct cause of the following exception", "cause"),
    ("During handling of the above exception", "context"),
)
_MOST_CHARACTERS = 2000
"""Of a line."""
_MOST_LINES = 40
"""Of one exception's text."""


class Chain(msgspec.Struct, frozen=True, kw_only=True):
    """Exceptions that belong together, the last raised at the end."""

    errors: tuple[ErrorSeen, ...]
    is_ignored: bool = False
    """Raised where nobody could catch it, as while Python ends: seldom the reason of anything."""
    line: int = 0
    """How many of the log's lines were before its end."""


class LogSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A log, taken apart."""

    chains: tuple[Chain, ...] = ()
    lines: tuple[str, ...] = ()
    """What is in no traceback, without progress bars."""


def cleaned(text: str) -> list[str]:
    """The lines of a log as a person would have seen them scroll by."""
    text = _CONTROL.sub("", _ESCAPES.sub("", text).replace("\r\n", "\n").replace("\r", "\n"))
    lines = _RANK.sub("", text).split("\n")
    cut = (line[:_MOST_CHARACTERS].rstrip() for line in lines)
    return [line for line in cut if not _PROGRESS.search(line)]


def read(text: str) -> LogSeen:
    """Take a log apart."""
    reader = _Reader(cleaned(text))
    reader.work()
    return LogSeen(
        chains=tuple(
            Chain(errors=tuple(c.errors), is_ignored=c.ignored, line=c.line) for c in reader.chains
        ),
        lines=tuple(reader.rest),
    )


class _Open:
    """A chain that may still grow."""

    def __init__(self, *, ignored: bool) -> None:
        self.errors: list[ErrorSeen] = []
        self.ignored = ignored
        self.line = 0


class _Reader:
    """Walks over the lines once."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines
        self._at = 0
        self._link: Link | None = None
        """What was just said of the next traceback; None if it stands for itself."""
        self.chains: list[_Open] = []
        self.rest: list[str] = []

    def work(self) -> None:
        while self._at < len(self._lines):
            line = self._lines[self._at]
            begin = _BEGIN.match(line)
            link = next((link for words, link in _LINKS if words in line), None)
            if begin:
                self._take_traceback(begin)
            elif link:
                self._link = link
                self._at += 1
            else:
                self._take_line(line)

    def _take_line(self, line: str) -> None:
        self._at += 1
        if line.strip():
            self.rest.append(line)
            # A remote traceback ends in quotes before the sentence that joins it.
            if line.strip() != '"""':
                self._link = None

    def _take_traceback(self, begin: re.Match[str]) -> None:
        indent, nested = begin["indent"], begin["before"].strip() == "Original"
        self._at += 1
        frames = self._take_frames(indent)
        kind, text = self._take_last(indent)
        if kind:
            self._add(ErrorSeen(type=kind, text=text, frames=frames), nested=nested)

    def _add(self, error: ErrorSeen, *, nested: bool) -> None:
        if not self.chains or not (nested or self._link):
            ignored = any("Exception ignored" in line for line in self.rest[-2:])
            self.chains.append(_Open(ignored=ignored))
        chain = self.chains[-1]
        if chain.errors:
            # What was caught in another process is what really happened.
            before = msgspec.structs.replace(chain.errors[-1], link=self._link or "cause")
            chain.errors[-1] = before
        chain.errors.append(error)
        chain.line = len(self.rest)
        self._link = None

    def _take_frames(self, indent: str) -> str:
        begin = self._at
        while self._at < len(self._lines) and self._is_frame(indent):
            self._at += 1
        return "\n".join(self._lines[begin : self._at])

    def _is_frame(self, indent: str) -> bool:
        line = self._lines[self._at].removeprefix(indent)
        return not line or line[0] in " \t"

    def _take_last(self, indent: str) -> tuple[str, str]:
        """Type and text of the exception under a traceback; empty where the log was cut."""
        if self._at >= len(self._lines):
            return "", ""
        found = _LAST.match(self._lines[self._at].removeprefix(indent))
        if found is None:
            return "", ""
        self._at += 1
        texts = [found["text"] or ""]
        while self._goes_on(texts):
            texts.append(self._lines[self._at].removeprefix(indent))
            self._at += 1
        return found["type"].rpartition(".")[2], "\n".join(texts).strip()

    def _goes_on(self, texts: list[str]) -> bool:
        """Whether the line still belongs to the exception's text."""
        if self._at >= len(self._lines) or len(texts) > _MOST_LINES:
            return False
        line = self._lines[self._at]
        is_new = _BEGIN.match(line) or _VOICE.match(line)
        return not is_new and not any(words in line for words, _ in _LINKS)
