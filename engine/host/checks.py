"""What is looked at before a run is made: settings, data, model, and whether all of it goes
together on this machine. Nothing is written."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from engine.contract.hub_id import is_address, is_dataset_id
from engine.contract.messages import Complaint, Finding
from engine.contract.shape import overlap
from engine.contract.spec import DatasetSpec, SourceSpec, Spec
from engine.contract.validate import Examined, examine
from engine.formats import DatasetError, check_data, rows_in_all
from engine.formats.entries import opened
from engine.formats.hub_datasets import NotHere
from engine.hugging_face import is_offline
from engine.planning import chat_templates, conflicts, facts, surroundings, token_names
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
    """What does not go together, problems first; empty where settings or model are not sound."""

    @property
    def warnings(self) -> list[Conflict]:
        """Conflicts that a run can live with."""
        return [conflict for conflict in self.conflicts if conflict.severity == "warning"]


def look_over(raw: dict[str, Any], store: Path, *, is_for_run: bool = True) -> Looked:
    """The spec with everything wrong with it, here and now. Reads files, imports nothing heavy."""
    examined = examine(raw)
    spec, files = examined.spec, list(_files(examined, is_for_run=is_for_run))
    complaints = [*examined.complaints, *files]
    if spec is None or any(overlap(complaint.field, "model") for complaint in files):
        return Looked(spec=None, complaints=complaints)
    config, known = surroundings.look(spec, rows=_rows(spec))
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
    examined = examine(raw)
    found = [*examined.complaints, *_files(examined, is_for_run=is_for_run)]
    return (None if found else examined.spec), found


def _files(examined: Examined, *, is_for_run: bool) -> Iterator[Complaint]:
    """What is wrong with data, template and model, as far as the spec says which they are."""
    draft = examined.draft
    if draft is None:
        return
    if examined.has("dataset", "method"):
        yield from _dataset_complaints(draft.dataset, draft.method, is_for_run=is_for_run)
    elif examined.has("dataset.path", "dataset.sources"):
        yield from _file_complaints(draft.dataset)
    if examined.has("dataset.chat_template"):
        yield from chat_templates.complaints(draft.dataset.chat_template)
    if examined.has("model.path", "model.revision"):
        yield from check_model(draft.model.path, draft.model.revision)
        yield from _token_complaints(examined, draft)


def _token_complaints(examined: Examined, draft: Spec) -> list[Complaint]:
    """Whether the model has the tokens that an adapter is to train."""
    if not examined.has(token_names.FIELD) or not draft.lora or not draft.lora.trainable_tokens:
        return []
    place = surroundings.local_folder(draft)
    return token_names.complaints(draft.lora.trainable_tokens, place) if place else []


def _dataset_complaints(dataset: DatasetSpec, method: str, *, is_for_run: bool) -> list[Complaint]:
    return _path_complaints(dataset) or check_data(dataset, method, is_for_run=is_for_run)


def _file_complaints(dataset: DatasetSpec) -> Iterator[Complaint]:
    """How its rows are meant is not known; whether the files are there can be told all the same."""
    if found := _path_complaints(dataset):
        yield from found
        return
    for place, entry in enumerate(dataset.entries):
        try:
            opened(SourceSpec(path=entry.path), dataset.field_of(place))
        except NotHere as error:
            if is_offline("datasets"):
                yield error.complaint
        except DatasetError as error:
            yield error.complaint


def _path_complaints(dataset: DatasetSpec) -> list[Complaint]:
    return [
        complaint
        for place, entry in enumerate(dataset.entries)
        if (complaint := _path_complaint(entry.path, dataset.field_of(place)))
    ]


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
