"""How often each row is learnt in an epoch, by the weight of the dataset that it is of.

Which rows a weight takes depends on the seed and on what is in the row, and on nothing else: other
rows come and go without a change to it. Held-back rows are never repeated.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from engine.contract.dataset_report import SourceShare
from engine.contract.spec import Spec
from engine.formats.learnt import DECIDED
from engine.store.encoded import Meta
from engine.worker import large
from engine.worker.encoded_parts import Encoding
from engine.worker.failures import JobError
from engine.worker.report import Report
from engine.worker.samples import Samples

Ints = npt.NDArray[np.int64]
_FROM, _UP_TO = 8, 16
"""Bytes of a row's hash that decide; those before them decide what is held back."""


def is_weighed(spec: Spec) -> bool:
    """Whether any row is learnt more or less than once an epoch."""
    return any(entry.weight != 1 for entry in spec.dataset.entries)


def weighed(spec: Spec, encoding: Encoding, train: Samples) -> Samples:
    """The rows that are trained on, each as often as its dataset's weight says. Raises JobError if
    that leaves none."""
    if not is_weighed(spec) or not len(train):
        return train
    assert train.origins is not None
    assert encoding.samples.origins is not None
    weights = np.array([entry.weight for entry in spec.dataset.entries])
    copies = large.empty(len(train), np.int64)
    for some in large.parts(copies, train.origins):
        origins = train.origins[some]
        hashes = encoding.hashes.at(large.found_in(encoding.samples.origins, origins))
        copies[some] = copies_of(hashes, weights[parts_of(encoding.meta.parts, origins)])
    # Pass by pass: side by side in one block, the second would be read off the first.
    passes = [large.places_of(large.over(copies, done)) for done in range(copies.max(initial=0))]
    if not passes:
        raise JobError(
            "bad_data",
            "There is nothing to train on.",
            cause=f"The weights leave none of {len(train)} samples.",
            remedy="Raise the weight of each [[dataset.sources]].",
        )
    return train.take(np.concatenate(passes))


def copies_of(rows: npt.NDArray[np.uint8], weights: npt.NDArray[np.float64]) -> Ints:
    """How often rows with these hashes, of shape (rows, 32), are learnt in each epoch."""
    drawn = np.ascontiguousarray(rows[:, _FROM:_UP_TO]).view(">u8")[:, 0] / 2.0**64
    whole = np.floor(weights)
    found: Ints = (whole + (drawn < weights - whole)).astype(np.int64)
    return found


def parts_of(sizes: Sequence[int], rows: Ints) -> Ints:
    """Which entry of the dataset each row is of."""
    found: Ints = np.searchsorted(np.cumsum(sizes), rows, side="right")
    return found


def shares(spec: Spec, encoding: Encoding, train: Samples | None) -> list[SourceShare]:
    """What each dataset gives to the run; empty for a single one."""
    entries = spec.dataset.entries
    if len(entries) < 2:
        return []
    counts = [0] * len(entries)
    if train is not None and train.origins is not None:
        found = np.zeros(len(entries), np.int64)
        for some in large.parts(train.origins):
            parts = parts_of(encoding.meta.parts, train.origins[some])
            found += np.bincount(parts, minlength=len(entries))
        counts = found.tolist()
    return [
        SourceShare(
            path=entry.path, rows=rows, trained=trained, weight=entry.weight,
            epochs=entry.weight * _epochs(spec, train),
        )
        for entry, rows, trained in zip(entries, encoding.meta.parts, counts, strict=True)
    ]  # fmt: skip


def _epochs(spec: Spec, train: Samples | None) -> float:
    """Of the whole run; packing, which makes fewer rows of the samples, is not reckoned with."""
    training = spec.training
    if training.max_steps < 0 or not train:
        return training.num_train_epochs
    batch = training.per_device_train_batch_size * training.gradient_accumulation_steps
    return training.max_steps * batch / len(train)


def tell_format(meta: Meta, report: Report) -> None:
    """Say what is made of rows that were written for another method."""
    for name, (title, reason) in DECIDED.items():
        if name in meta.format_name.split(", "):
            out = f" {meta.unlearnt} of {meta.rows_read} are." if meta.unlearnt else ""
            report.decided(title, reason + (out if name == "unpaired_preference" else ""))


def tell_shares(found: Sequence[SourceShare], report: Report) -> None:
    """Say how the datasets are mixed."""
    if found:
        parts = [f"{each.trained} samples of {each.name}" for each in found]
        reason = "; ".join(
            f"{each.name}: {each.rows} rows, weight {each.weight:g}, a row is learnt "
            f"{each.often} in the run, on average"
            for each in found
        )
        report.decided(f"An epoch has {', '.join(parts)}.", f"{reason}.")
