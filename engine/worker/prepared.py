"""What a method makes of a dataset: tokenised samples to train on and to hold back."""

from __future__ import annotations

import msgspec
import numpy as np

from engine.contract.dataset_report import SourceShare
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


_IDLE = "Within max_length they have no answer, or no text at all."


def without_idle(samples: Samples, what: str, report: Report) -> Samples:
    """The samples that teach something; says how many do not."""
    counts = samples.target_counts
    idle = int((counts == 0).sum())
    if idle:
        report.found(
            "nothing_to_learn",
            f"{idle} of {len(samples)} {what} teach nothing and are left out.",
            cause=f"{_IDLE} {_rows(samples)}".rstrip(),
            remedy="Raise training.max_length, or look at those rows.",
        )
        samples = samples.take([int(place) for place in counts.nonzero()[0]])
    return samples


def _rows(samples: Samples) -> str:
    """Which of them teach nothing."""
    if samples.origins is None:
        return ""
    idle = np.flatnonzero(samples.target_counts == 0)
    return named(np.unique(samples.origins[idle]).tolist(), len(idle))


def must_have_some(samples: Samples, read: int) -> None:
    """Raises :class:`JobError` if nothing is left to train on."""
    if len(samples) == 0:
        raise JobError(
            "bad_data",
            "There is nothing to train on.",
            cause=f"None of the {read} rows has a token to learn within max_length.",
            remedy="Raise training.max_length, or choose other data.",
        )
