"""Exceptions become findings: what happened, why, what to do, with the technical text folded away.

Fettle's own exceptions have their words with them. All others are looked up among the known
problems, see :mod:`engine.diagnosis`.
"""

from __future__ import annotations

import traceback
from typing import Any

import msgspec

from engine import own_secrets
from engine.contract import effects
from engine.contract.masking import masked
from engine.contract.messages import MemoryPool
from engine.diagnosis import Diagnosis, ErrorSeen, Evidence, diagnose
from engine.diagnosis.evidence import Link
from engine.formats.example import DatasetError
from engine.store.staging import CheckpointError

DETAIL_CHARACTERS = 8000
_CAUSE_CHARACTERS = 400
_MOST_LINKS = 10
_TEXT_CHARACTERS = 4000


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

    @property
    def changes_result(self) -> bool:
        """Whether a run with the patch gives another result."""
        return effects.changes_result(self.patch)


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of a finding that an exception gives."""

    code: str
    title: str
    cause: str = ""
    remedy: str = ""
    detail: str = ""
    why: str = ""
    patch: dict[str, Any] = {}
    changes_result: bool = False
    effect: str = ""
    problem: str = ""
    pool: MemoryPool = ""


def explain(error: BaseException, around: Evidence | None = None) -> Failure:
    """The exception in words for people; ``around`` is what else is known of the job's end."""
    own = _own_words(error)
    chain = seen(error)
    evidence = msgspec.structs.replace(
        around or Evidence(),
        # Of one with words of its own only what it was raised from tells more.
        errors=tuple(chain[:-1] if own else chain),
        error_code=own.code if own else "",
    )
    found = diagnose(evidence)
    failure = _joined(own, found) if own else _of(found[0]) if found else _unknown(error)
    detail = "".join(traceback.format_exception(error))[-DETAIL_CHARACTERS:]
    return _without_secrets(msgspec.structs.replace(failure, detail=detail))


def _own_words(error: BaseException) -> Failure | None:
    match error:
        case JobError():
            return Failure(
                code=error.code, title=error.title, cause=error.cause, remedy=error.remedy,
                why=error.why, patch=error.patch, changes_result=error.changes_result,
                effect=effects.sentence_of(error.patch),
            )  # fmt: skip
        case DatasetError():
            return Failure(
                code="bad_data", title="The data cannot be used.", cause=error.problem,
                remedy=error.remedy,
            )  # fmt: skip
        case CheckpointError():
            return Failure(code="save_failed", title="Saving failed.", cause=str(error))
    return None


def _joined(own: Failure, found: list[Diagnosis]) -> Failure:
    """Fettle's own words with what is known beyond them. A known problem of the same kind says it
    more finely, unless Fettle itself saw why; only the title, which names what it is about, stays.
    """
    same = next((each for each in found if each.code == own.code), None)
    if same and same.id != own.code and not own.why:
        finer = _of(same)
        return msgspec.structs.replace(
            finer, title=own.title, cause=f"{finer.title} {finer.cause}".strip()
        )
    best = same or (found[0] if found and not own.remedy else None)
    if best is None:
        return own
    return msgspec.structs.replace(
        own,
        why=best.why,
        remedy=f"{best.does} {own.remedy}".strip() if own.remedy else best.remedy,
        patch=best.patch,
        changes_result=best.changes_result,
        effect=best.effect,
        problem=best.id,
        pool=best.pool,
    )


def _of(found: Diagnosis) -> Failure:
    return Failure(
        code=found.code,
        title=found.title,
        cause=found.cause,
        remedy=found.remedy,
        why=found.why,
        patch=found.patch,
        changes_result=found.changes_result,
        effect=found.effect,
        problem=found.id,
        pool=found.pool,
    )


def _unknown(error: BaseException) -> Failure:
    return Failure(
        code="unknown",
        title="The work stopped with an error that Fettle does not know.",
        cause=f"It said “{_first_line(error)}”. Fettle does not know that, and does not guess.",
        remedy="The details and the log say more. A report of the run, without your data, helps "
        "to find out.",
    )


def _first_line(error: BaseException) -> str:
    """With the name of its class, which is all that some have."""
    name = type(error).__name__
    text = (str(error).strip().splitlines() or [""])[0]
    return f"{name}: {text}"[:_CAUSE_CHARACTERS].rstrip(" :.") if text else name


def _without_secrets(failure: Failure) -> Failure:
    secrets = own_secrets.known()
    texts = {name: getattr(failure, name) for name in ("title", "cause", "remedy", "detail", "why")}
    return msgspec.structs.replace(
        failure, **{name: masked(text, secrets) for name, text in texts.items()}
    )


# ---------------------------------------------------------------- the exception as evidence


def seen(error: BaseException) -> list[ErrorSeen]:
    """The chain of the exception, the last raised at the end."""
    chain: list[tuple[BaseException, Link]] = [(error, "")]
    while len(chain) < _MOST_LINKS and (before := _before(chain[-1][0])):
        chain.append(before)
    return [_seen(each, link) for each, link in reversed(chain)]


def _before(error: BaseException) -> tuple[BaseException, Link] | None:
    if error.__cause__ is not None:
        return error.__cause__, "cause"
    if error.__context__ is not None and not error.__suppress_context__:
        return error.__context__, "context"
    return None


def _seen(error: BaseException, link: Link) -> ErrorSeen:
    text = str(error)
    # Libraries repeat themselves at length; what matters stands at the ends.
    if len(text) > 2 * _TEXT_CHARACTERS:
        text = f"{text[:_TEXT_CHARACTERS]} … {text[-_TEXT_CHARACTERS:]}"
    frames = "".join(traceback.format_tb(error.__traceback__))[-DETAIL_CHARACTERS:]
    return ErrorSeen(type=type(error).__name__, text=text, frames=frames, link=link)
