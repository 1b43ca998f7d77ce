"""Datasets of the Hugging Face hub are fetched before they are read, once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import datasets

from engine.contract.dataset_spec import DatasetSpec
from engine.contract.hub_id import is_dataset_id
from engine.formats.example import DatasetError
from engine.formats.gather import gather
from engine.formats.hub_datasets import TRAIN, NotHere, cache
from engine.hugging_face import is_offline
from engine.worker.hub_reach import must_answer
from engine.worker.report import Report


def fetch_missing(dataset: DatasetSpec, report: Report) -> None:
    """Fetch what is named by its id and is not on this machine. Raises DatasetError, and JobError
    if the hub cannot be reached."""
    for place, entry in enumerate(dataset.entries):
        if not is_dataset_id(entry.path):
            continue  # To find the files of a folder may take most of a second.
        try:
            gather(entry.path)
        except NotHere as error:
            if is_offline("datasets"):
                raise error.within(dataset.field_of(place)) from None
            must_answer(entry.path)
            report.decided(f"{entry.path} is fetched from the hub.", f"It is not in {cache()}.")
            with _within(dataset.field_of(place)):
                _fetch(entry.path, cache())
        except DatasetError:
            continue  # Whoever reads it says so.


@contextlib.contextmanager
def _within(table: str) -> Iterator[None]:
    try:
        yield
    except DatasetError as error:
        raise error.within(table) from None


def _fetch(id: str, place: Path) -> None:
    """Raises DatasetError."""
    datasets.disable_progress_bars()
    try:
        datasets.load_dataset(id, split=TRAIN, cache_dir=str(place))
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        why = " ".join(str(error).split())[:200].rstrip(".")
        raise DatasetError(
            f"{id} cannot be fetched from the hub: {why}.",
            "Check the id; or download its files and write the folder's path.",
        ) from error
