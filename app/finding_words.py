"""Findings about a dataset, in words: their rows, and what can be done about them. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple

from engine.contract import row_places
from engine.contract.dataset_fixes import FIELD
from engine.contract.dataset_report import DatasetReport, RowFinding

TONES = {"error": "danger", "warning": "warning", "info": "info"}
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
