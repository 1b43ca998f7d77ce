"""Figures and findings about a tokenised dataset. Pure: arrays in, a report out."""

from __future__ import annotations

from functools import cached_property

import msgspec
import numpy as np
import numpy.typing as npt

from engine.contract.dataset_report import DatasetReport, Packing, RowFinding
from engine.contract.spec import Spec
from engine.worker import large, packing
from engine.worker.data_findings import findings_of
from engine.worker.encoding import Encoding
from engine.worker.failures import JobError
from engine.worker.fixes import near_of, uncompared
from engine.worker.language_mix import Mix, mix_of
from engine.worker.mixture import shares
from engine.worker.prepared import Prepared
from engine.worker.report import Report
from engine.worker.row_hashes import first_copies, largest
from engine.worker.samples import Samples
from engine.worker.schedule import permutation
from engine.worker.untrained_tokens import Unlearnt

Ints = npt.NDArray[np.int64]
PICKED = 50
ANY = 500
"""Of those that fixes leave, to choose one by chance from."""
_MOST_LEFT_OUT = 20_000
BINS = 40


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


class Counted(msgspec.Struct, frozen=True, kw_only=True, dict=True):
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
    uncompared: str
    """What is to be said where not all were looked at for that."""
    held: Ints
    """Places of those held back that are trained on as well, or nearly."""
    mix: Mix
    """Languages."""

    @cached_property
    def lost_targets(self) -> Ints:
        """Targets beyond the cut."""
        lost = large.empty(len(self.targets), np.int64)
        for part in large.parts(lost, self.targets, self.kept_targets):
            lost[part] = self.targets[part] - self.kept_targets[part]
        return lost


def count(look: Look, report: Report) -> Counted:
    """Of the samples that fixes leave. Raises Halted."""
    encoding = look.encoding
    samples = encoding.samples
    # Samples for pretraining are parts of longer rows: nothing is cut.
    is_cut = look.spec.method != "pretrain"
    kept = samples.cut(look.spec.training.max_length) if is_cut else samples
    first, near = first_copies(encoding.hashes), near_of(encoding, report)
    return Counted(
        lengths=samples.lengths,
        targets=samples.target_counts,
        kept_targets=kept.target_counts,
        first_copy=first,
        near=near,
        uncompared=uncompared(encoding),
        held=_leaked(look, large.taken(near, first)),
        mix=mix_of(encoding),
    )


def report_of(look: Look, report: Report) -> DatasetReport:
    """All there is to say of it; tells how far that is. Raises Halted."""
    spec, meta = look.spec, look.encoding.meta
    is_cut = spec.method != "pretrain"
    max_length = spec.training.max_length
    counted = count(look, report)
    lengths = counted.lengths
    spread = large.counts_of(lengths)
    longest = int(spread[0].max(initial=0))
    edges, counts = histogram(*spread, 4 * max_length if is_cut else longest)
    train = look.prepared.train if look.prepared else None
    held = look.prepared.evaluation if look.prepared else None
    return DatasetReport(
        data=look.encoding.folder.name, method=spec.method, format=meta.format_name,
        rows=meta.rows_read, samples=meta.samples,
        train=len(train) if train else 0, held_back=len(held) if held else 0,
        held_border=_border(look), context=look.context, in_line=look.by_sample,
        max_length=max_length,
        tokens=large.total(train.lengths) if train else 0,
        trained_tokens=large.total(train.target_counts) if train else 0,
        longest=longest,
        shortest=int(spread[0][0]) if len(lengths) else 0,
        median=_median(*spread) if len(lengths) else 0,
        cut=int(spread[1][spread[0] > max_length].sum()) if is_cut else 0,
        cut_answers=large.total(large.over(counted.lost_targets, 0)),
        duplicates=large.total(large.moved(counted.first_copy)),
        near_duplicates=large.total(large.moved(counted.near)),
        duplicates_across=len(counted.held),
        left_out=meta.samples - len(lengths),
        left_out_rows=_left_out(look.encoding),
        languages=counted.mix.shares,
        edges=edges, counts=counts,
        padded=padded(train, look) if train else None,
        packed=packed(train, look) if train and is_cut else None,
        is_packed=spec.packs_rows,
        picks=picks(counted, look.encoding.places),
        findings=findings_of(look, counted),
        sources=look.prepared.sources if look.prepared else shares(spec, look.encoding, None),
        files=look.encoding.files, unlearnt=meta.unlearnt,
        seconds=meta.seconds, is_kept=look.encoding.is_kept,
    )  # fmt: skip


def _border(look: Look) -> tuple[str, int] | None:
    """The last sample that is held back, in the order of hashes and places."""
    held = look.prepared.evaluation if look.prepared else None
    if held is None or held.origins is None or not len(held):
        return None
    rows = look.encoding.samples.origins
    assert rows is not None
    places = large.found_in(rows, held.origins)
    last = largest(look.encoding.hashes, places)
    kept = look.encoding.places
    return look.encoding.hashes[last].hex(), last if kept is None else int(kept[last])


def _left_out(encoding: Encoding) -> list[int]:
    """Rows of the samples that fixes leave out, the first of them."""
    if encoding.base is None or encoding.places is None:
        return []
    rows = encoding.base.samples.origins
    assert rows is not None
    is_out = large.empty(len(rows), np.bool_)
    is_out[:] = True
    is_out[encoding.places] = False
    found: list[int] = rows[large.places_of(is_out)[:_MOST_LEFT_OUT]].tolist()
    return found


def _leaked(look: Look, alike: Ints) -> Ints:
    """Places of held-back samples of which a copy is trained on; ``alike`` is the same for all
    copies of a sample."""
    prepared, none = look.prepared, np.zeros(0, np.int64)
    if prepared is None or prepared.train.origins is None or prepared.evaluation.origins is None:
        return none
    rows = look.encoding.samples.origins
    assert rows is not None
    is_trained = large.empty(len(alike), np.bool_)
    is_trained[:] = False
    origins = prepared.train.origins
    for part in large.parts(origins):
        is_trained[large.at(alike, large.found_in(rows, origins[part]))] = True
        large.give_back(is_trained)
    held = large.found_in(rows, prepared.evaluation.origins)
    leaked: Ints = np.sort(held[is_trained[large.taken(alike, held)]])
    large.give_back(held, is_trained)
    return leaked


def _median(lengths: Ints, often: Ints) -> int:
    """The middle one, or between the middle two, rounded down."""
    ends = np.cumsum(often)
    middle = np.searchsorted(ends, [(ends[-1] - 1) // 2, ends[-1] // 2], "right")
    return int(lengths[middle].sum()) // 2


def histogram(lengths: Ints, often: Ints, last: int) -> tuple[list[int], list[int]]:
    """Borders and counts of lengths, each of which is there so often; what is longer than ``last``
    is in the last bin."""
    if not len(lengths):
        return [], []
    most = min(int(lengths.max()), last)
    step = max(1, -(-(most + 1) // BINS))
    edges = np.arange(0, most + step + 1, step, dtype=np.int64)
    bins = np.minimum(lengths // step, len(edges) - 2)
    counts = np.zeros(len(edges) - 1, np.int64)
    np.add.at(counts, bins, often)
    return edges.tolist(), counts.tolist()


def picks(counted: Counted, kept: Ints | None = None) -> dict[str, list[int]]:
    """Places worth a look, the most telling first. ``kept``: where these samples are among all."""
    lengths, lost, taught = counted.lengths, counted.lost_targets, counted.kept_targets
    most_lost = large.first_by(PICKED, lambda part: -lost[part], lost)
    found = {
        "longest": large.first_by(PICKED, lambda part: -lengths[part], lengths),
        "shortest": large.first_by(PICKED, lambda part: lengths[part], lengths, last=True),
        "most_cut": most_lost[large.at(lost, most_lost) > 0],
        "untaught": large.places_of(large.flags(lambda part: taught[part] == 0, taught)),
    }
    near = {name: places[:PICKED] for name, places in found.items()}
    if kept is not None:
        near["random"] = large.some_of(len(lengths), ANY)
    return {name: (p if kept is None else kept[p]).tolist() for name, p in near.items()}


# ---------------------------------------------------------------- into batches


def padded(samples: Samples, look: Look) -> Packing:
    """Batches as the first epoch has them, each row as long as the longest beside it, or rows one
    behind the other."""
    return _in_batches(samples.lengths, look.spec, one_line=look.by_sample)


def packed(samples: Samples, look: Look) -> Packing:
    """The same with rows that are filled with several samples each."""
    lengths = samples.lengths
    filled = packing.packed(lengths, look.spec.training.max_length).sums(lengths)
    flash = look.spec.model.attn_implementation == "flash_attention_2"
    return _in_batches(filled, look.spec, one_line=look.by_sample or flash)


def _in_batches(lengths: Ints, spec: Spec, *, one_line: bool) -> Packing:
    """Of rows with these lengths, in the order of the first epoch."""
    micro = spec.training.per_device_train_batch_size
    window = micro * spec.training.gradient_accumulation_steps
    if one_line:
        steps = -(-len(lengths) // window)
        return Packing(steps=steps, computed=large.total(lengths), waste=0.0)
    order = permutation(len(lengths), spec.training.seed, 0)
    computed = 0
    many = window * max(1, large.CHUNK // window)
    for at in range(0, len(order), many):
        here = large.at(lengths, order[at : at + many])
        large.give_back(order)
        rows = np.zeros((-(-len(here) // window), window), np.int64)
        rows.flat[: len(here)] = here
        # As :func:`engine.worker.schedule.in_batches`: the first of a batch is its longest.
        rows = -np.sort(-rows, axis=1)
        longest = rows[:, ::micro]
        sizes = np.add.reduceat(rows > 0, np.arange(0, window, micro), axis=1)
        computed += int((longest * sizes).sum())
    return Packing(
        steps=-(-len(lengths) // window),
        computed=computed,
        waste=1 - large.total(lengths) / computed if computed else 0.0,
    )
