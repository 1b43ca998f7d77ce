"""Supervised fine-tuning with TRL: the loss counts only what the assistant says."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase
from trl import SFTTrainer

from engine.contract.spec import Spec
from engine.formats.dataset import split_sizes
from engine.worker.bridge import Bridge
from engine.worker.encoding import encoding_of
from engine.worker.prepared import Prepared, must_have_some, without_idle
from engine.worker.report import Report
from engine.worker.samples import held_back


class Trainer(Bridge, SFTTrainer):  # type: ignore[misc]
    """TRL's trainer behind the bridge."""


def prepare(spec: Spec, tokenizer: PreTrainedTokenizerBase, report: Report) -> Prepared:
    """Tokenise the dataset. Raises DatasetError or JobError."""
    encoding = encoding_of(spec, tokenizer, report)
    samples = encoding.samples.cut(spec.training.max_length)
    _, count = split_sizes(len(samples), spec.dataset.eval_fraction)
    held = held_back(encoding.keys, count, spec.training.seed)
    train = samples.take([place for place in range(len(samples)) if place not in held])
    evaluation = samples.take(sorted(held))
    train = without_idle(train, "samples", report)
    must_have_some(train, encoding.meta.rows_read)
    return Prepared(train=train, evaluation=without_idle(evaluation, "held-back samples", report))
