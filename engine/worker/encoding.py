"""A dataset becomes tokens, once: what was made before of the same data is taken as it is.

Training, a rehearsal and whoever looks at the data read the same files, so what is shown is what
is trained on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
from transformers import PreTrainedTokenizerBase

from engine.contract.dataset_report import ROWS
from engine.contract.spec import Spec
from engine.formats.corpus import stamps
from engine.formats.entries import Reading, readings
from engine.formats.example import DatasetError
from engine.formats.reading import Dataset, Unit, dataset_of
from engine.store import encoded
from engine.store.encoded import Meta
from engine.store.files import disk_sentence, is_full
from engine.worker import crew, fixes, large
from engine.worker.chat import ensure_template
from engine.worker.crew_wire import SentDataset, Task
from engine.worker.encoded_parts import Encoding
from engine.worker.encoded_writer import SHOWN_BYTES, EncodedWriter
from engine.worker.encoding_key import digest_of, key_of
from engine.worker.failures import JobError
from engine.worker.hub_dataset import fetch_missing
from engine.worker.mixture import tell_format
from engine.worker.origins import files_of
from engine.worker.part import Part, Tally
from engine.worker.pieces import pieces_of
from engine.worker.quick_tokenizer import QuickTokenizer, quick_of
from engine.worker.report import Report
from engine.worker.row_encoder import RowEncoder
from engine.worker.row_hashes import RowHashes
from engine.worker.samples import Samples
from engine.worker.word_tokens import WordsDiffer

__all__ = ["Encoding", "encoding_of", "load"]


def encoding_of(spec: Spec, tokenizer: PreTrainedTokenizerBase, report: Report) -> Encoding:
    """Tokens of the spec's dataset, with its fixes. Raises DatasetError, and JobError if the disk
    is full or the fixes leave nothing."""
    fetch_missing(spec.dataset, report)
    # Once: to find thousands of files takes most of a second.
    entries = tuple(readings(spec.dataset))
    key = key_of(spec, tokenizer, entries)
    kept = encoded.find(key)
    folder = kept
    if folder is None:
        folder = _made(spec, tokenizer, report, entries, key)
        encoded.make_room()
    found = load(folder)
    _tell(found.meta, tokenizer, report)
    files = files_of(entries, found.meta)
    whole = msgspec.structs.replace(found, is_kept=kept is not None, entries=entries, files=files)
    return fixes.fixed(spec, whole, report)


def load(folder: Path) -> Encoding:
    """What is in such a folder, mapped. Raises ``OSError``."""
    meta = encoded.read_meta(folder)
    samples = Samples.adjoining(
        large.mapped(folder / encoded.TOKENS, np.int32),
        large.mapped(folder / encoded.LEARNT, np.bool_),
        large.mapped(folder / encoded.STARTS, np.int64),
        large.mapped(folder / encoded.ROWS, np.int64),
    )
    hashes = RowHashes(folder / encoded.DIGESTS)
    return Encoding(folder=folder, meta=meta, samples=samples, hashes=hashes)


# ---------------------------------------------------------------- making it


def _made(
    spec: Spec, tokenizer: PreTrainedTokenizerBase, report: Report, entries: tuple[Reading, ...],
    key: str,
) -> Path:  # fmt: skip
    quick, digest = quick_of(tokenizer), digest_of(tokenizer)
    if quick is not None and encoded.words_differ(digest):
        quick = msgspec.structs.replace(quick, by_words=False)
    try:
        return _fitted(spec, tokenizer, quick, report, entries, encoded.folder_of(key))
    except WordsDiffer:
        encoded.note_words_differ(digest)
    report.decided(
        "All tokens are made anew, which takes longer.",
        "A text became other tokens than its words by themselves. Nothing that was made of words "
        "with this tokenizer is used any more.",
    )
    return _made(spec, tokenizer, report, entries, key_of(spec, tokenizer, entries))


def _fitted(
    spec: Spec, tokenizer: PreTrainedTokenizerBase, quick: QuickTokenizer | None, report: Report,
    entries: tuple[Reading, ...], folder: Path,
) -> Path:  # fmt: skip
    """Made, if need be without what is only to be looked at."""
    try:
        return _make(spec, tokenizer, quick, report, entries, folder)
    except OSError as error:
        if not is_full(error):
            raise _not_kept(error, folder) from error
    # Older data can be made again, and nothing has to be looked at: a run needs its tokens alone.
    encoded.make_room(keep=0)
    try:
        return _make(spec, tokenizer, quick, report, entries, folder, shown_bytes=0)
    except OSError as error:
        raise _not_kept(error, folder) from error


def _make(
    spec: Spec, tokenizer: PreTrainedTokenizerBase, quick: QuickTokenizer | None, report: Report,
    entries: tuple[Reading, ...], folder: Path, shown_bytes: int = SHOWN_BYTES,
) -> Path:  # fmt: skip
    began = time.monotonic()
    dataset = dataset_of(entries, spec.method)
    before = stamps(entries)
    tally = Tally(len(spec.dataset.entries))
    with EncodedWriter(folder, shown_bytes) as writer:
        reading = _Reading(spec, quick, tokenizer, dataset, report)
        for part, unit in reading.parts(lambda: writer.shows):
            writer.add(tally.rows_read, part)
            tally.add(part, dataset.entry_of(unit), unit)
        if stamps(readings(spec.dataset)) != before:
            title = spec.dataset.title
            raise DatasetError(
                f"{title} was changed while it was read.", "Try again when it rests."
            )
        meta = Meta(
            format=encoded.FORMAT, format_name=dataset.format, method=spec.method, rows_read=0,
            seconds=time.monotonic() - began,
            special_tokens={
                id: token.content for id, token in tokenizer.added_tokens_decoder.items()
            },
        )  # fmt: skip
        return writer.publish(tally.into(meta), partial(pieces_of, tokenizer))


class _Reading:
    """Makes parts of all rows: in this process, and once it is seen to take its time in others
    beside it, which do the same."""

    def __init__(
        self, spec: Spec, quick: QuickTokenizer | None, tokenizer: PreTrainedTokenizerBase,
        dataset: Dataset, report: Report,
    ) -> None:  # fmt: skip
        self._dataset = dataset
        self._report = report
        self._seed = spec.training.seed
        self._loss_on = spec.dataset.loss_on
        self._quick = quick
        self._repairs = "reencode" in spec.dataset.fixes
        self._encoder = RowEncoder(
            self._quick or tokenizer, dataset, self._seed, self._loss_on, repairs=self._repairs
        )
        self._most = 0 if spec.hardware.safe_mode == "on" else crew.most_helpers()
        self._read = 0

    def parts(self, shows: Callable[[], bool]) -> Iterator[tuple[Part, Unit]]:
        """In order, each with the rows that it was made of; ``shows`` is asked whether what is to
        be seen of the next one is wanted. Raises DatasetError, Halted, JobError, WordsDiffer."""
        began = time.monotonic()
        units = self._dataset.units()
        for unit in units:
            yield self._told(self._encoder.part(unit, shows=shows()), unit)
            if self._quick is not None and self._pays(unit, time.monotonic() - began):
                break
        else:
            return
        dataset = SentDataset.of(self._dataset)
        task = Task(
            tokenizer=self._quick, dataset=dataset, seed=self._seed, loss_on=self._loss_on,
            repairs=self._repairs,
        )  # fmt: skip
        with crew.Crew(task, self._most, self._report) as helpers:

            def alone(unit: Unit) -> Part:
                return self._encoder.part(unit, shows=shows())

            for part, unit in helpers.parts(units, shows, alone):
                yield self._told(part, unit)

    def _pays(self, unit: Unit, seconds: float) -> bool:
        """Whether so much is left that others are worth their start."""
        if self._most < 2 or seconds < crew.ALONE_SECONDS:
            return False
        share = self._dataset.share(unit)
        return not share or seconds * (1 - share) / share >= crew.ALONE_SECONDS

    def _told(self, part: Part, unit: Unit) -> tuple[Part, Unit]:
        """Tell how many rows were read, of as many as there are if the rest is like these."""
        share = self._dataset.share(unit)
        self._read += part.rows_read
        total = max(self._read, round(self._read / share)) if share > 0 else 0
        self._report.progress(self._read, total, ROWS)
        return part, unit


# ---------------------------------------------------------------- words


def _tell(meta: Meta, tokenizer: PreTrainedTokenizerBase, report: Report) -> None:
    """Say what had to be changed or left out; the same whether it was made now or before."""
    tell_format(meta, report)
    if meta.has_conversations:
        ensure_template(tokenizer, report)
    if meta.refused_count:
        report.found(
            "template_refused",
            f"{meta.refused_count} conversations do not fit the model's chat template and are left "
            "out.",
            cause=meta.refused[0].reason,
            remedy="Questions and answers must alternate, beginning with a question.",
        )
    if meta.merged_systems:
        report.decided(
            f"In {meta.merged_systems} conversations the system text was put into the first "
            "question.",
            "The model's chat template knows no system role.",
        )


def _not_kept(error: OSError, folder: Path) -> JobError:
    first = "Free some space there" if is_full(error) else "Look after that drive"
    return JobError(
        "disk_full" if is_full(error) else "disk_unwritable",
        "The tokens of the dataset cannot be kept.",
        cause=disk_sentence(error, folder),
        remedy=f"{first}, or move Fettle's folder: set FETTLE_HOME.",
    )
