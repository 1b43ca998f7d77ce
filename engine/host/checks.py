"""What is looked at before a run is made: settings, data, model, and whether all of it goes
together on this machine. Nothing is written."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from engine.contract.hub_id import is_address, is_dataset_id
from engine.contract.messages import Complaint, Finding
from engine.contract.spec import DatasetSpec, SourceSpec, Spec
from engine.contract.spec_rules import overlap
from engine.contract.validate import check
from engine.formats import DatasetError, check_data, rows_in_all
from engine.formats.entries import opened
from engine.formats.hub_datasets import NotHere
from engine.planning import chat_templates, conflicts, facts, surroundings
from engine.planning.conflicts import Conflict, asked, complaint_of
from engine.planning.inventory import check_model

_FACTS_SECONDS = 20
"""So long a look at the machine is good for."""


class Looked(msgspec.Struct, frozen=True, kw_only=True):
    """What looking at a spec came to."""

    spec: Spec | None
    """None if anything is in the way of a run."""
    complaints: list[Complaint]
    """All that is in its way, conflicts among them."""
    conflicts: list[Conflict] = []
    """What does not go together, problems first; empty where the rest is not sound yet."""

    @property
    def warnings(self) -> list[Conflict]:
        """Conflicts that a run can live with."""
        return [conflict for conflict in self.conflicts if conflict.severity == "warning"]


def look_over(raw: dict[str, Any], store: Path, *, is_for_run: bool = True) -> Looked:
    """The spec with everything wrong with it, here and now. Reads files, imports nothing heavy."""
    spec, complaints = check(raw)
    complaints += list(_files(raw, complaints, is_for_run=is_for_run))
    if spec is None or _touches(complaints, "model"):
        return Looked(spec=None, complaints=complaints)
    config, known = surroundings.look(spec, rows=None if complaints else _rows(spec))
    machine = _machine(store, int(time.monotonic()) // _FACTS_SECONDS)
    found = conflicts.check(spec, machine, config, None, known)
    complaints += (complaint_of(each) for each in found if each.severity == "problem")
    return Looked(spec=None if complaints else spec, complaints=complaints, conflicts=found)


def look_over_data(raw: dict[str, Any], store: Path) -> Looked:
    """The same for whoever only looks at the data: that a run would be wasted on it is shown to
    them with the rows, and is no reason not to look."""
    return look_over(raw, store, is_for_run=False)


def finding_of(warning: Conflict) -> Finding:
    """A warning as what a run keeps of it."""
    return Finding(
        at=time.time(),
        severity="warning",
        code=warning.id,
        title=warning.title,
        cause=warning.reason,
        remedy=asked(warning),
    )


def _rows(spec: Spec) -> int | None:
    try:
        return rows_in_all(spec.dataset)
    except DatasetError:
        return None


@lru_cache(maxsize=2)
def _machine(store: Path, period: int) -> facts.MachineFacts:
    """This machine; looked at anew in each ``period``."""
    return facts.gather(store)


def complaints_about(
    raw: dict[str, Any], *, is_for_run: bool = True
) -> tuple[Spec | None, list[Complaint]]:
    """The spec, or None and everything wrong with it, its data and its model. Reads files."""
    spec, found = check(raw)
    found += list(_files(raw, found, is_for_run=is_for_run))
    return (None if found else spec), found


def _files(
    raw: dict[str, Any], found: Sequence[Complaint], *, is_for_run: bool
) -> Iterator[Complaint]:
    """What is wrong with data and model, as far as what was ``found`` lets them be looked at."""
    if not _touches(found, "dataset", "method", "spec"):
        yield from _dataset_complaints(raw, is_for_run=is_for_run)
        yield from chat_templates.complaints(raw["dataset"].get("chat_template", ""))
    elif not _touches(found, "dataset.path", "dataset.sources", "spec"):
        yield from _file_complaints(raw.get("dataset"))
    if not _touches(found, "model", "spec"):
        yield from check_model(raw["model"]["path"], raw["model"].get("revision"))


def _touches(found: Iterable[Complaint], *paths: str) -> bool:
    """Whether one of the complaints is about one of these settings, or one in these tables."""
    return any(overlap(complaint.field, path) for complaint in found for path in paths)


def _file_complaints(dataset: object) -> Iterator[Complaint]:
    """How its rows are meant is not known; whether the file is there can be told all the same."""
    path = dataset.get("path") if isinstance(dataset, dict) else None
    if not isinstance(path, str):
        return
    if (complaint := _path_complaint(path, "dataset")) is not None:
        yield complaint
        return
    with contextlib.suppress(NotHere):
        try:
            opened(SourceSpec(path=path))
        except DatasetError as error:
            yield error.complaint


def _dataset_complaints(raw: dict[str, Any], *, is_for_run: bool) -> list[Complaint]:
    dataset = msgspec.convert(raw["dataset"], DatasetSpec)
    found = [
        complaint
        for place, entry in enumerate(dataset.entries)
        if (complaint := _path_complaint(entry.path, dataset.field_of(place)))
    ]
    return found or check_data(dataset, raw.get("method", "sft"), is_for_run=is_for_run)


def _path_complaint(path: str, table: str) -> Complaint | None:
    """The host has another working folder than whoever wrote the path."""
    if not path:
        return Complaint(field=f"{table}.path", problem="This is missing.", remedy="Write a path.")
    if Path(path).is_absolute() or is_dataset_id(path) or is_address(path):
        return None
    return Complaint(
        field=f"{table}.path",
        problem=f"{path} does not say which folder it is in.",
        remedy="Write the whole path.",
    )
