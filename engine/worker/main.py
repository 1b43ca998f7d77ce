"""A worker process: claims its pipes, imports, says Ready, traces models and inspects data as long
as it is asked to, does one job, says Done, ends."""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import importlib
import logging
import mmap
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from engine import failpoints
from engine.contract.messages import (
    Complaint,
    Done,
    Inspected,
    Job,
    Message,
    Ready,
    TemplateTried,
    Traced,
)
from engine.own_secrets import MaskedFormatter
from engine.planning.facts import installed
from engine.planning.profiles import CUBLAS_CONFIG
from engine.store.staging import SAVING_SECONDS, is_saving
from engine.worker import quick_transformers
from engine.worker.evidence import gather, size_of, step_of
from engine.worker.failures import Failure, explain
from engine.worker.inbox import Inbox
from engine.worker.late_bitsandbytes import import_peft
from engine.worker.outbox import Outbox
from engine.worker.report import Halted, Report
from engine.worker.stacks import leave_stacks_when_asked
from engine.worker.stdio import claim, log_to, mask_prints

log = logging.getLogger(__name__)

JOBS = {
    "train": "engine.worker.train_job",
    "generate": "engine.worker.generate",
    "sample_model": "engine.worker.sample_model_job",
    "rehearse": "engine.worker.rehearse_job",
}
"""Module with ``run(job, report) -> Done`` of each kind."""
LEAVE_WITHIN_SECONDS = 120.0
"""After the host is gone, a worker that reaches no step boundary in this time ends regardless."""

_ENVIRONMENT = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
    "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    "CUBLAS_WORKSPACE_CONFIG": CUBLAS_CONFIG,
}


_RESERVE_BYTES = 48 << 20
_RESERVE: list[mmap.mmap] = []
"""Memory that is promised and never touched, so that it costs nothing; see :func:`_let_go`."""


def main() -> int:
    """The whole life of a worker; gives the exit code: 2 for failpoints that make no sense, else 0.
    A failed job is told in its Done."""
    channel = claim()
    try:
        failpoints.arm()
    except ValueError as error:
        sys.stderr.write(f"The worker cannot start. {error}\n")
        return 2
    prepare_environment()
    mask_prints()
    _set_up_log()
    faulthandler.enable()
    outbox, inbox = Outbox(channel.messages), Inbox(channel.commands)
    inbox.start()
    outbox.start()
    try:
        outbox.send(_ready())
        while (job := inbox.job()) and job.kind in STAYING:
            outbox.send(STAYING[job.kind](job, Report(outbox, inbox.wishes, run=job.run)))
        if job is not None:
            _do(job, outbox, inbox)
    finally:
        outbox.close()
    return 0


def prepare_environment() -> None:
    """What has to be settled before torch and the libraries of the hub are imported or used."""
    os.environ.update(_ENVIRONMENT)


class _OnlyOnce(logging.Filter):
    """Lets a warning of a library through once: bitsandbytes has one for every multiplication."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: set[tuple[str, int]] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        place = (record.pathname, record.lineno)
        is_new = place not in self._seen
        self._seen.add(place)
        return is_new or record.name.startswith("engine.")


def _set_up_log() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(MaskedFormatter("%(asctime)s %(name)s: %(message)s"))
    handler.addFilter(_OnlyOnce())
    logging.basicConfig(handlers=[handler])


def _ready() -> Ready:
    began = time.perf_counter()
    # A broken install shows when the job runs, as a finding.
    try:
        import_libraries()
    except (ImportError, OSError):
        # OSError: on Windows, a library whose parts are not all there.
        log.exception("Not all that training needs can be imported")
    return Ready(pid=os.getpid(), import_seconds=time.perf_counter() - began, versions=installed())


def import_libraries() -> None:
    """Import what every job needs. Raises ImportError and OSError.

    Nothing of that is garbage: the collector does not look through it, neither now nor in training
    nor when the process ends, which saves a third of the CPU time of an idle worker's life.
    """
    quick_transformers.install()
    with _collecting_nothing():
        import_peft()
        importlib.import_module("engine.worker.train_job")
        importlib.import_module("engine.worker.trace_job")
        gc.freeze()


@contextlib.contextmanager
def _collecting_nothing() -> Iterator[None]:
    """While so much is made that the collector would look through it again and again."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _trace(job: Job, report: Report) -> Traced:
    """What a trace came to. Nothing of it is left in this process but imported modules."""
    try:
        with _collecting_nothing():
            traced: Traced = _import("engine.worker.trace_job").answer(job)
        return traced
    except Exception as error:  # As below: whatever happens, the host hears of it.
        log.exception("The model cannot be traced")
        failure = explain(error)
        return Traced(problem=f"{failure.title} {failure.cause} {failure.remedy}".strip())


def _inspect(job: Job, report: Report) -> Inspected:
    """What a dataset looks like. Nothing of it is left in this process."""
    try:
        inspected: Inspected = _import("engine.worker.inspect_job").answer(job, report)
        return inspected
    except Exception as error:  # As below.
        log.exception("The dataset cannot be inspected")
        failure = explain(error)
        remedy = f"{failure.cause} {failure.remedy}".strip()
        return Inspected(
            run=job.run,
            complaint=Complaint(field="dataset.path", problem=failure.title, remedy=remedy),
        )


def _try_template(job: Job, report: Report) -> TemplateTried:
    """What a chat template makes of a row."""
    try:
        tried: TemplateTried = _import("engine.worker.template_job").answer(job)
        return tried
    except Exception as error:  # As below.
        log.exception("The chat template cannot be tried")
        failure = explain(error)
        return TemplateTried(problem=f"{failure.title} {failure.cause} {failure.remedy}".strip())


STAYING: dict[str, Callable[[Job, Report], Message]] = {
    "trace": _trace, "inspect": _inspect, "template": _try_template,
}  # fmt: skip
"""Kinds of jobs after which the worker takes another one."""


def _do(job: Job, outbox: Outbox, inbox: Inbox) -> None:
    log_start = size_of(job.log)
    if job.log:
        log_to(Path(job.log))
    _leave_when_host_is_lost(job, outbox, inbox)
    _put_memory_by()
    if job.kind == "train":
        leave_stacks_when_asked(Path(job.folder))
    report = Report(outbox, inbox.wishes, run=job.run, attempt=job.attempt)
    report.send(_attempt(job, report, log_start))
    if inbox.wishes.host_lost.is_set() and job.kind == "train":
        outbox.leave_orphan(Path(job.folder))


def _attempt(job: Job, report: Report, log_start: int) -> Done:
    """The outermost handler: whatever happens, there is a Done."""
    try:
        done: Done = _import(JOBS[job.kind]).run(job, report)
        return done
    except Halted:
        return _halted(job)
    except Exception as error:
        log.exception("The job failed")
        _let_go(error)
        return _failed(job, report, explain(error, gather(job, report, log_start)))


def _put_memory_by() -> None:
    # Where there is not even that much, the job says so by itself.
    with contextlib.suppress(OSError, MemoryError):
        _RESERVE.append(mmap.mmap(-1, _RESERVE_BYTES))


def _let_go(error: BaseException | None) -> None:
    """Give back what the frames of an exception hold, and what was put by for this moment.

    Where memory ran out there must be some again to say so: a thread that cannot get any dies
    before it begins, and Python waits for ever for its first breath.
    """
    while _RESERVE:
        _RESERVE.pop().close()
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
    gc.collect()


def _import(name: str) -> Any:
    """The module. Raises ImportError, also where a library that it needs cannot be loaded."""
    try:
        return importlib.import_module(name)
    except OSError as error:
        raise ImportError(str(error)) from error


def _halted(job: Job) -> Done:
    sentence = "Stopped before the first step; there was nothing to save."
    if step := step_of(job):
        sentence = f"Stopped before it went on; the save of step {step} stands."
    return Done(at=time.time(), outcome="stopped", step=step, folder=job.folder, sentence=sentence)


def _failed(job: Job, report: Report, failure: Failure) -> Done:
    step = report.step or step_of(job)
    fields: dict[str, Any] = msgspec.structs.asdict(failure)
    report.found(fields.pop("code"), fields.pop("title"), severity="error", step=step or None,
                 **fields)  # fmt: skip
    return Done(
        at=time.time(), outcome="failed", step=step, folder=job.folder, sentence=failure.title
    )


def _leave_when_host_is_lost(job: Job, outbox: Outbox, inbox: Inbox) -> None:
    """Do not outlive the host for ever, whatever the job is stuck in."""

    def watch() -> None:
        inbox.wishes.host_lost.wait()
        time.sleep(LEAVE_WITHIN_SECONDS)
        give_up_at = time.monotonic() + SAVING_SECONDS
        while time.monotonic() < give_up_at and is_saving(Path(job.folder), os.getpid()):
            time.sleep(1.0)
        if job.kind == "train":
            outbox.leave_orphan(Path(job.folder))
        os._exit(3)

    threading.Thread(target=watch, name="host-watch", daemon=True).start()
