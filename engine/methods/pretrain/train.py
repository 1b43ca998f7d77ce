"""Continued pretraining with TRL: documents one behind the other, every token is learnt."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from transformers import PreTrainedTokenizerBase

from engine.contract.spec import Spec
from engine.formats.dataset import split_sizes
from engine.formats.example import Text
from engine.methods.sft.train import Trainer, read_all
from engine.worker.chat import Rendered
from engine.worker.prepared import Prepared, must_have_some, without_idle
from engine.worker.report import Report
from engine.worker.samples import Samples, held_back
from engine.worker.tokenise import Encoded, close, closing_id, encode_all

__all__ = ["Trainer", "blocks", "prepare"]

FEW_DOCUMENTS = 20
"""With fewer, blocks of text are held back instead of whole documents."""


def prepare(spec: Spec, tokenizer: PreTrainedTokenizerBase, report: Report) -> Prepared:
    """Tokenise the dataset into blocks of ``max_length``. Raises DatasetError or JobError."""
    examples = read_all(spec, report)
    texts = [e.text for e in examples if isinstance(e, Text) and e.text.strip()]
    end_id = closing_id(tokenizer)
    documents: list[Encoded] = []
    rendered = (Rendered(text=text, special_tokens=True) for text in texts)
    for encoded in encode_all(tokenizer, rendered):
        documents.append(close(encoded, end_id))
        report.progress(len(documents), len(texts), "documents")
    train, evaluation = _split(spec, texts, documents)
    train = without_idle(train, "blocks", report)
    must_have_some(train, len(texts))
    return Prepared(train=train, evaluation=without_idle(evaluation, "held-back blocks", report))


def _split(
    spec: Spec, texts: Sequence[str], documents: Sequence[Encoded]
) -> tuple[Samples, Samples]:
    length, fraction, seed = (
        spec.training.max_length, spec.dataset.eval_fraction, spec.training.seed
    )  # fmt: skip
    if len(documents) >= FEW_DOCUMENTS:
        _, count = split_sizes(len(documents), fraction)
        held = held_back([text.encode(errors="replace") for text in texts], count, seed)
        kept = [document for place, document in enumerate(documents) if place not in held]
        return blocks(kept, length), blocks([documents[place] for place in sorted(held)], length)
    whole = blocks(documents, length)
    keys = [whole[place][0].tobytes() for place in range(len(whole))]
    _, count = split_sizes(len(whole), fraction)
    held = held_back(keys, count, seed)
    return (
        whole.take([place for place in range(len(whole)) if place not in held]),
        whole.take(sorted(held)),
    )


def blocks(documents: Sequence[Encoded], length: int) -> Samples:
    """All documents one behind the other, cut every ``length`` tokens; the last may be shorter."""
    parts = [np.asarray(ids, dtype=np.int32) for ids, _ in documents]
    tokens = np.concatenate(parts) if parts else np.zeros(0, np.int32)
    starts = np.append(np.arange(0, len(tokens), length, dtype=np.int64), len(tokens))
    return Samples(tokens, np.ones(len(tokens), np.bool_), starts)
