"""Workers that are lent for a job after which they can take another one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from engine.contract.spec import Spec
from engine.host.beside import Beside
from engine.host.pool import Pool
from engine.host.worker import Worker


@asynccontextmanager
async def lent(
    lender: Pool | Beside, spec: Spec, *, keep: Callable[[], bool]
) -> AsyncIterator[Worker]:
    """A worker, which is ended if the job is not brought to its end. Raises ``OSError``, and
    :class:`engine.host.connection.Refused` where there is no room for one beside a run."""
    worker = await lender.lend()
    is_done = False
    try:
        yield worker
        is_done = True
    finally:
        if not is_done:
            # It may still be at it.
            worker.kill()
        # One that ran the files of a model's makers is no place for the run of another model.
        is_clean = is_done and not spec.model.trust_remote_code
        await lender.give_back(worker, keep=lambda: is_clean and keep())
