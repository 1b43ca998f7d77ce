"""Which data is looked at: what was asked for last, and what of it turned out good. Pure."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any, NamedTuple

from app.form import Draft
from app.form_fields import OF_ONE_FILE
from app.mixture import Entry, entries, is_mixture, patch_of

_READ_BY = ("dataset.format", "dataset.columns", "dataset.roles")
"""How a file is read: what was said of it counts though it was refused for something else."""


class Filled(NamedTuple):
    """What is filled in above the data."""

    path: str
    """Empty for what is not one file."""
    model: str
    method: str
    format: str


class Subject:
    """What is looked at."""

    def __init__(self) -> None:
        self.good = Draft()
        """Of what is shown."""
        self.wanted = Draft()
        """Of what was asked for last."""

    @property
    def title(self) -> str:
        """The name of the file, or of the first of several."""
        paths = [str(entry.get("path") or "") for entry in entries(self.wanted)]
        name = PurePath(paths[0].replace("\\", "/")).name or "Data"
        return f"{name} and {len(paths) - 1} more" if len(paths) > 1 else name

    def start(self, draft: Draft) -> None:
        """Another run's data."""
        self.good = self.wanted = draft

    def accept(self) -> None:
        """What was asked for is shown. What is refused is not tried again with the next file."""
        self.good = self.wanted

    def draft_of(self, filled: Filled) -> Draft | None:
        """The last good draft with what is filled in; None where no data is named."""
        draft = self.good.with_value("model.path", filled.model or None)
        draft = draft.with_value("method", filled.method)
        if not filled.path and not is_mixture(self.wanted):
            return None
        if not filled.path:
            return self._of_several(draft)
        if filled.path != self.good.get("dataset.path"):
            # All of that was said of another file.
            draft = draft.with_patch(dict.fromkeys(OF_ONE_FILE))
        draft = draft.with_value("dataset.path", filled.path)
        if not self.is_of(filled.path):
            return draft
        draft = draft.with_patch({name: self.wanted.get(name) for name in _READ_BY})
        return draft.with_patch({"dataset.format": filled.format})

    def changed(self, patch: dict[str, Any], filled: Filled) -> Draft | None:
        """What is filled in, read in another way; None where no data is named. Without data or a
        model nothing shows that to be bad, and the next file is read so too."""
        draft = self.draft_of(filled)
        if draft is None or not filled.model:
            lasting = {name: value for name, value in patch.items() if name not in OF_ONE_FILE}
            self.good = self.good.with_patch(lasting)
        return None if draft is None else draft.with_patch(patch)

    def is_of(self, path: str) -> bool:
        """Whether this file was asked for last."""
        return bool(path == self.wanted.get("dataset.path"))

    def _of_several(self, draft: Draft) -> Draft:
        found = entries(self.wanted)
        if found == entries(draft):
            return draft
        return draft.with_patch({**dict.fromkeys(OF_ONE_FILE), **patch_of(found)})

    def known_of(self, paths: list[str]) -> list[str]:
        """Which of these are among several that are learnt from together already."""
        known = [entry.get("path") for entry in self._together]
        return [path for path in paths if path in known]

    @property
    def _together(self) -> list[Entry]:
        return entries(self.wanted) if is_mixture(self.wanted) else []

    def with_files(self, paths: list[str], filled: Filled) -> Draft:
        """Several files to learn from together, or more of them beside those that are there
        already; none twice."""
        known = self._together
        again = self.known_of(paths)
        new = [path for path in dict.fromkeys(paths) if path not in again]
        draft = self.good.with_patch(dict.fromkeys(OF_ONE_FILE))
        draft = draft.with_patch(patch_of([*known, *({"path": path} for path in new)]))
        draft = draft.with_value("model.path", filled.model or None)
        return draft.with_value("method", filled.method)
