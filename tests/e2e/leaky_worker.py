"""The real worker with a job that says every token it can find, in every way there is.

The host takes it with ``FETTLE_WORKER_COMMAND``; it loads no torch.
"""

from __future__ import annotations

import logging
import os
import sys
import time
import warnings
from pathlib import Path
from typing import NoReturn

from engine.contract.messages import Done, Job, Ready
from engine.worker import main as worker
from engine.worker.failures import JobError
from engine.worker.report import Report


def run(job: Job, report: Report) -> Done:
    """Say it, print it, log it, warn of it, and fail with it."""
    told = " ".join([os.environ["HF_TOKEN"], Path(os.environ["HF_HOME"], "token").read_text()])
    print(f"login with {told}")
    sys.stderr.write(f"GET https://x:{os.environ['HF_TOKEN']}@huggingface.co\n")
    logging.getLogger("some.library").warning("Authorization: Bearer %s", told)
    warnings.warn(f"token {told}", stacklevel=1)
    report.decided(f"Logged in with {told}", told, told)
    report.found("login", f"Logged in with {told}", detail=told)
    try:
        raise OSError(f"401 for {told}")
    except OSError as error:
        _fail(told, error)


def _fail(told: str, error: Exception) -> NoReturn:
    if os.environ.get("LEAK") == "own words":
        raise JobError("missing_model", told, cause=told, remedy=told) from error
    raise RuntimeError(f"it did not work with {told}") from error


if __name__ == "__main__":
    worker.JOBS["train"] = __spec__.name if __spec__ else "tests.e2e.leaky_worker"
    worker._ready = lambda: Ready(pid=os.getpid(), import_seconds=time.process_time())
    sys.exit(worker.main())
