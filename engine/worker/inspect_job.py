"""The job ``inspect``: the dataset of a spec as its run will see it. The worker stays."""

from __future__ import annotations

import importlib

from engine.contract.lifecycle import Phase
from engine.contract.messages import Complaint, Inspected, Job
from engine.formats.example import DatasetError
from engine.planning import chat_templates
from engine.planning.model_config import config_of
from engine.planning.model_folder import Problem
from engine.worker import template_check, templates
from engine.worker.encoding import encoding_of
from engine.worker.failures import JobError
from engine.worker.inspection import Look, report_of
from engine.worker.loading import load_tokenizer
from engine.worker.prepared import Prepared
from engine.worker.report import Report
from engine.worker.train_job import read_spec


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
        odd = template_check.findings(spec, tokenizer)
    except DatasetError as error:
        return Inspected(run=job.run, complaint=error.complaint)
    method = importlib.import_module(f"engine.methods.{spec.method}.train")
    prepared: Prepared | None = None
    nothing: JobError | None = None
    try:
        # The very samples of the run, by the very same way.
        prepared = method.prepare(spec, tokenizer, report, encoding)
    except JobError as error:
        nothing = error
    sizes = _sizes(spec.model.path, spec.model.revision)
    look = Look(
        spec=spec, encoding=encoding, prepared=prepared, nothing=nothing,
        template=odd, vocabulary=sizes.get("vocab_size"),
        context=sizes.get("max_position_embeddings"),
    )  # fmt: skip
    return Inspected(run=job.run, report=report_of(look))


def _sizes(path: str, revision: str | None) -> dict[str, int]:
    """What the model's config says of its size; nothing where it is only on the hub."""
    try:
        found = config_of(path, revision)
    except Problem:
        return {}
    config = found[0] if found else {}
    parts = {**(config.get("text_config") or {}), **config}
    return {name: size for name, size in parts.items() if isinstance(size, int)}
