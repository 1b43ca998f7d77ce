"""What is known of a dataset, in words. Pure."""

from __future__ import annotations

import bisect
from typing import Any

from app import words
from app.form_words import choice
from app.tile_words import TileText
from engine.contract.dataset_fixes import FIELD
from engine.contract.dataset_report import DatasetReport, Packing, RowFinding
from engine.contract.messages import Complaint
from engine.store.encoded_view import Sample

TONES = {"error": "danger", "warning": "warning", "info": "info"}


def tiles_of(report: DatasetReport) -> list[TileText]:
    """The six numbers on top."""
    return [
        _samples(report), _tokens(report), _longest(report), _cut(report), _waste(report),
        _copies(report),
    ]  # fmt: skip


def _samples(report: DatasetReport) -> TileText:
    held = f"{words.count(report.held_back)} held back for checks"
    if report.left_out:
        held = f"{words.count(report.held_back)} held back, {words.count(report.left_out)} left out"
    if report.method == "pretrain":
        blocks = words.counted(report.train, "block")
        return TileText(
            label="Documents", number=words.count(report.samples), small=f"{blocks}, {held}"
        )
    return TileText(label="Samples", number=words.count(_left(report)), small=held)


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
    small = f"{words.counted(report.cut, 'row')} lose their end" if report.cut else "nothing"
    return TileText(label=f"Cut at {limit}", number=_percent(share), small=small)


def _waste(report: DatasetReport) -> TileText:
    if report.padded is None:
        return TileText(label="Waste if padded", number=words.NONE)
    if report.in_line and report.packed is not None:
        return TileText(
            label="Padding", number="none",
            small=f"{words.counted(report.padded.steps, 'step')}, packed {report.packed.steps}",
            tip="Samples of a batch lie one behind the other. The steps are those of an epoch.",
        )  # fmt: skip
    tip = f"Padded: {_packing(report.padded)}"
    if report.packed is None:
        return TileText(
            label="Waste if padded", number=_percent(report.padded.waste), small=" ", tip=tip
        )
    share = _percent(report.packed.computed / max(report.padded.computed, 1))
    return TileText(
        label="Waste if padded", number=_percent(report.padded.waste),
        small=f"packed {_percent(report.packed.waste)}",
        tip=f"{tip}\nPacked: {_packing(report.packed)}, {share} of the tokens to compute",
    )  # fmt: skip


def _packing(packing: Packing) -> str:
    return f"{_percent(packing.waste)} waste, {words.counted(packing.steps, 'step')} an epoch"


def _copies(report: DatasetReport) -> TileText:
    share = report.duplicates / _left(report) if _left(report) else 0.0
    small = f"{_percent(share)}, kept" if report.duplicates else "every row is its own"
    if report.near_duplicates:
        small = f"and {words.count(report.near_duplicates)} nearly the same"
    if report.duplicates_across:
        held = words.count(report.duplicates_across)
        near = words.count(report.near_duplicates)
        small = f"{near} near, {held} held back" if report.near_duplicates else f"{held} held back"
    return TileText(label="Duplicates", number=words.count(report.duplicates), small=small)


def _percent(share: float, decimals: int = 1) -> str:
    return f"{100 * share:.{decimals}f}{words.SPACE}%"


def format_chip(report: DatasetReport) -> str:
    """What shape the data has: ``ShareGPT``."""
    return ", ".join(choice("dataset.format", name) for name in report.format.split(", "))


def place_of(sample: Sample, report: DatasetReport) -> str:
    """Which sample is looked at: ``row 311 of 9 412 · 214 tokens · 96 trained``."""
    parts = [
        f"row {words.count(sample.row + 1)} of {words.count(report.rows)}",
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


def is_left_out(sample: Sample, report: DatasetReport) -> bool:
    """Whether a fix leaves it out, as far as that is known."""
    place = bisect.bisect_left(report.left_out_rows, sample.row)
    return report.left_out_rows[place : place + 1] == [sample.row]


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


def finding_text(finding: RowFinding) -> str:
    """Why, and what to do."""
    return f"{finding.cause} {finding.remedy}".strip()


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


def action_tip(finding: RowFinding) -> str:
    """What that does."""
    if FIELD not in finding.patch:
        sets = " and ".join(f"{path} to {_shown(v)}" for path, v in finding.patch.items())
        return f"Sets {sets}, and looks again"
    fixes = finding.patch[FIELD]
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


def wants_columns(complaint: Complaint) -> bool:
    """Whether lists of columns may help."""
    return "[dataset.columns]" in complaint.remedy
