"""Figures and findings about a tokenised dataset. Pure: arrays in, a report out."""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt

from engine.contract.dataset_report import DatasetReport, Packing, RowFinding
from engine.contract.spec import Spec
from engine.worker import packing
from engine.worker.data_findings import findings_of
from engine.worker.encoding import Encoding
from engine.worker.failures import JobError
from engine.worker.fixes import near_of
from engine.worker.language_mix import Mix, mix_of
from engine.worker.mixture import shares
from engine.worker.prepared import Prepared
from engine.worker.row_hashes import first_copies, largest
from engine.worker.samples import Samples
from engine.worker.schedule import permutation
from engine.worker.untrained_tokens import Unlearnt

Ints = npt.NDArray[np.int64]
PICKED = 50
_MOST_LEFT_OUT = 20_000
BINS = 40
_MOST_PACKED = 2_000_000
"""Samples up to which packing is worked out: it takes a second for each 100 000."""


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What a dataset is judged by."""

    spec: Spec
    encoding: Encoding
    prepared: Prepared | None
    """As the run gets it; None if there is nothing to train on."""
    nothing: JobError | None
    """Why there is nothing."""
    unlearnt: Unlearnt | None = None
    """Tokens of the data that the model has never learnt."""
    template: list[RowFinding] = []
    """What is odd about the chat template."""
    vocabulary: int | None
    """Rows of the model's embedding, if known."""
    context: int | None
    """Most tokens that the model was made for, if known."""
    by_sample: bool = False
    """Whether the samples of a batch are put one behind the other, without padding."""


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """Of each sample."""

    lengths: Ints
    """Before the cut."""
    targets: Ints
    """Before the cut."""
    kept_targets: Ints
    """Within ``max_length``."""
    first_copy: Ints
    """Place of the first sample with the same content: its own, if it is that."""
    near: Ints
    """Place of an earlier sample that is nearly the same: its own, if there is none."""
    held: Ints
    """Places of those held back that are trained on as well, or nearly."""
    mix: Mix
    """Languages."""

    @property
    def lost_targets(self) -> Ints:
        """Targets beyond the cut."""
        lost: Ints = self.targets - self.kept_targets
        return lost


def count(look: Look) -> Counted:
    """Of the samples that fixes leave."""
    encoding = look.encoding
    samples = encoding.samples
    # Samples for pretraining are parts of longer rows: nothing is cut.
    is_cut = look.spec.method != "pretrain"
    kept = samples.cut(look.spec.training.max_length) if is_cut else samples
    first, near = first_copies(encoding.hashes), near_of(encoding)
    return Counted(
        lengths=samples.lengths,
        targets=samples.target_counts,
        kept_targets=kept.target_counts,
        first_copy=first,
        near=near,
        held=_leaked(look, near[first]),
        mix=mix_of(encoding),
    )


def report_of(look: Look) -> DatasetReport:
    """The whole report."""
    spec, meta = look.spec, look.encoding.meta
    is_cut = spec.method != "pretrain"
    max_length = spec.training.max_length
    counted = count(look)
    lengths = counted.lengths
    edges, counts = histogram(lengths, 4 * max_length if is_cut else int(lengths.max(initial=0)))
    copies = counted.first_copy != np.arange(len(lengths))
    train = look.prepared.train if look.prepared else None
    held = look.prepared.evaluation if look.prepared else None
    return DatasetReport(
        data=look.encoding.folder.name, method=spec.method, format=meta.format_name,
        rows=meta.rows_read, samples=meta.samples,
        train=len(train) if train else 0, held_back=len(held) if held else 0,
        held_border=_border(look), context=look.context,
        max_length=max_length,
        tokens=int(train.lengths.sum()) if train else 0,
        trained_tokens=int(train.target_counts.sum()) if train else 0,
        longest=int(lengths.max(initial=0)),
        shortest=int(lengths.min()) if len(lengths) else 0,
        median=int(np.median(lengths)) if len(lengths) else 0,
        cut=int((lengths > max_length).sum()) if is_cut else 0,
        cut_answers=int((counted.lost_targets > 0).sum()),
        duplicates=int(copies.sum()),
        near_duplicates=int((counted.near != np.arange(len(lengths))).sum()),
        duplicates_across=len(counted.held),
        left_out=meta.samples - len(lengths),
        left_out_rows=_left_out(look.encoding),
        languages=counted.mix.shares,
        edges=edges, counts=counts,
        padded=padded(train, look) if train else None,
        packed=packed(train, look) if train and is_cut else None,
        picks=picks(counted, look.encoding.places),
        findings=findings_of(look, counted),
        sources=look.prepared.sources if look.prepared else shares(spec, look.encoding, None),
        unlearnt=meta.unlearnt,
        seconds=meta.seconds, is_kept=look.encoding.is_kept,
    )  # fmt: skip


def _border(look: Look) -> tuple[str, int] | None:
    """The last sample that is held back, in the order of hashes and places."""
    held = look.prepared.evaluation if look.prepared else None
    if held is None or held.origins is None or not len(held):
        return None
    rows = look.encoding.samples.origins
    assert rows is not None
    places = np.searchsorted(rows, held.origins)
    last = largest(look.encoding.hashes, places)
    kept = look.encoding.places
    return look.encoding.hashes[last].hex(), last if kept is None else int(kept[last])


def _left_out(encoding: Encoding) -> list[int]:
    """Rows of the samples that fixes leave out, the first of them."""
    if encoding.base is None or encoding.places is None:
        return []
    rows = encoding.base.samples.origins
    assert rows is not None
    found: list[int] = np.delete(rows, encoding.places)[:_MOST_LEFT_OUT].tolist()
    return found


def _leaked(look: Look, alike: Ints) -> Ints:
    """Places of held-back samples of which a copy is trained on; ``alike`` is the same for all
    copies of a sample."""
    prepared, none = look.prepared, np.zeros(0, np.int64)
    if prepared is None or prepared.train.origins is None or prepared.evaluation.origins is None:
        return none
    rows = look.encoding.samples.origins
    assert rows is not None
    trained, held = (
        np.searchsorted(rows, origins)
        for origins in (prepared.train.origins, prepared.evaluation.origins)
    )
    leaked: Ints = np.sort(held[np.isin(alike[held], alike[trained])])
    return leaked


def histogram(lengths: Ints, last: int) -> tuple[list[int], list[int]]:
    """Borders and counts; what is longer than ``last`` is in the last bin."""
    if not len(lengths):
        return [], []
    most = min(int(lengths.max()), last)
    step = max(1, -(-(most + 1) // BINS))
    edges = np.arange(0, most + step + 1, step, dtype=np.int64)
    bins = np.minimum(lengths // step, len(edges) - 2)
    return edges.tolist(), np.bincount(bins, minlength=len(edges) - 1).tolist()


def picks(counted: Counted, kept: Ints | None = None) -> dict[str, list[int]]:
    """Places worth a look, the most telling first. ``kept``: where these samples are among all."""
    order = np.argsort(-counted.lengths, kind="stable")
    lost = np.argsort(-counted.lost_targets, kind="stable")
    found = {
        "longest": order,
        "shortest": order[::-1],
        "most_cut": lost[: int((counted.lost_targets > 0).sum())],
        "untaught": np.flatnonzero(counted.kept_targets == 0),
    }
    near = {name: places[:PICKED] for name, places in found.items()}
    return {name: (p if kept is None else kept[p]).tolist() for name, p in near.items()}


# ---------------------------------------------------------------- into batches


def padded(samples: Samples, look: Look) -> Packing:
    """Batches as the first epoch has them, each row as long as the longest beside it, or rows one
    behind the other."""
    return _in_batches(samples.lengths, look.spec, one_line=look.by_sample)


def packed(samples: Samples, look: Look) -> Packing | None:
    """The same with rows that are filled with several samples each. None for more samples than are
    worth the time."""
    lengths = samples.lengths
    if len(lengths) > _MOST_PACKED:
        return None
    rows = packing.packed(lengths.tolist(), look.spec.training.max_length)
    filled = np.array([sum(int(lengths[place]) for place in row) for row in rows], np.int64)
    flash = look.spec.model.attn_implementation == "flash_attention_2"
    return _in_batches(filled, look.spec, one_line=look.by_sample or flash)


def _in_batches(rows: Ints, spec: Spec, *, one_line: bool) -> Packing:
    micro = spec.training.per_device_train_batch_size
    window = micro * spec.training.gradient_accumulation_steps
    if one_line:
        return Packing(steps=-(-len(rows) // window), computed=int(rows.sum()), waste=0.0)
    lengths = rows[permutation(len(rows), spec.training.seed, 0)]
    steps = np.zeros((-(-len(lengths) // window), window), np.int64)
    steps.flat[: len(lengths)] = lengths
    # As :func:`engine.worker.schedule.in_batches`: the first of a batch is its longest.
    steps = -np.sort(-steps, axis=1)
    longest = steps[:, ::micro]
    sizes = np.add.reduceat(steps > 0, np.arange(0, window, micro), axis=1)
    computed = int((longest * sizes).sum())
    return Packing(
        steps=-(-len(lengths) // window),
        computed=computed,
        waste=1 - int(lengths.sum()) / computed if computed else 0.0,
    )
