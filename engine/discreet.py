"""Messages without tokens: what comes from a library's mouth may hold one, and a run is kept and
shown to others."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from engine import own_secrets
from engine.contract.masking import masked
from engine.contract.messages import (
    Decision,
    Done,
    Finding,
    PhaseChanged,
    Record,
    Refusal,
    ResumeCertificate,
    StateChanged,
)

R = TypeVar("R", bound=Record)
S = TypeVar("S", bound=msgspec.Struct)
_WITH_WORDS = (Decision, Done, Finding, PhaseChanged, StateChanged)


def discreet(record: R) -> R:
    """The record with its texts masked."""
    if isinstance(record, ResumeCertificate):
        lines = [_masked(line) for line in record.lines]
        return msgspec.structs.replace(record, lines=lines)
    return _masked(record) if isinstance(record, _WITH_WORDS) else record


def discreet_refusal(refusal: Refusal) -> Refusal:
    """The refusal with its texts masked: what was refused may be repeated in it."""
    complaints = [_masked(complaint) for complaint in refusal.complaints]
    return _masked(msgspec.structs.replace(refusal, complaints=complaints))


def _masked(struct: S) -> S:
    secrets = own_secrets.known()
    values = {name: getattr(struct, name) for name in struct.__struct_fields__}
    # A State is a str too, and must stay a State.
    texts = {name: masked(v, secrets) for name, v in values.items() if type(v) is str and v}
    return msgspec.structs.replace(struct, **texts)
