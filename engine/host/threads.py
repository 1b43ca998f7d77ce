"""Work that may take long or for ever, kept out of the event loop.

A driver in trouble or a network drive that is gone can hold a call for minutes. Such calls get a
daemon thread each, so that neither the loop nor the end of the process waits for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


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


def begin(work: Callable[..., None], *arguments: object) -> None:
    """Do something for whose end nobody waits."""
    threading.Thread(target=work, args=arguments, name=work.__name__, daemon=True).start()
