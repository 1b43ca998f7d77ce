"""What is known of a dataset, in words. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple

from app import words
from app.form_words import choice
from app.tile_words import TileText
from engine.contract import row_places
from engine.contract.dataset_fixes import FIELD
from engine.contract.dataset_report import DatasetReport, Packing, RowFinding
from engine.contract.messages import Complaint
from engine.contract.row_places import RowPlace
from engine.store.encoded_view import Sample

TONES = {"error": "danger", "warning": "warning", "info": "info"}


def tiles_of(report: DatasetReport) -> list[TileText]:
    """The six numbers on top."""
    return [
        _samples(report), _tokens(report), _longest(report), _cut(report),
        _waste(report), _copies(report),
    ]  # fmt: skip


def _samples(report: DatasetReport) -> TileText:
    held = f"{words.count(report.held_back)} held back"
    if report.left_out:
        held = f"{words.count(report.left_out)} left out by fixes"
    if not report.train:
        held = "none trained on"
    tip = f"{words.count(report.held_back)} of {words.count(_left(report))} held back for checks"
    if report.left_out:
        tip += f"\n{words.count(report.left_out)} more left out by fixes"
    if report.method == "pretrain":
        blocks = words.counted(report.train, "block")
        return TileText(
            label="Documents", number=words.count(report.samples), small=blocks,
            tip=f"{blocks} of {words.count(report.max_length)} tokens\n{held}",
        )  # fmt: skip
    return TileText(label="Samples", number=words.count(_left(report)), small=held, tip=tip)


def _left(report: DatasetReport) -> int:
    """Samples that no fix leaves out."""
    return report.samples - report.left_out


def _tokens(report: DatasetReport) -> TileText:
    share = report.trained_tokens / report.tokens if report.tokens else 0.0
    return TileText(
        label="Tokens", number=words.count(report.tokens),
        small=f"{_percent(share, 0)} trained on",
        tip="Of what is trained on, after the cut. Green below is what the loss counts.",
    )  # fmt: skip


def _longest(report: DatasetReport) -> TileText:
    return TileText(
        label="Longest", number=words.count(report.longest),
        small=f"half below {words.count(report.median)} tokens",
    )  # fmt: skip


def _cut(report: DatasetReport) -> TileText:
    limit = words.count(report.max_length)
    if report.method == "pretrain":
        return TileText(
            label="Block", number=limit, small="tokens; nothing is cut",
            tip="Documents are put one behind the other and cut into blocks of max_length.",
        )  # fmt: skip
    share = report.cut / _left(report) if _left(report) else 0.0
    small = f"{words.counted(report.cut, 'row')} cut" if report.cut else "nothing"
    tip = f"{words.counted(report.cut, 'row')} longer than {limit} tokens" if report.cut else ""
    return TileText(label=f"Cut at {limit}", number=_percent(share), small=small, tip=tip)


def _waste(report: DatasetReport) -> TileText:
    """Of the way that the run as filled in takes; the other one is named as what could be."""
    padded, packed = report.padded, report.packed
    if padded is None:
        return TileText(label="Padding", number=words.NONE)
    if packed is None:
        # Blocks of plain text are full: there is one way only.
        return TileText(
            label="Padding", number=_percent(padded.waste), small="blocks are full",
            tip=_packing(padded),
        )  # fmt: skip
    now, other = (packed, padded) if report.is_packed else (padded, packed)
    without = "unpacked" if report.in_line else "padded"
    names = ("packed", without) if report.is_packed else (without, "packed")
    tip = (
        f"As the run is set, {names[0]}: {_packing(now)}\n"
        f"If {names[1]}: {_packing(other)}\n"
        f"Packed computes {_percent(packed.computed / max(padded.computed, 1))} of the tokens. "
        "“Packing” is set on New run."
    )
    if report.in_line:
        return TileText(
            label=f"Steps, {names[0]} (as set)", number=words.count(now.steps),
            small=f"if {names[1]} {words.count(other.steps)}", tip=f"An epoch.\n{tip}",
        )  # fmt: skip
    return TileText(
        label=f"Waste, {names[0]} (as set)", number=_percent(now.waste),
        small=f"if {names[1]} {_percent(other.waste)}", tip=tip,
    )  # fmt: skip


def _packing(packing: Packing) -> str:
    waste = f"{_percent(packing.waste)} waste" if packing.waste else "no padding"
    return f"{waste}, {words.counted(packing.steps, 'step')} an epoch"


def _copies(report: DatasetReport) -> TileText:
    share = report.duplicates / _left(report) if _left(report) else 0.0
    near, held = words.count(report.near_duplicates), words.count(report.duplicates_across)
    small = f"{_percent(share)}, kept" if report.duplicates else "every row is its own"
    tip = [f"{_percent(share)} are the same as an earlier row"] if report.duplicates else []
    if report.near_duplicates:
        small = f"and {near} near copies"
        tip.append(f"{near} are nearly the same as an earlier row")
    if report.duplicates_across:
        small = f"{near} near, {held} held back" if report.near_duplicates else f"{held} held back"
        tip.append(f"{held} are held back, and a copy of each is trained on")
    number = words.count(report.duplicates)
    return TileText(label="Duplicates", number=number, small=small, tip="\n".join(tip))


def _percent(share: float, decimals: int = 1) -> str:
    return f"{100 * share:.{decimals}f}{words.SPACE}%"


def format_chip(report: DatasetReport) -> str:
    """What shape the data has: ``ShareGPT``."""
    return ", ".join(choice("dataset.format", name) for name in report.format.split(", "))


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


_ALIKE = {"duplicates": "The same as", "near_duplicates": "Nearly the same as"}
"""Findings about rows that are like others, with the word for it."""


def finding_text(finding: RowFinding) -> str:
    """Why, and what to do."""
    return f"{finding.cause} {finding.remedy}".strip()


class Change(NamedTuple):
    """Settings that mend something, as a button."""

    text: str
    patch: dict[str, Any]
    tip: str


def changes_of(finding: RowFinding) -> list[Change]:
    """What can be done about it at one click."""
    found = []
    if finding.patch:
        found.append(Change(action_of(finding), finding.patch, _tip_of(finding.patch)))
    if finding.instead:
        found.append(Change(finding.instead_action, finding.instead, _tip_of(finding.instead)))
    return found


def tone_of(finding: RowFinding) -> str:
    """What colour its title has."""
    return "good" if finding.is_done else TONES[finding.severity]


def rows_to_show(finding: RowFinding) -> list[int]:
    """Rows of a finding to go through: those that are like others each behind the one they are
    like, so that they can be compared."""
    return [row for group in finding.groups for row in group] or finding.rows


def action_of(finding: RowFinding) -> str:
    """What the button for a finding's patch says."""
    named = (f"{path.rpartition('.')[2]} = {value}" for path, value in finding.patch.items())
    return finding.action or ", ".join(named)


def _tip_of(patch: dict[str, Any]) -> str:
    if FIELD not in patch:
        sets = " and ".join(f"{path} to {_shown(v)}" for path, v in patch.items())
        return f"Sets {sets}, and looks again"
    fixes = patch[FIELD]
    left = f"{FIELD} = {', '.join(fixes)}" if fixes else f"nothing in {FIELD}"
    return f"Looks again with {left}. The file is not changed."


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def progress(done: int, total: int, rate: float, *, is_compared: bool = False) -> str:
    """How far making tokens is, or the comparison of rows after that; ``rate`` in rows a second, 0
    while it is not known yet."""
    about = "" if is_compared else "about "
    of = f" of {about}{words.count(total)}" if total else ""
    doing = "Comparing rows" if is_compared else "Making tokens"
    text = f"{doing}: {words.count(done)}{of} rows"
    if rate <= 0:
        return text
    text += f" · {words.count(rate)} rows/s"
    return f"{text} · {words.span((total - done) / rate)} left" if total > done else text


def refused(complaint: Complaint) -> str:
    """Why data cannot be looked at, and what to do about it here."""
    return f"{complaint.problem} {complaint.remedy}".strip()
