"""When to save, and saving."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import torch

from engine.contract.lifecycle import Phase
from engine.contract.spec import Spec
from engine.failpoints import reach
from engine.store.rotation import EVAL_LOSS
from engine.worker import state_files
from engine.worker.circumstances import circumstances
from engine.worker.numeric_guard import refuse_poisoned
from engine.worker.optimizer_state import bare
from engine.worker.publisher import Draft, Files, Publisher, Reason
from engine.worker.report import Report
from engine.worker.save_timing import Cost, interval_seconds, may_wait
from engine.worker.snapshot import Content, HostMemory, bytes_of, unhurried
from engine.worker.state_files import Position
from engine.worker.writer import Writer

LAST: frozenset[Reason | None] = frozenset({"stop", "host_lost", "signal"})
"""After a save for one of these the run ends."""


class Scores(msgspec.Struct, frozen=True, kw_only=True):
    """Losses on the held-back rows; None before the first evaluation."""

    best_eval_loss: float | None = None
    eval_loss: float | None = None
    """The newest."""


NO_SCORES = Scores()


class Saver:
    """Saves one run; see :class:`engine.worker.publisher.Publisher` for what becomes of a save.

    Between two steps nothing is copied: that is done beside the next step, until it is about to
    change what is copied (:meth:`settle`). What is due while the disk is busy waits, and one save
    at a later step serves all that has waited.
    """

    def __init__(
        self, run_folder: Path, spec: Spec, report: Report, *, data: str, versions: dict[str, str],
        resumed_step: int = 0, may_pin: bool = False,
    ) -> None:  # fmt: skip
        self._training = spec.training
        self._report = report
        self.data = data
        """Digest of the training data."""
        self.beside: Callable[[Any, Position, bool], Mapping[str, bytes]] = _nothing
        """What is to go into each checkpoint beside the state, by file name; asked with whether the
        run ends with it."""
        self._publisher = Publisher(
            run_folder, report, keep=spec.training.save_total_limit, resumed_step=resumed_step,
            fields={
                "spec": fingerprint(spec), "data": data, "versions": versions, "kind": spec.kind
            },
        )  # fmt: skip
        self._memory = HostMemory(may_pin=may_pin)
        self._writer = Writer(self._on_waiting)
        self._draft: Draft | None = None
        """The newest save."""
        self._pieces = 0
        """Of it, when training last looked."""
        self._began = self._saved_at = self._stepped_at = time.monotonic()
        self._step_seconds = 0.0
        self._waited_seconds = 0.0
        self._owed: Reason | None = None
        """What waits until the disk is done."""
        self._begun_step = resumed_step
        """Of the newest save that is written or being written."""
        self._is_delay_told = False

    @property
    def saved_step(self) -> int:
        """Of the newest save on the disk, 0 without any."""
        return self._publisher.saved_step

    @property
    def cost(self) -> Cost:
        """Of the newest save; what it has not come to yet is that of the one before."""
        draft = self._draft
        if draft is None:
            return Cost()
        return Cost(
            stall_seconds=draft.stall_seconds, write_seconds=draft.write_seconds, bytes=draft.bytes
        )

    # ------------------------------------------------------------ when

    def due(self, step: int) -> Reason | None:
        """Why to save after this step; None if there is no reason, or the disk is still busy."""
        now = time.monotonic()
        self._step_seconds, self._stepped_at = now - self._stepped_at, now
        wishes = self._report.wishes
        if wishes.ending:
            return wishes.reason  # type: ignore[return-value]
        wanted = self._wanted(step, now)
        # Whoever asked is owed an answer, whatever else is due by then.
        self._owed = self._owed if self._owed == "asked" else wanted or self._owed
        if self._owed is None or (self._writer.is_busy and not self._may_wait(now)):
            return None
        reason, self._owed = self._owed, None
        return reason

    def _wanted(self, step: int, now: float) -> Reason | None:
        wishes = self._report.wishes
        if wishes.save.is_set():
            wishes.save.clear()
            return "asked"
        if self._training.save_steps and step % self._training.save_steps == 0:
            return "steps"
        limit = 60 * self._training.save_minutes
        if limit and now - self._saved_at >= interval_seconds(limit, self.cost, self._step_seconds):
            return "time"
        return None

    def _may_wait(self, now: float) -> bool:
        """Whether training stands still until the disk is done, so that the save comes at the step
        that it was asked for."""
        if self._owed == "time":
            return False
        if may_wait(self._waited_seconds, now - self._began):
            return True
        if self._owed == "steps" and not self._is_delay_told:
            self._is_delay_told = True
            self._report.decided(
                f"Saves come later than every {self._training.save_steps} steps.",
                f"Writing one takes {self.cost.write_seconds:.1f} s, longer than these steps.",
                "Each holds the newest step there is when the one before is on the disk.",
            )
        return False

    # ------------------------------------------------------------ saving

    def save(
        self, trainer: Any, position: Position, reason: Reason, scores: Scores = NO_SCORES
    ) -> None:
        """Copy the state, and begin to write it; with a reason to end, see it on the disk. One that
        is being written already serves, unless it fails and this is the last. Raises
        :class:`NanLoss` for weights that are no numbers."""
        began = time.monotonic()
        is_last = reason in LAST or reason == "end"
        with self._shown():
            if is_last and position.step == self._begun_step:
                self._wait()
            if position.step == self._begun_step:
                return
            self._waited_seconds += self._wait()
            self._begin(trainer, position, reason, scores, began)
            if is_last:
                self._wait()

    def settle(self) -> float:
        """What a save copies is about to change: wait until it is copied; gives the seconds.
        Raises :class:`NanLoss` if there are weights among it that are no numbers."""
        with self._shown() if self._writer.is_copying else contextlib.nullcontext():
            waited = self._writer.settle()
        if self._draft is not None:
            self._draft.stall_seconds += waited
        return waited

    def close(self) -> None:
        """Wait until nothing is being written."""
        self._writer.close()

    def _wait(self) -> float:
        return self.settle() + self._writer.wait()

    @contextlib.contextmanager
    def _shown(self) -> Iterator[None]:
        """Whoever watches knows that this is no step, and what is got done of it."""
        before = self._report.phase
        self._report.show(Phase.SAVING)
        try:
            yield
        finally:
            self._report.show(before)

    def _on_waiting(self) -> None:
        if self._draft is not None and self._draft.pieces != self._pieces:
            self._pieces = self._draft.pieces
            self._report.moved()

    def _begin(
        self, trainer: Any, position: Position, reason: Reason, scores: Scores, began: float
    ) -> None:
        reach("save.snapshot")
        files = state_files.collect(
            trainer, position, data=self.data, best_eval_loss=scores.best_eval_loss
        )
        files |= self.beside(trainer, position, reason in LAST)
        if torch.cuda.is_available():
            # Nothing that is copied may still be under way.
            torch.cuda.synchronize()
        draft = Draft(
            position=position, reason=reason, began=began, bytes=bytes_of(files),
            fields={**circumstances(), EVAL_LOSS: scores.eval_loss},
            write_seconds=self.cost.write_seconds,
        )  # fmt: skip
        self._draft, self._begun_step = draft, position.step
        if self._memory.reserve(files):
            self._begin_beside(trainer, files, draft)
        else:
            refuse_poisoned(trainer, position.step)
            draft.is_waited_for = True
            self._write(draft, lambda: unhurried(files))
        self._saved_at = time.monotonic()

    def _begin_beside(self, trainer: Any, files: Mapping[str, Content], draft: Draft) -> None:
        self._writer.begin(
            partial(self._copy, trainer, files, draft.position.step), partial(self._write, draft)
        )
        draft.stall_seconds = time.monotonic() - draft.began
        if getattr(bare(trainer.optimizer), "is_paged", False):
            # The card uses its memory too, and not every system lets both do so at once.
            self.settle()

    # ------------------------------------------------------------ in threads

    def _copy(self, trainer: Any, files: Mapping[str, Content], step: int) -> Files:
        reach("save.copy")
        with self._memory.beside(files):
            refuse_poisoned(trainer, step)
            return self._memory.copy(files)

    def _write(self, draft: Draft, files: Callable[[], Files]) -> None:
        if not self._publisher.write(draft, files):
            self._begun_step = self._publisher.saved_step


def _nothing(trainer: Any, position: Position, is_last: bool) -> dict[str, bytes]:
    return {}


def fingerprint(spec: Spec) -> str:
    """sha256 of everything in the spec that decides the result."""
    training = msgspec.structs.replace(
        spec.training, save_minutes=0.0, save_steps=0, save_total_limit=2, eval_steps=0
    )
    told = msgspec.structs.replace(spec, name="-", training=training)
    return hashlib.sha256(msgspec.json.encode(told, order="sorted")).hexdigest()
