"""Processes that make tokens beside the worker, each a run of rows at a time.

Why processes: the library's own threads make tokens of a batch on all cores, but the template, the
reading and the arrays are Python, a fifth to a half of the time, and would keep a second core busy
at most. Nothing is forked, so nothing of a tokenizer's threads is in the way, and it is the same on
Windows.
"""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

import msgspec

import engine
from engine.formats.example import DatasetError
from engine.formats.reading import Unit
from engine.planning.look import free_ram_bytes
from engine.worker.crew_wire import Answer, SentUnit, Task, read_frame, write_frame
from engine.worker.failures import JobError
from engine.worker.part import Part
from engine.worker.report import Report
from engine.worker.word_tokens import WordsDiffer

ALONE_SECONDS = 3.0
"""A helper takes a second or two to start: what is done sooner is done without any."""
COMMAND = [sys.executable, "-m", "engine", "tokenise"]
_NO_WINDOW = 0x08000000 if sys.platform == "win32" else 0
_MOST = 16
_HELPER_BYTES = 400 << 20
"""Of RAM that a helper may come to, and of which twice as much has to be free."""
_LOOK_SECONDS = 0.1
_ENDING_SECONDS = 1.0
_ENVIRONMENT = {"TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"}


def most_helpers() -> int:
    """One a core, as far as there is RAM for them; fewer than two are none."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    found = min(cores, _MOST, free_ram_bytes() // (2 * _HELPER_BYTES))
    return found if found > 1 else 0


class _Helper:
    """One process, and the thread that speaks with it."""

    def __init__(
        self, task: bytes, todo: queue.Queue[tuple[int, SentUnit] | None],
        done: queue.SimpleQueue[tuple[int, Answer | None]],
    ) -> None:  # fmt: skip
        self._todo, self._done, self._task = todo, done, task
        root = str(Path(engine.__file__).parents[1])
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        self.process = subprocess.Popen(
            COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**os.environ, **_ENVIRONMENT, "PYTHONPATH": path},
            creationflags=_NO_WINDOW,
        )  # fmt: skip
        self._thread = threading.Thread(target=self._speak, name="crew", daemon=True)
        self._thread.start()

    def _speak(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        answers = msgspec.msgpack.Decoder(Answer)
        is_wanted = True
        try:
            write_frame(self.process.stdin, msgspec.Raw(self._task))
            while is_wanted:
                if (sent := self._todo.get()) is None:
                    is_wanted = False
                    continue
                number, unit = sent
                write_frame(self.process.stdin, unit)
                frame = read_frame(self.process.stdout)
                if frame is None:
                    break
                self._done.put((number, answers.decode(frame)))
        except OSError:  # It has closed its end.
            pass
        finally:
            # Whatever it was: who waits for an answer is told that none will come.
            if is_wanted:
                with contextlib.suppress(subprocess.TimeoutExpired):  # So that its code is known.
                    self.process.wait(_ENDING_SECONDS)
                self._done.put((-1, None))

    def end(self) -> None:
        """At once; whatever it was making is lost."""
        self.process.kill()
        self.process.wait()
        self._thread.join()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):  # What was not yet written has nobody to go to.
                pipe.close()


class Crew:
    """Helpers for one dataset."""

    def __init__(self, task: Task, count: int, report: Report) -> None:
        self._report = report
        self._todo: queue.Queue[tuple[int, SentUnit] | None] = queue.Queue()
        self._done: queue.SimpleQueue[tuple[int, Answer | None]] = queue.SimpleQueue()
        self._answers: dict[int, Answer] = {}
        encoded = msgspec.msgpack.encode(task)
        self._helpers: list[_Helper] = []
        try:
            for _ in range(count):
                self._helpers.append(_Helper(encoded, self._todo, self._done))
        except BaseException:
            self._end()
            raise

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._end()

    def _end(self) -> None:
        for helper in self._helpers:
            self._todo.put(None)
            helper.process.kill()
        for helper in self._helpers:
            helper.end()

    def parts(
        self, units: Iterator[Unit], shows: Callable[[], bool], alone: Callable[[Unit], Part]
    ) -> Iterator[tuple[Part, Unit]]:
        """What becomes of each unit, in order, and the unit. Should a helper be lost, ``alone``
        makes what is left. Raises DatasetError for the first that is wrong, Halted, JobError,
        WordsDiffer."""
        waiting: deque[tuple[int, Unit]] = deque()
        number = 0
        failure: DatasetError | None = None
        while True:
            try:
                while failure is None and len(waiting) < 2 * len(self._helpers):
                    unit = next(units)
                    self._todo.put((number, SentUnit.of(unit, shows=shows())))
                    waiting.append((number, unit))
                    number += 1
            except StopIteration:
                units = iter(())
            except DatasetError as error:  # Of rows that come after those that are under way.
                failure = error
            if not waiting:
                break
            part = self._part(waiting[0][0])
            if part is None:
                self._tell_lost()
                self._end()
                yield from ((alone(unit), unit) for _, unit in waiting)
                break
            yield part, waiting.popleft()[1]
        if failure is not None:
            raise failure
        yield from ((alone(unit), unit) for unit in units)

    def _part(self, number: int) -> Part | None:
        """None if a helper is lost."""
        while number not in self._answers:
            try:
                found, answer = self._done.get(timeout=_LOOK_SECONDS)
            except queue.Empty:
                self._report.raise_if_ending()
                continue
            if answer is None:
                return None
            self._answers[found] = answer
        answer = self._answers.pop(number)
        if answer.wrong:
            problem, remedy, field = answer.wrong
            raise DatasetError(problem, remedy, field)
        if answer.words_differ:
            raise WordsDiffer
        if answer.part is None:
            raise JobError(
                "helper_failed", "The tokens cannot be made.", cause=answer.crash,
                remedy="With safe_mode = \"on\" they are made without helpers.",
            )  # fmt: skip
        return answer.part

    def _tell_lost(self) -> None:
        codes = [code for h in self._helpers if (code := h.process.poll()) is not None]
        cause = f"It ended with code {codes[0]}" if codes else "It no longer answers"
        self._report.found(
            "helper_lost", "A process that made tokens was lost; the rest is made without.",
            cause=f"{cause}, most often because RAM ran out.",
            remedy="It takes longer, and nothing else changes.",
        )  # fmt: skip
