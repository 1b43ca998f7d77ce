"""The job ``trace``: a form of a step's memory, without weights, data or card. The worker stays."""

from __future__ import annotations

from typing import Any

import msgspec
from transformers import AutoConfig

from engine.contract.messages import Job, Traced
from engine.contract.spec import ModelSpec
from engine.planning.model_config import layout_of
from engine.worker.failures import JobError
from engine.worker.loading import explained
from engine.worker.trace import CannotTrace, trace
from engine.worker.train_job import read_spec


def answer(job: Job) -> Traced:
    """Trace ``spec`` of the job's arguments for ``device`` and ``precision``; ``config`` is None
    where only the hub has it. Raises JobError, and whatever a model's code does on
    the meta device."""
    asked = job.spec
    spec = read_spec(asked["spec"])
    config = asked.get("config") or _from_hub(spec.model)
    layout = layout_of(spec, config, asked["device"], asked["precision"])
    try:
        form = trace(layout, longest=spec.training.max_length)
    except CannotTrace as error:
        raise JobError(
            "no_trace",
            "This model's memory cannot be traced.",
            cause=str(error),
            remedy="It may train all the same: `fettle rehearse` tries it.",
        ) from error
    return Traced(form=msgspec.to_builtins(form), config=config)


def _from_hub(model: ModelSpec) -> dict[str, Any]:
    """Only the config is downloaded. Raises JobError."""
    with explained(model.path):
        config = AutoConfig.from_pretrained(
            model.path, revision=model.revision, trust_remote_code=model.trust_remote_code
        )
    found: dict[str, Any] = config.to_dict()
    return found
