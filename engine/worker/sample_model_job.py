"""The job ``sample_model``: writes a tiny model for demos and tests."""

from __future__ import annotations

import time
from pathlib import Path

from engine.contract.messages import Done, Job
from engine.worker.report import Report
from engine.worker.sample_model import write_sample_model


def run(job: Job, report: Report) -> Done:
    """Write it to ``folder`` of the job's spec, or of the job."""
    folder = Path(job.spec.get("folder") or job.folder)
    family, seed = str(job.spec.get("family", "llama")), int(job.spec.get("seed", 0))
    write_sample_model(folder, family=family, seed=seed)
    return Done(at=time.time(), outcome="finished", step=0, folder=str(folder), output=str(folder))
