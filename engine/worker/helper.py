"""``python -m engine tokenise``: makes tokens for a worker, and lives no longer than it.

It imports no torch. It ends when its stdin does, whatever it is at, so that a worker that is killed
leaves nobody behind.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import threading
from typing import BinaryIO, NoReturn

import msgspec

from engine.formats.example import DatasetError
from engine.worker import quick_transformers
from engine.worker.stdio import claim

log = logging.getLogger(__name__)


def main() -> NoReturn:
    """The whole life of a helper. It never ends by itself."""
    channel = claim()
    # What a terminal sends to all its processes is the worker's to decide on.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.basicConfig()
    frames: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    with (
        os.fdopen(channel.commands, "rb") as commands,
        os.fdopen(channel.messages, "wb") as messages,
    ):
        threading.Thread(target=_read, args=(commands, frames), daemon=True).start()
        try:
            _serve(frames, messages)
        except OSError:  # The worker has gone.
            os._exit(0)


def _read(commands: BinaryIO, frames: queue.SimpleQueue[bytes]) -> NoReturn:
    from engine.worker.crew_wire import read_frame

    while (frame := read_frame(commands)) is not None:
        frames.put(frame)
    os._exit(0)


def _serve(frames: queue.SimpleQueue[bytes], messages: BinaryIO) -> NoReturn:
    quick_transformers.install()
    from engine.worker.crew_wire import Answer, SentUnit, Task, write_frame
    from engine.worker.row_encoder import RowEncoder
    from engine.worker.word_tokens import WordsDiffer

    task = msgspec.msgpack.decode(frames.get(), type=Task)
    encoder = RowEncoder(
        task.tokenizer, task.dataset.opened(), task.seed, task.loss_on, repairs=task.repairs
    )
    units = msgspec.msgpack.Decoder(SentUnit)
    while True:
        sent = units.decode(frames.get())
        try:
            answer = Answer(part=encoder.part(sent.unit, shows=sent.shows))
        except DatasetError as error:
            answer = Answer(wrong=[error.problem, error.remedy, error.field])
        except WordsDiffer:
            answer = Answer(words_differ=True)
        except Exception as error:  # The outermost handler: the worker says what it means.
            log.exception("A run of rows failed")
            answer = Answer(crash=f"{type(error).__name__}: {error}")
        write_frame(messages, answer)
