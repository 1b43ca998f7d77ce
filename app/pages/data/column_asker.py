"""Lists of a file's columns, and whether its rows can be read by what is said of them."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QObject, Signal

from app.form import Draft
from app.link import HostLink
from app.pages.new_run.column_map import ColumnMap
from app.pages.new_run.starter import as_the_engine_reads
from engine.contract.messages import PreviewDataset

COLUMNS = "dataset.columns"


class ColumnAsker(QObject):
    """Has the host read rows by the columns that are said, until it can.

    Signals:
        patch_wanted: the columns (dict), once rows can be read by them.
        shown: the lists are shown, or shown anew; what is known of the rows by them (dict).
    """

    patch_wanted = Signal(object)
    shown = Signal(object)

    def __init__(self, link: HostLink, parent: QObject) -> None:
        super().__init__(parent)
        self._link = link
        self._draft = Draft()
        """Of the data whose columns are asked for."""
        self._named: dict[str, str] = {}
        """What its columns are said to be."""
        self._asked = 0
        """Number of the question whose answer is still wanted."""
        self.map = ColumnMap()
        self.map.mapped.connect(self._on_said)

    def forget(self) -> None:
        """Something else is going on."""
        self._asked += 1
        self.map.hide()

    def start(self, draft: Draft, facts: dict[str, Any]) -> None:
        """Let the person say what the columns of a draft's file are, which ``facts`` are known of;
        none where it has no columns of the names that were said."""
        named = draft.get(COLUMNS)
        self._draft, self._named = draft, dict(named) if isinstance(named, dict) else {}
        if not draft.get("dataset.path"):  # A mixture has columns for each of its parts.
            return
        if facts:
            self._show(facts, self._named)
        else:
            self._ask_without_names()

    def _on_said(self, named: dict[str, str]) -> None:
        self._ask(named, is_said=True)

    def _ask(self, named: dict[str, str], *, is_said: bool) -> None:
        spec = as_the_engine_reads(
            {"dataset": {"path": self._draft.get("dataset.path")}}, self._link.place
        )
        pending = self._link.ask(
            PreviewDataset, path=spec["dataset"]["path"], columns=named,
            roles=self._draft.get("dataset.roles") or {},
        )  # fmt: skip
        self._asked += 1
        pending.setProperty("asked", self._asked)
        pending.setProperty("named", named)
        pending.setProperty("is_said", is_said)
        pending.replied.connect(self._on_preview)
        pending.refused.connect(self._on_unknown)

    def _on_preview(self, facts: dict[str, Any]) -> None:
        if self.sender().property("asked") != self._asked:
            return  # Something else is going on, or asked, by now.
        named = dict(self.sender().property("named"))
        is_new = self.sender().property("is_said") and named != self._named
        if is_new and facts.get("format") != "unknown":
            self.patch_wanted.emit({COLUMNS: named or None})
            return
        self._show(facts, named)

    def _show(self, facts: dict[str, Any], named: dict[str, str]) -> None:
        self.map.show_columns(facts, named, is_asked=True)
        self.map.clear.setVisible(bool(self._named or named))
        if not self.map.isHidden():
            self.shown.emit(facts)

    def _on_unknown(self) -> None:
        if self.sender().property("asked") == self._asked and self.sender().property("named"):
            self._ask_without_names()

    def _ask_without_names(self) -> None:
        """A column that was named is not there: which are, is to be seen without any."""
        self._ask({}, is_said=False)
