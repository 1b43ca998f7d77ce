"""What is looked at before a run is made: settings, data, model. Nothing is written."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from engine.contract.messages import Complaint
from engine.contract.spec import Spec
from engine.contract.validate import check
from engine.formats import check_dataset
from engine.planning.inventory import check_model


def complaints_about(raw: dict[str, Any]) -> tuple[Spec | None, list[Complaint]]:
    """The spec, or None and everything wrong with it, its data and its model. Reads files."""
    spec, found = check(raw)
    fields = {complaint.field for complaint in found}
    if not _touches(fields, "dataset", "method", "spec"):
        found += _dataset_complaints(raw)
    if not _touches(fields, "model", "spec"):
        found += check_model(raw["model"]["path"], raw["model"].get("revision"))
    return (None if found else spec), found


def _touches(fields: Iterable[str], *tables: str) -> bool:
    return any(field.partition(".")[0] in tables for field in fields)


def _dataset_complaints(raw: dict[str, Any]) -> list[Complaint]:
    dataset = raw["dataset"]
    path = Path(dataset["path"])
    if not path.is_absolute():
        return [
            Complaint(
                field="dataset.path",
                problem=f"{path} does not say which folder it is in.",
                remedy="Write the whole path.",
            )
        ]
    return check_dataset(
        path,
        dataset.get("format", "auto"),
        raw.get("method", "sft"),
        float(dataset.get("eval_fraction", 0.05)),
    )
