"""Supervised fine-tuning with TRL: the loss counts only what the assistant says."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase
from trl import SFTTrainer

from engine.contract.spec import Spec
from engine.formats.dataset import split_sizes
from engine.worker.bridge import Bridge
from engine.worker.encoding import Encoding, encoding_of
from engine.worker.mixture import shares, tell_shares, weighed
from engine.worker.preflight import (
    must_have_answers,
    tell_copies,
    tell_same_answers,
    tell_suspects,
)
from engine.worker.prepared import Prepared, must_have_some, without_idle
from engine.worker.report import Report
from engine.worker.samples import held_back


class Trainer(Bridge, SFTTrainer):  # type: ignore[misc]
    """TRL's trainer behind the bridge."""


def prepare(
    spec: Spec, tokenizer: PreTrainedTokenizerBase, report: Report,
    encoding: Encoding | None = None,
) -> Prepared:  # fmt: skip
    """Tokenise the dataset, if that is not done. Raises DatasetError or JobError."""
    encoding = encoding or encoding_of(spec, tokenizer, report)
    must_have_answers(spec, encoding)
    tell_copies(encoding, report)
    tell_suspects(encoding, report)
    samples = encoding.samples.cut(spec.training.max_length)
    _, count = split_sizes(len(samples), spec.dataset.eval_fraction)
    train, evaluation = samples.parted(held_back(encoding.hashes, count))
    train = weighed(spec, encoding, train)
    sources = shares(spec, encoding, train)
    tell_shares(sources, report)
    train = without_idle(train, "samples", report, encoding.files)
    must_have_some(train, encoding.meta)
    tell_same_answers(encoding, report)
    evaluation = without_idle(evaluation, "held-back samples", report, encoding.files)
    return Prepared(train=train, evaluation=evaluation, sources=sources)
