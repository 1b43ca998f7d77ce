"""The job ``inspect``: the dataset of a spec as its run will see it. The worker stays."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import msgspec
from transformers import PreTrainedTokenizerBase

from engine.contract.dataset_fixes import FIELD
from engine.contract.dataset_report import NAMED_ROWS, RowFinding
from engine.contract.lifecycle import Phase
from engine.contract.messages import Complaint, Inspected, Job
from engine.contract.spec import ModelSpec, Spec
from engine.formats.example import DatasetError
from engine.planning import chat_templates
from engine.planning.model_config import config_of
from engine.planning.model_folder import Problem
from engine.worker import template_check, templates
from engine.worker.by_sample import would_attend_by_sample
from engine.worker.embedding_file import stored_rows
from engine.worker.encoding import Encoding, encoding_of
from engine.worker.failures import JobError
from engine.worker.inspection import Look, report_of
from engine.worker.loading import load_tokenizer
from engine.worker.origins import lines_of
from engine.worker.prepared import Prepared
from engine.worker.report import Report
from engine.worker.train_job import read_spec
from engine.worker.untrained_tokens import Unlearnt, unlearnt


def answer(job: Job, report: Report) -> Inspected:
    """Tokenise what the job's spec names, and look it over. Raises what is wrong with the model."""
    spec = read_spec(job.spec)
    report.phase = Phase.TOKENISING
    tokenizer = load_tokenizer(spec.model)
    try:
        templates.dress(tokenizer, spec)
    except JobError as error:
        told = Complaint(field=chat_templates.FIELD, problem=error.cause, remedy=error.remedy)
        return Inspected(run=job.run, complaint=told)
    try:
        encoding = encoding_of(spec, tokenizer, report)
        odd = template_check.findings(spec, tokenizer, encoding.entries)
    except DatasetError as error:
        return Inspected(run=job.run, complaint=error.complaint)
    except JobError as error:
        if not spec.dataset.fixes:
            raise
        told = Complaint(field=FIELD, problem=error.title, remedy=f"{error.cause} {error.remedy}")
        return Inspected(run=job.run, complaint=told)
    found = report_of(_look(spec, tokenizer, report, encoding, odd), report)
    lines = lines_of(encoding.folder, _named(found.findings))
    return Inspected(run=job.run, report=msgspec.structs.replace(found, lines=lines))


def _look(
    spec: Spec, tokenizer: PreTrainedTokenizerBase, report: Report, encoding: Encoding,
    odd: list[RowFinding],
) -> Look:  # fmt: skip
    """What it is judged by; ``odd`` is what is odd about its template."""
    method = importlib.import_module(f"engine.methods.{spec.method}.train")
    prepared: Prepared | None = None
    nothing: JobError | None = None
    try:
        # The very samples of the run, by the very same way.
        prepared = method.prepare(spec, tokenizer, report, encoding)
    except JobError as error:
        nothing = error
    strange, nothing = _strange(spec, tokenizer, encoding, nothing)
    sizes = _sizes(spec.model)
    return Look(
        spec=spec, encoding=encoding, prepared=prepared, nothing=nothing,
        unlearnt=strange, template=odd, vocabulary=sizes.get("vocab_size"),
        context=sizes.get("max_position_embeddings"),
        by_sample=_attends_by_sample(spec),
    )  # fmt: skip


def _named(findings: Sequence[RowFinding]) -> list[int]:
    """Rows that are named to people."""
    named = {row for found in findings for row in found.rows[:NAMED_ROWS]}
    for found in findings:
        named.update(row for group in found.groups[:NAMED_ROWS] for row in group[:NAMED_ROWS])
    return sorted(named)


def _strange(
    spec: Spec, tokenizer: PreTrainedTokenizerBase, encoding: Encoding, nothing: JobError | None
) -> tuple[Unlearnt | None, JobError | None]:
    """Tokens that were never learnt, where the model's files are here; and what ends the run."""
    weight = stored_rows(spec.model)
    if weight is None:
        return None, nothing
    try:
        return unlearnt(spec, weight, tokenizer, encoding.samples), nothing
    except JobError as error:
        return None, nothing or error


def _attends_by_sample(spec: Spec) -> bool:
    """Whether the run's batches will have no padding."""
    config = _config(spec.model)
    if spec.method == "pretrain" or (spec.model.trust_remote_code and "auto_map" in config):
        return False
    return would_attend_by_sample(config, spec.model.attn_implementation)


def _sizes(model: ModelSpec) -> dict[str, int]:
    """What the model's config says of its size."""
    config = _config(model)
    parts = {**(config.get("text_config") or {}), **config}
    return {name: size for name, size in parts.items() if isinstance(size, int)}


def _config(model: ModelSpec) -> dict[str, Any]:
    """The model's config.json; nothing where it is only on the hub."""
    try:
        found = config_of(model.path, model.revision)
    except Problem:
        return {}
    return found[0] if found else {}
