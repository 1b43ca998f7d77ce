"""What a method makes of a dataset: tokenised samples to train on and to hold back."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from engine.contract.dataset_report import SourceShare
from engine.contract.row_places import FileRows
from engine.store.encoded import Meta
from engine.worker import large
from engine.worker.failures import JobError
from engine.worker.report import Report
from engine.worker.row_words import named
from engine.worker.samples import Samples


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """Samples of both splits; each sample has at least one target."""

    train: Samples
    evaluation: Samples
    sources: list[SourceShare] = []
    """What each dataset of a mixture gives."""


_NAMED = 100
"""Rows that teach nothing, of which as many are named as there is room for."""
_IDLE = "Within max_length they have no answer, or no text at all."


def without_idle(
    samples: Samples, what: str, report: Report, files: Sequence[FileRows] = ()
) -> Samples:
    """The samples that teach something; says how many do not, and which by the ``files`` that their
    rows are in."""
    counts = samples.target_counts
    teaches = large.over(counts, 0)
    idle = len(samples) - large.total(teaches)
    if idle:
        report.found(
            "nothing_to_learn",
            f"{idle} of {len(samples)} {what} teach nothing and are left out.",
            cause=f"{_IDLE} {_rows(samples, teaches, files)}".rstrip(),
            remedy="Raise training.max_length, or look at those rows.",
        )
        samples = samples.take(large.places_of(teaches))
    return samples


def _rows(samples: Samples, teaches: npt.NDArray[np.bool_], files: Sequence[FileRows]) -> str:
    """Which of them do not."""
    if samples.origins is None:
        return ""
    idle = large.places_of(large.flags(lambda part: ~teaches[part], teaches))
    rows = np.unique(large.taken(samples.origins, idle))
    return named(rows[:_NAMED].tolist(), len(idle), files)


def must_have_some(samples: Samples, meta: Meta) -> None:
    """Raises :class:`JobError` if nothing is left to train on of the rows that were read."""
    if len(samples) > 0:
        return
    cause = f"None of the {meta.rows_read} rows has a token to learn within max_length."
    remedy = "Raise training.max_length, or choose other data."
    if meta.rows_read and meta.blank == meta.rows_read:
        cause = f"None of the {meta.rows_read} documents has text that can be seen."
        remedy = "Choose data with text in it, or the column that holds it."
    raise JobError("bad_data", "There is nothing to train on.", cause=cause, remedy=remedy)
