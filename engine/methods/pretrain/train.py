"""Continued pretraining with TRL: documents one behind the other, every token is learnt."""

from __future__ import annotations

import numpy as np
from transformers import PreTrainedTokenizerBase

from engine.contract.spec import Spec
from engine.formats.dataset import split_sizes
from engine.methods.sft.train import Trainer
from engine.worker.encoding import Encoding, encoding_of
from engine.worker.prepared import Prepared, must_have_some, without_idle
from engine.worker.report import Report
from engine.worker.samples import Samples, held_back

__all__ = ["Trainer", "blocks", "prepare"]

FEW_DOCUMENTS = 20
"""With fewer, blocks of text are held back instead of whole documents."""


def prepare(spec: Spec, tokenizer: PreTrainedTokenizerBase, report: Report) -> Prepared:
    """Tokenise the dataset into blocks of ``max_length``. Raises DatasetError or JobError."""
    encoding = encoding_of(spec, tokenizer, report)
    train, evaluation = _split(spec, encoding)
    train = without_idle(train, "blocks", report)
    must_have_some(train, encoding.meta.rows_read)
    return Prepared(train=train, evaluation=without_idle(evaluation, "held-back blocks", report))


def _split(spec: Spec, encoding: Encoding) -> tuple[Samples, Samples]:
    documents = encoding.samples
    length, fraction, seed = (
        spec.training.max_length, spec.dataset.eval_fraction, spec.training.seed
    )  # fmt: skip
    if len(documents) >= FEW_DOCUMENTS:
        _, count = split_sizes(len(documents), fraction)
        held = held_back(encoding.keys, count, seed)
        kept = [place for place in range(len(documents)) if place not in held]
        return blocks(documents.take(kept), length), blocks(documents.take(sorted(held)), length)
    whole = blocks(documents, length)
    keys = [whole[place][0].tobytes() for place in range(len(whole))]
    _, count = split_sizes(len(whole), fraction)
    held = held_back(keys, count, seed)
    return (
        whole.take([place for place in range(len(whole)) if place not in held]),
        whole.take(sorted(held)),
    )


def blocks(documents: Samples, length: int) -> Samples:
    """All documents one behind the other, cut every ``length`` tokens; the last may be shorter."""
    pieces = [ids for ids, _ in documents.pieces()]
    # Where all lie one behind the other already, and are mapped, nothing is copied.
    tokens = pieces[0] if len(pieces) == 1 else np.concatenate([np.zeros(0, np.int32), *pieces])
    starts = np.append(np.arange(0, len(tokens), length, dtype=np.int64), len(tokens))
    return Samples.adjoining(tokens, np.ones(len(tokens), np.bool_), starts)
