"""What may stand in a report that goes without data. A dataset is too large to be searched for, and
what a library makes of a row may look like none of it: so texts that could quote a row are kept by
their shape alone. Where in the code it was, which error, and fixed words of known problems. Pure.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from engine.diagnosis import problems

LEFT_OUT = "[left out: it could quote the data]"
_FRAME = re.compile(r'\s*File "([^"\n]{1,400})", line \d{1,7},? in [\w.<>]{1,100}')
_INSTALLED = (sys.prefix, sys.base_prefix, str(Path(__file__).parents[2]))
_MARKS = re.compile(r"[\s^~]+")
_ERROR = re.compile(
    r"(?:[A-Za-z_]\w{0,60}\.){0,6}[A-Z]\w{0,60}(?:Error|Exception|Warning|Interrupt)\b"
)
_THREAD = re.compile(r"(?:Current thread|Thread) 0x[0-9a-f]{1,16}[^:]{0,40}:")
_HEADINGS = frozenset(
    {
        "Traceback (most recent call last):",
        "During handling of the above exception, another exception occurred:",
        "The above exception was the direct cause of the following exception:",
    }
)
_QUOTES = (
    # From the first sign to the last: what is quoted may hold such signs itself.
    (re.compile(r"“.*”", re.DOTALL), "“…”"),
    (re.compile(r"(?<!\w)[bfruBFRU]{0,2}'.*'(?!\w)", re.DOTALL), "'…'"),
    (re.compile(r'(?<!\w)[bfruBFRU]{0,2}".*"(?!\w)', re.DOTALL), '"…"'),
    # And what was cut within a quote.
    (re.compile(r"“(?!…”).*", re.DOTALL), "“…"),
    (re.compile(r"(?<![^\s(\[{=:,])[bfruBFRU]{0,2}'(?!…').*", re.DOTALL), "'…"),
    (re.compile(r'(?<![^\s(\[{=:,])[bfruBFRU]{0,2}"(?!…").*', re.DOTALL), '"…'),
)
_NOTE = re.compile(r"(?m)^(?=\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z]+ [\w.]+: )")
"""Where a note of the host begins."""
_SENTENCES = ("title", "cause", "remedy", "why", "sentence", "reason", "cost")
_ESCAPED = re.compile(r"\\[^\w]")


def by_shape(text: str) -> str:
    """What is left of an error's text or of a log: lines that cannot quote a row."""
    kept: list[str] = []
    has_frame = False
    for line in text.splitlines():
        shown = line if has_frame and line.startswith("    ") else _shown(line)
        frame = _FRAME.fullmatch(line)
        # A row can hold a traceback of its own; the lines below these are of code that anybody has.
        has_frame = frame is not None and frame[1].startswith(_INSTALLED)
        if shown != LEFT_OUT or kept[-1:] != [LEFT_OUT]:
            kept.append(shown)
    return "".join(f"{line}\n" for line in kept)


def _shown(line: str) -> str:
    """The line, or what of it is known to be no data."""
    text = line.strip()
    if not text or text in _HEADINGS or any(p.fullmatch(line) for p in (_FRAME, _MARKS)):
        return line
    if thread := _THREAD.match(text):
        return thread[0]
    error = _ERROR.match(text)
    known = [found[0] for pattern in _fixed() if (found := pattern.search(text))]
    parts = dict.fromkeys([*([error[0]] if error else []), *known])
    return f"{': '.join(parts)} {LEFT_OUT}" if parts else LEFT_OUT


@cache
def _fixed() -> tuple[re.Pattern[str], ...]:
    """Patterns of known problems that match fixed words and nothing else."""
    return tuple(
        pattern
        for problem in problems.load()
        for pattern in problem.patterns
        if not set(_ESCAPED.sub("", pattern.pattern)) & set(".\\[*+?{")
    )


def without_quotes(text: str) -> str:
    """A sentence of Fettle without what it quotes."""
    for pattern, instead in _QUOTES:
        text = pattern.sub(instead, text)
    return text


def notes_without_data(text: str) -> str:
    """The host's log without what it quotes: the first line of each note is a sentence of Fettle,
    and what comes below it, such as a traceback, is kept by its shape."""
    return "".join(_note(each) for each in _NOTE.split(text))


def _note(text: str) -> str:
    if not _NOTE.match(text):
        return by_shape(text)  # The end of a note whose beginning is not there.
    sentence, *below = re.split(r"(?m)^(?=Traceback \(most recent call last\):$)", text, maxsplit=1)
    first, *rest = without_quotes(sentence).rstrip("\n").split("\n")
    return f"{first}\n{by_shape(chr(10).join([*rest, *below]))}"


def record_without_data(record: Any) -> Any:
    """An event as it may be given away: its sentences without quotes, its detail by its shape."""
    if not isinstance(record, dict):
        return record
    return dict(_fields(record))


def _fields(record: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in record.items():
        if isinstance(value, str) and name in _SENTENCES:
            yield name, without_quotes(value)
        elif isinstance(value, str) and name == "detail":
            yield name, by_shape(value)
        else:
            yield name, value
