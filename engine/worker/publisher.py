"""Brings one save after the other to the disk: room, files, manifest, rotation, and what is told.

This runs in a thread beside training; see :mod:`engine.worker.writer`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from engine.contract.messages import CheckpointSaved
from engine.store.files import disk_sentence
from engine.store.manifest import read_manifest
from engine.store.rotation import KEPT_AT_LEAST, rotate
from engine.store.staging import CheckpointError, NoRoom, discard, publish, stage
from engine.worker import state_files
from engine.worker.report import Report
from engine.worker.state_files import Position
from engine.worker.tensor_files import Chunk

Reason = Literal["time", "steps", "asked", "stop", "end", "host_lost", "signal"]

_SLACK_BYTES = 1 << 20
"""For headers, the manifest and what the file system takes for itself."""

_MAKE_ROOM = (
    "What takes room is mostly old runs (`fettle runs`, `fettle remove`) and models that were "
    "downloaded (~/.cache/huggingface)."
)

log = logging.getLogger(__name__)


Files = Mapping[str, Iterable[Chunk]]
"""What is written, by file name."""


class Draft(msgspec.Struct, kw_only=True):
    """A save on its way to the disk, and what it has taken so far."""

    position: Position
    reason: Reason
    began: float
    """Monotonic time, seconds."""
    bytes: int
    fields: dict[str, Any]
    is_waited_for: bool = False
    """Training stands still until it is on the disk."""
    stall_seconds: float = 0.0
    """That training stood still. Written by the thread that trains."""
    write_seconds: float = 0.0
    """From there to the verified checkpoint. Written by the thread that writes."""
    pieces: int = 0
    """Written so far."""


class Publisher:
    """Of the saves of one run; one that fails costs nothing but itself."""

    def __init__(
        self, run_folder: Path, report: Report, *, keep: int, fields: dict[str, Any],
        resumed_step: int,
    ) -> None:  # fmt: skip
        self._run_folder = run_folder
        self._report = report
        self._keep = keep
        self._fields = fields
        """What is the same in the manifests of all saves."""
        self.saved_step = resumed_step
        """Of the newest save, 0 without any."""
        self._verified: set[int] = set()
        """Steps whose saves this worker has read back."""
        self._is_rotation_told = self._is_failing = False

    def write(self, draft: Draft, files: Callable[[], Files]) -> bool:
        """Whether it is on the disk, and verified. ``files`` may take its time, and what it raises
        is raised."""
        step = draft.position.step
        try:
            folder = self._publish(draft, files)
        except CheckpointError as error:
            self._tell_failed(step, str(error), draft.reason)
            return False
        seconds = time.monotonic() - draft.began
        if draft.is_waited_for:
            draft.stall_seconds = seconds
        draft.write_seconds = seconds - draft.stall_seconds
        self.saved_step = step
        self._verified.add(step)
        self._tell(folder, draft, seconds)
        self._rotate()
        return True

    def _publish(self, draft: Draft, files: Callable[[], Files]) -> Path:
        position = draft.position
        # From here on everybody can see that a save is under way.
        staging = self._stage(position.step, draft.bytes + _SLACK_BYTES)
        try:
            written = {name: _counted(chunks, draft) for name, chunks in files().items()}
            hashes = state_files.write(staging, written)
        except BaseException:
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
            rotate(self._run_folder, self._keep, verified=self._verified)
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

    def _tell(self, folder: Path, draft: Draft, seconds: float) -> None:
        step = draft.position.step
        self._report.send(
            CheckpointSaved(
                at=time.time(),
                step=step,
                folder=folder.relative_to(self._run_folder).as_posix(),
                bytes=_size(folder, draft),
                seconds=seconds,
                stall_seconds=draft.stall_seconds,
                reason=draft.reason,
            )
        )
        if self._is_failing:
            self._is_failing = False
            self._report.found(
                "save_works_again", "Saving works again.", severity="info", step=step,
                cause=f"Step {step} is on the disk.",
            )  # fmt: skip


def _counted(chunks: Iterable[Chunk], draft: Draft) -> Iterator[Chunk]:
    for chunk in chunks:
        yield chunk
        draft.pieces += 1


def _size(folder: Path, draft: Draft) -> int:
    try:
        return read_manifest(folder).bytes
    except ValueError as error:
        # It was verified a moment ago; a disk that fails since is the next save's concern.
        log.warning("%s: %s", folder, error)
        return draft.bytes
