"""When to save, and saving."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import msgspec
import torch

from engine.contract.lifecycle import Phase
from engine.contract.messages import CheckpointSaved
from engine.contract.spec import Spec
from engine.failpoints import reach
from engine.store.checkpoints import (
    CheckpointError,
    NoRoom,
    discard,
    publish,
    read_manifest,
    stage,
)
from engine.store.files import disk_sentence
from engine.store.rotation import EVAL_LOSS, KEPT_AT_LEAST, rotate
from engine.worker import state_files
from engine.worker.circumstances import circumstances
from engine.worker.numeric_guard import refuse_poisoned
from engine.worker.report import Report
from engine.worker.save_timing import Cost, interval_seconds, may_wait
from engine.worker.snapshot import HostMemory, bytes_of, unhurried
from engine.worker.state_files import Position
from engine.worker.tensor_files import Chunk
from engine.worker.writer import Writer

Reason = Literal["time", "steps", "asked", "stop", "end", "host_lost", "signal"]
LAST: frozenset[Reason | None] = frozenset({"stop", "host_lost", "signal"})
"""After a save for one of these the run ends."""

_SLACK_BYTES = 1 << 20
"""For headers, the manifest and what the file system takes for itself."""

_MAKE_ROOM = (
    "What takes room is mostly old runs (`fettle runs`, `fettle remove`) and models that were "
    "downloaded (~/.cache/huggingface)."
)

log = logging.getLogger(__name__)


class Scores(msgspec.Struct, frozen=True, kw_only=True):
    """Losses on the held-back rows; None before the first evaluation."""

    best_eval_loss: float | None = None
    eval_loss: float | None = None
    """The newest."""


NO_SCORES = Scores()


class _Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A save on its way to the disk."""

    files: dict[str, Iterable[Chunk]]
    position: Position
    reason: Reason
    began: float
    """Monotonic time, seconds."""
    bytes: int
    fields: dict[str, Any]


class Saver:
    """Writes checkpoints of one run; a save that fails costs nothing but itself.

    The state is copied while training stands still, and written by a thread while it goes on. What
    is due meanwhile waits, and one save at a later step serves all that has waited.
    """

    def __init__(
        self, run_folder: Path, spec: Spec, report: Report, *, data: str, versions: dict[str, str],
        resumed_step: int = 0, may_pin: bool = False,
    ) -> None:  # fmt: skip
        self._run_folder = run_folder
        self._training = spec.training
        self._report = report
        self.data = data
        """Digest of the training data."""
        self.beside: Callable[[Any, Position, bool], Mapping[str, bytes]] = _nothing
        """What is to go into each checkpoint beside the state, by file name; asked with whether the
        run ends with it."""
        self._fields: dict[str, Any] = {
            "spec": fingerprint(spec), "data": data, "versions": versions, "kind": spec.kind
        }  # fmt: skip
        self._memory = HostMemory(may_pin=may_pin)
        self._writer = Writer()
        self._began = self._saved_at = self._stepped_at = time.monotonic()
        self._step_seconds = 0.0
        self._waited_seconds = 0.0
        self._owed: Reason | None = None
        """What waits until the disk is done."""
        self._begun_step = resumed_step
        """Of the newest save that is written or being written."""
        self.cost = Cost()
        """Of the newest save."""
        self.saved_step = resumed_step
        """Of the newest save, 0 without any."""
        self._verified: set[int] = set()
        """Steps whose saves this worker has read back."""
        self._is_rotation_told = self._is_delay_told = self._is_failing = False

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
        if is_last and position.step == self._begun_step:
            self._wait()
        if position.step == self._begun_step:
            return
        refuse_poisoned(trainer, position.step)
        before = self._report.phase
        self._report.show(Phase.SAVING)
        try:
            self._waited_seconds += self._wait()
            self._begin(trainer, position, reason, scores, began)
            if is_last:
                self._wait()
        finally:
            self._report.show(before)

    def close(self) -> None:
        """Wait until nothing is being written."""
        self._writer.close()

    def _wait(self) -> float:
        return self._writer.wait()

    def _begin(
        self, trainer: Any, position: Position, reason: Reason, scores: Scores, began: float
    ) -> None:
        reach("save.snapshot")
        if torch.cuda.is_available():
            # Paged optimizer state is written by kernels that may still run.
            torch.cuda.synchronize()
        files = state_files.collect(
            trainer, position, data=self.data, best_eval_loss=scores.best_eval_loss
        )
        files |= self.beside(trainer, position, reason in LAST)
        needs = bytes_of(files)
        held = self._memory.hold(files)
        self._saved_at = time.monotonic()
        self._begun_step = position.step
        draft = _Draft(
            files=held or unhurried(files), position=position, reason=reason, began=began,
            bytes=needs, fields={**circumstances(), EVAL_LOSS: scores.eval_loss},
        )  # fmt: skip
        work = partial(self._write, draft)
        self.cost = msgspec.structs.replace(
            self.cost, stall_seconds=self._saved_at - began, bytes=needs
        )
        if held is not None:
            self._writer.begin(work)
            return
        # There is no RAM for a copy: training stands still until all is written.
        work()
        self.cost = Cost(stall_seconds=time.monotonic() - began, bytes=needs)

    # ------------------------------------------------------------ in the thread

    def _write(self, draft: _Draft) -> None:
        step = draft.position.step
        try:
            folder = self._publish(draft)
        except CheckpointError as error:
            self._begun_step = self.saved_step
            self._tell_failed(step, str(error), draft.reason)
            return
        seconds = time.monotonic() - draft.began
        self.cost = msgspec.structs.replace(
            self.cost, write_seconds=max(0.0, seconds - self.cost.stall_seconds)
        )
        self.saved_step = step
        self._verified.add(step)
        self._tell(folder, draft, seconds)
        self._rotate()

    def _publish(self, draft: _Draft) -> Path:
        position = draft.position
        staging = self._stage(position.step, draft.bytes + _SLACK_BYTES)
        try:
            hashes = state_files.write(staging, draft.files)
        except CheckpointError:
            discard(staging)
            raise
        fields = {
            **self._fields, **draft.fields, "cursor": position.cursor, "epoch": position.epoch
        }  # fmt: skip
        return publish(staging, step=position.step, fields=fields, hashes=hashes)

    def _stage(self, step: int, needs_bytes: int) -> Path:
        try:
            return stage(self._run_folder, step, needs_bytes=needs_bytes)
        except NoRoom:
            # Older saves beyond the last two are worth less than a new one.
            if not self._removed(KEPT_AT_LEAST):
                raise
            return stage(self._run_folder, step, needs_bytes=needs_bytes)

    def _removed(self, keep: int) -> list[int]:
        try:
            return rotate(self._run_folder, keep, verified=self._verified)
        except OSError as error:
            log.warning("An older save is not removed: %s", error)
            return []

    def _tell_failed(self, step: int, cause: str, reason: Reason) -> None:
        """Once for all that fail one after the other, and to whoever asked for this one."""
        is_told, self._is_failing = self._is_failing, True
        if is_told and reason in ("time", "steps"):
            return
        self._report.found(
            "save_failed",
            f"Step {step} could not be saved.",
            cause=cause,
            remedy=f"Training goes on, and every next save is tried. Until one is on the disk, a "
            f"crash goes back to {self._newest()}. {_MAKE_ROOM}",
            step=step,
        )

    def _newest(self) -> str:
        return f"the save of step {self.saved_step}" if self.saved_step else "the beginning"

    def _rotate(self) -> None:
        try:
            rotate(self._run_folder, self._training.save_total_limit, verified=self._verified)
        except OSError as error:
            log.warning("An older save is not removed: %s", error)
            if not self._is_rotation_told:
                self._is_rotation_told = True
                self._report.found(
                    "save_not_removed",
                    "An older save could not be removed.",
                    cause=disk_sentence(error, self._run_folder),
                    remedy="Training goes on, and every save needs more of the disk until it can.",
                )

    def _tell(self, folder: Path, draft: _Draft, seconds: float) -> None:
        step = draft.position.step
        self._report.send(
            CheckpointSaved(
                at=time.time(),
                step=step,
                folder=folder.relative_to(self._run_folder).as_posix(),
                bytes=read_manifest(folder).bytes,
                seconds=seconds,
                stall_seconds=self.cost.stall_seconds,
                reason=draft.reason,
            )
        )
        if self._is_failing:
            self._is_failing = False
            self._report.found(
                "save_works_again", "Saving works again.", severity="info", step=step,
                cause=f"Step {step} is on the disk.",
            )  # fmt: skip


def _nothing(trainer: Any, position: Position, is_last: bool) -> dict[str, bytes]:
    return {}


def fingerprint(spec: Spec) -> str:
    """sha256 of everything in the spec that decides the result."""
    training = msgspec.structs.replace(
        spec.training, save_minutes=0.0, save_steps=0, save_total_limit=2, eval_steps=0
    )
    told = msgspec.structs.replace(spec, name="-", training=training)
    return hashlib.sha256(msgspec.json.encode(told, order="sorted")).hexdigest()
