"""Exceptions become findings: what happened, why, what to do, with the technical text folded away.

Only a coarse sorting: :mod:`engine.diagnosis` knows the fine signatures.
"""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import msgspec

from engine.formats.example import DatasetError
from engine.store.checkpoints import CheckpointError

DETAIL_CHARACTERS = 8000


class JobError(Exception):
    """Work that cannot go on, said in words for people."""

    def __init__(
        self, code: str, title: str, *, cause: str = "", remedy: str = "", why: str = "",
        patch: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(f"{title} {cause} {remedy}".strip())
        self.code = code
        self.title = title
        self.cause = cause
        self.remedy = remedy
        self.why = why
        self.patch = patch or {}


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of a finding that an exception gives."""

    code: str
    title: str
    cause: str = ""
    remedy: str = ""
    detail: str = ""
    why: str = ""
    patch: dict[str, Any] = {}


def explain(error: BaseException) -> Failure:
    """The exception in words for people."""
    detail = "".join(traceback.format_exception(error))[-DETAIL_CHARACTERS:]
    return msgspec.structs.replace(_sort(error), detail=detail)


def _sort(error: BaseException) -> Failure:
    match error:
        case JobError():
            return Failure(
                code=error.code, title=error.title, cause=error.cause, remedy=error.remedy,
                why=error.why, patch=error.patch,
            )  # fmt: skip
        case DatasetError():
            return Failure(
                code="bad_data", title="The data cannot be used.", cause=error.problem,
                remedy=error.remedy,
            )  # fmt: skip
        case CheckpointError():
            return Failure(code="save_failed", title="Saving failed.", cause=str(error))
        case MemoryError():
            return _out_of_ram()
        case ImportError():
            return Failure(
                code="broken_install",
                title="A part of the engine is missing.",
                cause=_first_line(error),
                remedy="Run `python3 packaging/bootstrap.py install` again.",
            )
    return _sort_by_text(error)


def _sort_by_text(error: BaseException) -> Failure:
    text = f"{type(error).__name__}: {error}"
    if "out of memory" in text.lower() or type(error).__name__ == "OutOfMemoryError":
        return _out_of_ram() if "DefaultCPUAllocator" in text else _out_of_vram()
    if "DefaultCPUAllocator" in text:
        return _out_of_ram()
    if type(error).__name__ in _HUB_ERRORS or "huggingface.co" in text:
        return Failure(
            code="missing_model",
            title="The model cannot be loaded.",
            cause=_first_line(error),
            remedy="Check the name, the network and your access to the model.",
        )
    if isinstance(error, OSError) and error.errno is not None:
        where = f" ({Path(error.filename).name})" if isinstance(error.filename, str) else ""
        return Failure(code="file_error", title=f"{error.strerror}{where}.", cause=text)
    return Failure(
        code="unknown",
        title="The work stopped with an error that Fettle does not know.",
        cause=_first_line(error),
        remedy="The details and the log say more.",
    )


_HUB_ERRORS = frozenset(
    {"RepositoryNotFoundError", "GatedRepoError", "LocalEntryNotFoundError", "HFValidationError",
     "RevisionNotFoundError", "EntryNotFoundError", "OfflineModeIsEnabled"}
)  # fmt: skip


def _out_of_vram() -> Failure:
    return Failure(
        code="out_of_memory",
        title="The card ran out of memory.",
        cause="Model, adapter and batch together need more than the card has free.",
        remedy="Lower per_device_train_batch_size or max_length, or use quantization.bits = 4.",
    )


def _out_of_ram() -> Failure:
    return Failure(
        code="out_of_ram",
        title="The computer ran out of memory (RAM).",
        cause="Loading or training needs more than is free.",
        remedy="Close other programs, or choose a smaller model or batch.",
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:500]
