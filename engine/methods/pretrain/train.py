"""Continued pretraining with TRL: documents one behind the other, every token is learnt."""

from __future__ import annotations

import numpy as np
from transformers import PreTrainedTokenizerBase

from engine.contract.dataset_report import SourceShare
from engine.contract.spec import Spec
from engine.formats.dataset import split_sizes
from engine.methods.sft.train import Trainer
from engine.worker import large
from engine.worker.encoding import Encoding, encoding_of
from engine.worker.mixture import is_weighed, shares, tell_shares, weighed
from engine.worker.prepared import Prepared, must_have_some, without_idle
from engine.worker.report import Report
from engine.worker.samples import Samples, held_back, row_hash

__all__ = ["Trainer", "blocks", "prepare"]

FEW_DOCUMENTS = 20
"""With fewer, blocks of text are held back instead of whole documents."""


def prepare(
    spec: Spec, tokenizer: PreTrainedTokenizerBase, report: Report,
    encoding: Encoding | None = None,
) -> Prepared:  # fmt: skip
    """The dataset in blocks of ``max_length``, tokenised if that is not done. Raises DatasetError
    or JobError."""
    encoding = encoding or encoding_of(spec, tokenizer, report)
    train, evaluation, sources = _split(spec, encoding, report)
    train = without_idle(train, "blocks", report)
    must_have_some(train, encoding.meta)
    evaluation = without_idle(evaluation, "held-back blocks", report)
    return Prepared(train=train, evaluation=evaluation, sources=sources)


def _split(
    spec: Spec, encoding: Encoding, report: Report
) -> tuple[Samples, Samples, list[SourceShare]]:
    """Blocks to train on, blocks held back, and what each dataset gives."""
    documents = encoding.samples
    length, fraction, seed = (
        spec.training.max_length, spec.dataset.eval_fraction, spec.training.seed
    )  # fmt: skip
    # A block may hold text of two documents, so weighed ones are parted before that.
    if len(documents) >= FEW_DOCUMENTS or is_weighed(spec):
        _, count = split_sizes(len(documents), fraction)
        train, evaluation = documents.parted(held_back(encoding.hashes, count))
        train = weighed(spec, encoding, train)
        sources = shares(spec, encoding, train)
        tell_shares(sources, report)
        return blocks(train, length), blocks(evaluation, length), sources
    sources = shares(spec, encoding, documents)
    tell_shares(sources, report)
    whole = blocks(documents, length)
    hashes = [row_hash(whole[place][0].tobytes(), seed) for place in range(len(whole))]
    _, count = split_sizes(len(whole), fraction)
    return *whole.parted(held_back(hashes, count)), sources


def blocks(documents: Samples, length: int) -> Samples:
    """All documents one behind the other, cut every ``length`` tokens; the last may be shorter."""
    count = large.total(documents.lengths)
    tokens, learnt = large.empty(count, np.int32), large.empty(count, np.bool_)
    at = 0
    for ids, _ in documents.pieces():
        place = slice(at, at + len(ids))
        tokens[place], learnt[place] = ids, True
        large.give_back(tokens, learnt)
        at = place.stop
    starts = np.append(np.arange(0, count, length, dtype=np.int64), count)
    return Samples.adjoining(tokens, learnt, starts)
