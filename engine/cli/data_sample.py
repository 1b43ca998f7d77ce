"""The sample that ``fettle data`` shows: which one is asked for, and what it looks like."""

from __future__ import annotations

import random
from argparse import Namespace
from typing import Any

import msgspec

from engine.cli import settings
from engine.cli.output import Output
from engine.cli.words import count
from engine.client import Client, Refused
from engine.contract.dataset_report import DatasetReport
from engine.contract.messages import Complaint, ShowSamples
from engine.contract.row_places import MOST_FILES, at_head, name_of, row_at, rows_in
from engine.store.encoded_view import Sample

_NONE_PICKED = {
    "most_cut": "No sample loses anything that would be learnt.",
    "untaught": "Every sample has a token to learn.",
}


class Wanted(msgspec.Struct, frozen=True):
    """A row by what people call it."""

    file: str
    """Empty where only a number is given."""
    number: int


def wanted_row(text: str) -> Wanted:
    """``12``, or ``alpaca.jsonl:12``. Raises :class:`Refused`."""
    file, _, number = text.strip().rpartition(":")
    if number.isdecimal() and int(number):
        return Wanted(file, int(number))
    raise _refusal(
        f"{text!r} is no row.",
        "Write a number from 1 on, or a file's name and its row: a.jsonl:12.",
    )


def must_be_within(wanted: Wanted, rows: int, title: str) -> None:
    """Where it is known beforehand how many rows there are. Raises :class:`Refused`."""
    if not wanted.file and wanted.number > rows:
        raise _no_row(wanted.number, f"{title} has {count(rows)}", 1, rows)


def sample_of(
    client: Client, report: DatasetReport, wanted: Wanted | None, arguments: Namespace, title: str
) -> tuple[Sample | None, str]:
    """The sample that is asked for, or any; None if there is none, and why. Raises
    :class:`Refused` if there is no such row."""
    cut = None if report.method == "pretrain" else report.max_length
    request = ShowSamples(id=0, data=report.data, max_length=cut)
    if wanted is not None:
        row = _row(report, wanted, title)
        named = name_of(report.files, row, report.lines)
        request = msgspec.structs.replace(request, row=row, name=at_head(named))
        why = ""
    elif arguments.search:
        found = client.request(msgspec.structs.replace(request, search=arguments.search))
        request = msgspec.structs.replace(request, places=found["places"][:1])
        why = _not_found(arguments.search, found.get("searched", report.samples), report.samples)
    else:
        pick = arguments.pick or "random"
        places = report.picks.get(pick, []) if pick != "random" else _any(report)
        request = msgspec.structs.replace(request, places=places[:1])
        why = _NONE_PICKED.get(pick, "") if report.samples else ""
    found = client.request(request)
    if not found["samples"]:
        return None, found.get("reason") or why or "There is no sample to show."
    return msgspec.convert(found["samples"][0], Sample, str_keys=True), ""


def _any(report: DatasetReport) -> list[int]:
    return [random.choice(report.kept_places)] if report.samples else []


def _not_found(words: str, searched: int, samples: int) -> str:
    told = f"No sample has the words {words!r}."
    if searched < samples:
        told += (
            f" Searched were the first {count(searched)} samples: of the others no text is kept."
        )
    return told


def _row(report: DatasetReport, wanted: Wanted, title: str) -> int:
    """Among all rows, from 0. Raises :class:`Refused`."""
    files = report.files
    row = row_at(files, wanted.number, wanted.file, report.rows)
    if row is not None:
        return row
    if not wanted.file and len(files) != 1:
        raise _no_row(wanted.number, f"{title} has {count(report.rows)}", 1, report.rows)
    if not files:
        raise _refusal(
            f"Which rows of {title} are in {wanted.file} is not known; of more than "
            f"{count(MOST_FILES)} files it is not kept.",
            f"Write a number from 1 to {report.rows}, counted through all files.",
        )
    file = wanted.file or files[0].name
    span = rows_in(files, file, report.rows)
    if span is None:
        known = ", ".join(dict.fromkeys(each.name for each in files[:12]))
        raise _refusal(f"The data has no file {file}.", f"Write one of {known}." if known else "")
    raise _no_row(wanted.number, f"of {file} are read {span[0]} to {span[1]}", *span)


def _no_row(number: int, known: str, first: int, last: int) -> Refused:
    return _refusal(
        f"There is no row {number}: {known}.", f"Write a number from {first} to {last}."
    )


def _refusal(problem: str, remedy: str) -> Refused:
    return settings.refusal([Complaint(field="--row", problem=problem, remedy=remedy)])


# ---------------------------------------------------------------- as the model sees it


def told(sample: Sample, report: DatasetReport) -> dict[str, Any]:
    """It as JSON."""
    found = {"type": "sample", **msgspec.to_builtins(sample)}
    if fixes := report.fixes_without(sample.row):
        found["left_out_by"] = fixes
    return found


def as_seen(sample: Sample, report: DatasetReport, output: Output) -> str:
    """A sample as the model sees it; what is learnt stands out."""
    head = f"{at_head(name_of(report.files, sample.row, report.lines))}: {_fate(sample, report)}"
    if not sample.is_shown:
        return f"{head} No text of it is kept."
    if sample.is_of_tokens:
        head += " The row lies far behind: its text is put together from its tokens."
    cut = report.max_length - sample.first_token if report.method != "pretrain" else sample.length
    return f"{head}\n{_marked(sample, cut, output)}"


def _fate(sample: Sample, report: DatasetReport) -> str:
    tokens = f"{count(sample.length)} token{'' if sample.length == 1 else 's'}"
    targets = count(sample.targets)
    if fixes := report.fixes_without(sample.row):
        noun = "the fix" if len(fixes) == 1 else "one of the fixes"
        without = f"without it {targets} would be trained on"
        return f"{tokens}. It is left out by {noun} {', '.join(fixes)}; {without}."
    if not report.train:
        return f"{tokens}, {targets} to be learnt; no run would be made of this data."
    return f"{tokens}, {targets} trained on."


def _marked(sample: Sample, cut: int, output: Output) -> str:
    """The text in pieces of the same kind: learnt, read, cut off."""
    pieces: list[tuple[str, str]] = []
    at = 0
    for number, token in enumerate(sample.tokens):
        kind = "cut" if number >= cut else "learnt" if token.learnt else "read"
        if token.end <= at:
            continue
        text = sample.text[at : token.end]
        at = token.end
        if pieces and pieces[-1][0] == kind:
            pieces[-1] = (kind, pieces[-1][1] + text)
        else:
            pieces.append((kind, text))
    marks = {"cut": ("⟪cut off: ", "⟫"), "learnt": ("⟦", "⟧"), "read": ("", "")}
    colours = {"cut": "dim", "learnt": "green", "read": ""}
    shown = []
    for kind, text in pieces:
        before, after = marks[kind]
        colour = colours[kind]
        painted = output.paint(text, colour) if colour else text
        shown.append(painted if painted != text or not colour else f"{before}{text}{after}")
    return "".join(shown)
