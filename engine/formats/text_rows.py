"""Documents of plain text and Markdown files, each as a row with one ``text``.

Where a document ends, in this order:

1. two or more blank lines in a row, if the file's beginning has such a gap;
2. every line end, if the beginning has no blank line and its lines are long (one document a line,
   as corpora are often written);
3. otherwise the file is one text; it is handed out in pieces of about 64 Ki characters, cut at
   blank lines where possible, so that some can be held back for evaluation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from engine.formats import source as sources
from engine.formats.example import Row
from engine.formats.json_rows import no_rows
from engine.formats.source import MAX_ROW_BYTES, Source

Layout = Literal["gaps", "lines", "whole"]

HEAD_BYTES = 1 << 20
LONG_LINE = 200
"""Mean characters a line from which a line is taken for a document."""
PIECE = 1 << 16
"""Characters after which a text without gaps is cut."""
_GAP = re.compile(rb"\n[^\S\n]*\n[^\S\n]*\n")
_BLANK = re.compile(rb"\n[^\S\n]*\n")


def layout(head: bytes) -> Layout:
    """How the documents of a file that begins so are kept apart."""
    body = head.strip()
    if _GAP.search(body):
        return "gaps"
    line_count = body.count(b"\n") + 1
    long_lines = line_count > 1 and len(body) / line_count >= LONG_LINE
    return "lines" if long_lines and not _BLANK.search(body) else "whole"


def rows(source: Source) -> Iterator[Row]:
    """The file's documents. Raises DatasetError, possibly after some."""
    how = layout(sources.read_bytes(source, HEAD_BYTES))
    number = 0
    for line, text, end in _documents(source, how):
        number += 1
        yield Row(number, line, {"text": text}, None, end)
    if not number:
        raise no_rows(source)


def _documents(source: Source, how: Layout) -> Iterator[tuple[int, str, int]]:
    """First line, text and end in bytes of each document, without blank lines around it."""
    held: list[str] = []
    first, length, blank, end = 1, 0, 0, 0
    for number, data in sources.lines(source):
        line = sources.decode(source, data, number).replace("\r\n", "\n")
        blank = 0 if line.strip() else blank + 1
        if held and _ends(how, blank, length):
            yield first, "".join(held).strip(), end
            held, length = [], 0
        end += len(data)
        if not held:
            if blank:
                continue
            first = number
        held.append(line)
        length += len(line)
        if length > MAX_ROW_BYTES:
            raise sources.too_long(source, f"the document from line {first}")
    if held:
        yield first, "".join(held).strip(), end


def _ends(how: Layout, blank: int, length: int) -> bool:
    """Whether a document of ``length`` characters ends before the line that is now at hand."""
    if how == "gaps":
        return blank >= 2
    if how == "lines":
        return True
    return length >= 2 * PIECE or (length >= PIECE and blank > 0)
