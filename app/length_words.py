"""How long the samples of a dataset are, in words. Pure."""

from __future__ import annotations

from app import words
from engine.contract.dataset_report import DatasetReport


def cut_of(report: DatasetReport) -> int | None:
    """Tokens from which on a sample loses its end; None where nothing is cut."""
    return None if report.method == "pretrain" else report.max_length


def of_cut(cut: int) -> str:
    """What stands at the line."""
    return f"cut at {words.count(cut)}"


def end_of(report: DatasetReport) -> str:
    """What stands at the right end of the axis: ``4 096 and more``."""
    last = report.edges[-1]
    more = " and more" if report.longest >= last else ""
    return f"{words.count(last)}{more}"


def of_bar(report: DatasetReport, number: int) -> str:
    """A bar in words: ``96 to 111 tokens: 14 samples``."""
    first, last = report.edges[number], report.edges[number + 1] - 1
    is_open = number == len(report.counts) - 1 and report.longest > last
    span = f"{words.count(first)} to {words.count(last)}"
    if is_open:
        span = f"{words.count(first)} to {words.count(report.longest)}"
    text = f"{span} tokens: {words.counted(report.counts[number], 'sample')}"
    cut = cut_of(report)
    return f"{text}, cut to {words.count(cut)}" if cut is not None and first >= cut else text


def in_one_sentence(report: DatasetReport) -> str:
    """The picture for those who cannot see it."""
    cut = cut_of(report)
    text = (
        f"Lengths: half of the samples have up to {words.count(report.median)} tokens, "
        f"the longest {words.count(report.longest)}"
    )
    if cut is None:
        return f"{text}."
    return f"{text}; {words.count(report.cut)} are longer than {words.count(cut)} and cut."
