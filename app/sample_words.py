"""Rows of a dataset and their tokens, in words, and which row a person means. Pure."""

from __future__ import annotations

from typing import NamedTuple

from app import words
from engine.contract import row_places
from engine.contract.dataset_report import DatasetReport
from engine.contract.row_places import RowPlace
from engine.store.encoded_view import Sample

_ALIKE = {"duplicates": "The same as", "near_duplicates": "Nearly the same as"}
"""Findings about rows that are like others, with the word for it."""


def place_of(sample: Sample, report: DatasetReport) -> str:
    """Which sample is looked at: ``row 311 of 9 412 · 214 tokens · 96 trained``."""
    parts = [
        row_name(sample.row, report),
        words.counted(sample.length, "token"),
        f"{words.count(sample.targets)} trained",
    ]
    if report.method != "pretrain" and sample.length > report.max_length:
        parts.append(f"{words.count(sample.length - report.max_length)} cut off")
    if is_left_out(sample, report):
        parts.append("left out by a fix")
    elif is_held_back(sample, report):
        parts.append("held back")
    elif not sample.targets:
        parts.append("left out")
    return " · ".join(parts)


def row_name(row: int, report: DatasetReport) -> str:
    """What people call a row: ``row 311 of 9 412``, or of several files ``chats.jsonl row 12``."""
    place = row_places.place_of(report.files, row, report.lines)
    if place.file or place.number != row + 1:
        return place.words
    return f"row {words.count(place.number)} of {words.count(report.rows)}"


def _row_words(row: int, report: DatasetReport) -> str:
    """The same in a sentence: ``row 311``, ``chats.jsonl row 12``."""
    place = row_places.place_of(report.files, row)
    return place.words if place.file else f"row {words.count(place.number)}"


def row_called(text: str, report: DatasetReport) -> int | None:
    """The row that ``#12`` or ``#chats.jsonl:12`` means; None where words are meant, or where
    :func:`row_missing` says that it is not there. Of rows counted through several files the engine
    says so."""
    if (called := _called(text)) is None:
        return None
    row = row_places.row_at(report.files, called.number, called.file, report.rows)
    is_counted_through = not called.file and len(report.files) != 1
    return called.number - 1 if row is None and is_counted_through else row


def row_missing(text: str, report: DatasetReport) -> str:
    """Why there is no such row in the file that ``#12`` or ``#chats.jsonl:12`` means; empty if
    there is one, and where words are meant."""
    called = _called(text)
    if called is None or row_called(text, report) is not None:
        return ""
    file = called.file or report.files[0].name
    span = row_places.rows_in(report.files, file, report.rows)
    if span is None:
        return ""
    first, last = map(words.count, span)
    read = f"the rows {first} to {last} are read" if first != last else f"row {first} alone is read"
    return f"There is no row {words.count(called.number)}: of {file} {read}."


def _called(text: str) -> RowPlace | None:
    """The file, if one is named, and the number of a row that is called so."""
    file, _, number = text.removeprefix("#").rpartition(":")
    is_row = text.startswith("#") and number.isdecimal() and int(number) > 0
    return RowPlace(file, int(number)) if is_row else None


def is_left_out(sample: Sample, report: DatasetReport) -> bool:
    """Whether a fix leaves it out, as far as that is known."""
    return report.leaves_out(sample.row)


def is_held_back(sample: Sample, report: DatasetReport) -> bool:
    """Whether it measures the loss, and is not trained on."""
    border = report.held_border
    return border is not None and (sample.hash, sample.place) <= border


def token_tip(sample: Sample, number: int, max_length: int | None) -> str:
    """What the mouse is told of a token; ``max_length`` is None where nothing is cut."""
    token = sample.tokens[number]
    place = sample.first_token + number
    fate = "trained on" if token.learnt else "read, not trained on"
    if max_length is not None and place >= max_length:
        fate = "cut off"
    name = sample.names.get(token.id)
    return f"Token {words.count(place + 1)}: id {token.id}{f' {name}' if name else ''}, {fate}"


class Likeness(NamedTuple):
    """That a row is like another one."""

    text: str
    row: int
    """The other one; the first is 0."""


def likeness_of(row: int, report: DatasetReport) -> Likeness | None:
    """Which row this one is like, by the findings; of the one that comes first, which is like it.
    None where it is its own."""
    for finding in report.findings:
        how = _ALIKE.get(finding.code)
        for head, *others in finding.groups if how else ():
            if row in others:
                return Likeness(f"{how} {_row_words(head, report)}", head)
            if row == head and others:
                more = f" and {words.count(len(others) - 1)} later" if others[1:] else ""
                return Likeness(f"{how} {_row_words(others[0], report)}{more}", others[0])
    return None
