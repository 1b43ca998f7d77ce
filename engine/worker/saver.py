"""When to save, and saving."""

from __future__ import annotations

import hashlib
import logging
import time
from pathlib import Path
from typing import Any, Literal

import msgspec
import torch

from engine.contract.lifecycle import Phase
from engine.contract.messages import CheckpointSaved
from engine.contract.spec import Spec
from engine.failpoints import reach
from engine.store.checkpoints import CheckpointError, publish, read_manifest, rotate, stage
from engine.store.files import disk_sentence
from engine.worker import state_files
from engine.worker.numeric_guard import refuse_poisoned
from engine.worker.report import Report
from engine.worker.state_files import Position

Reason = Literal["time", "steps", "asked", "stop", "end", "host_lost", "signal"]
LAST: frozenset[Reason | None] = frozenset({"stop", "host_lost", "signal"})
"""After a save for one of these the run ends."""

log = logging.getLogger(__name__)


class Saver:
    """Writes checkpoints of one run; a save that fails costs nothing but itself."""

    def __init__(
        self, run_folder: Path, spec: Spec, report: Report, *, data: str, versions: dict[str, str],
        resumed_step: int = 0,
    ) -> None:  # fmt: skip
        self._run_folder = run_folder
        self._training = spec.training
        self._report = report
        self._data = data
        self._fields: dict[str, Any] = {
            "spec": fingerprint(spec), "data": data, "versions": versions, "kind": spec.kind
        }  # fmt: skip
        self._saved_at = time.monotonic()
        self.saved_step = resumed_step
        """Of the newest save, 0 without any."""
        self._verified: set[int] = set()
        """Steps whose saves this worker has read back."""
        self._is_rotation_told = False

    def due(self, step: int) -> Reason | None:
        """Why to save after this step; None if there is no reason."""
        wishes = self._report.wishes
        if wishes.ending:
            return wishes.reason  # type: ignore[return-value]
        if wishes.save.is_set():
            wishes.save.clear()
            return "asked"
        if self._training.save_steps and step % self._training.save_steps == 0:
            return "steps"
        minutes = self._training.save_minutes
        if minutes and time.monotonic() - self._saved_at >= 60 * minutes:
            return "time"
        return None

    def save(
        self, trainer: Any, position: Position, reason: Reason, best_eval_loss: float | None
    ) -> bool:
        """Write, verify and publish a checkpoint; False if the disk did not take it. Raises
        :class:`NanLoss` for weights that are no numbers."""
        if position.step == self.saved_step and reason != "asked":
            return True
        refuse_poisoned(trainer, position.step)
        before = self._report.phase
        self._report.show(Phase.SAVING)
        began = time.monotonic()
        try:
            folder = self._publish(trainer, position, best_eval_loss)
        except CheckpointError as error:
            self._report.found(
                "save_failed",
                f"Step {position.step} could not be saved.",
                cause=str(error),
                remedy="Training goes on and tries again at the next save.",
                step=position.step,
            )
            return False
        finally:
            self._saved_at = time.monotonic()
            self._report.show(before)
        self.saved_step = position.step
        self._verified.add(position.step)
        self._tell(folder, position, reason, time.monotonic() - began)
        self._rotate()
        return True

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

    def _publish(self, trainer: Any, position: Position, best_eval_loss: float | None) -> Path:
        if torch.cuda.is_available():
            # Paged optimizer state is written by kernels that may still run.
            torch.cuda.synchronize()
        needs = state_files.bytes_needed(trainer)
        reach("save.snapshot")
        staging = stage(self._run_folder, position.step, needs_bytes=needs)
        hashes = state_files.write(
            staging, trainer, position, data=self._data, best_eval_loss=best_eval_loss
        )
        fields = {**self._fields, "cursor": position.cursor, "epoch": position.epoch}
        return publish(staging, step=position.step, fields=fields, hashes=hashes)

    def _tell(self, folder: Path, position: Position, reason: Reason, seconds: float) -> None:
        self._report.send(
            CheckpointSaved(
                at=time.time(),
                step=position.step,
                folder=folder.relative_to(self._run_folder).as_posix(),
                bytes=read_manifest(folder).bytes,
                seconds=seconds,
                reason=reason,
            )
        )


def fingerprint(spec: Spec) -> str:
    """sha256 of everything in the spec that decides the result."""
    training = msgspec.structs.replace(
        spec.training, save_minutes=0.0, save_steps=0, save_total_limit=2, eval_steps=0
    )
    told = msgspec.structs.replace(spec, name="-", training=training)
    return hashlib.sha256(msgspec.json.encode(told, order="sorted")).hexdigest()
