"""Figures of a dataset, and how far it has been read, in words. Pure."""

from __future__ import annotations

from app import words
from app.form_words import choice
from app.tile_words import TileText
from engine.contract.dataset_report import DatasetReport, Packing
from engine.contract.messages import Complaint


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
