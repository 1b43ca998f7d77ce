"""Findings about a dataset: which keep a run away, and their first rows. Pure."""

from __future__ import annotations

from engine.contract import row_places
from engine.contract.dataset_report import DatasetReport, RowFinding

_NAMED = 3
"""Rows of a finding that are named."""


def in_the_way(report: DatasetReport) -> str:
    """What keeps a run of such data from starting; empty if nothing does."""
    grave = [found.title for found in report.findings if found.severity == "error"]
    return "\n".join(grave)


def rows_named(finding: RowFinding, report: DatasetReport) -> str:
    """The first rows of a finding: ``Rows 3, 8, 12 …``, ``chats.jsonl row 12 (line 37)``; of rows
    that are like others the first two beside each other: ``Row 3, again as row 5 …``."""
    count = max(finding.row_count, len(finding.rows))
    if not finding.groups:
        named = row_places.names_of(report.files, finding.rows[:_NAMED], report.lines)
        return row_places.at_head(named) + (" …" if count > _NAMED and named else "")
    head, *others = finding.groups[0]
    first = row_places.at_head(row_places.name_of(report.files, head, report.lines))
    again = row_places.names_of(report.files, others[: _NAMED - 1], report.lines)
    return f"{first}, again as {again}" + (" …" if count > len(others[: _NAMED - 1]) else "")
