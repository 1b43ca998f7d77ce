"""Findings about a dataset: which are one, which keep a run away, and their first rows. Pure."""

from __future__ import annotations

from msgspec.structs import replace

from engine.contract import row_places
from engine.contract.dataset_report import DatasetReport, RowFinding

_NAMED = 3
"""Rows of a finding that are named."""
_NOTHING = "nothing_to_train_on"
_LEFT_WITHOUT = ("nothing_to_learn", "answer_beyond_cut", "empty_answers")
"""Findings about samples of which nothing is learnt."""


def findings_of(report: DatasetReport) -> list[RowFinding]:
    """Those to show. That nothing is left to train on, and which rows are the reason, is one."""
    for grave in report.findings:
        same = [found for found in report.findings if _is_reason(found, grave, report)][:1]
        if same:
            whole = replace(grave, rows=same[0].rows, row_count=same[0].row_count)
            others = [found for found in report.findings if found is not same[0]]
            return [whole if found is grave else found for found in others]
    return report.findings


def _is_reason(finding: RowFinding, grave: RowFinding, report: DatasetReport) -> bool:
    """Whether it names the rows for which there is nothing to train on: all, or as many as said."""
    if grave.code != _NOTHING or finding.code not in _LEFT_WITHOUT:
        return False
    is_said = grave.title.startswith(f"{finding.row_count} of ")
    return is_said or 0 < report.samples <= finding.row_count


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
