"""Work that may take long or for ever, kept out of the event loop.

A driver in trouble or a network drive that is gone can hold a call for minutes. Such calls get a
daemon thread each, so that neither the loop nor the end of the process waits for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")
_ONGOING: set[asyncio.Future[Any]] = set()
"""The event loop itself does not hold on to what it runs."""


async def apart(work: Callable[..., T], *arguments: object, timeout_s: float = 60.0) -> T:
    """The result of ``work(*arguments)``, done in a thread of its own.

    Raises what it raises, and ``TimeoutError``; the thread is then left to itself.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if answer.done():
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, failure = None, None
        try:
            result = work(*arguments)
        except Exception as error:  # noqa: BLE001
            # Any work may be handed in here. Nothing is swallowed: whoever waits gets it raised,
            # and with less than all of it a mistake would look like a call that hangs.
            failure = error
        # The loop may have ended meanwhile.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, name=work.__name__, daemon=True).start()
    return await asyncio.wait_for(answer, timeout_s)


async def to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """The result of ``work``, which goes on if nobody waits for it any more."""
    task = asyncio.ensure_future(work)
    _ONGOING.add(task)
    task.add_done_callback(_forget)
    return await asyncio.shield(task)


def _forget(task: asyncio.Future[Any]) -> None:
    _ONGOING.discard(task)
    # Who waits for it gets it raised; nobody may.
    if not task.cancelled() and task.exception():
        log.debug("%s", task.exception())


def begin(work: Callable[..., None], *arguments: object) -> None:
    """Do something for whose end nobody waits."""
    threading.Thread(target=work, args=arguments, name=work.__name__, daemon=True).start()
