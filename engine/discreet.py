"""Records without tokens: what comes from a library's mouth may hold one, and a run is kept and
shown to others."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from engine import own_secrets
from engine.contract.masking import masked
from engine.contract.messages import Decision, Done, Finding, PhaseChanged, Record, StateChanged

R = TypeVar("R", bound=Record)
_WITH_WORDS = (Decision, Done, Finding, PhaseChanged, StateChanged)


def discreet(record: R) -> R:
    """The record with its texts masked."""
    if not isinstance(record, _WITH_WORDS):
        return record
    secrets = own_secrets.known()
    values = {name: getattr(record, name) for name in record.__struct_fields__}
    # A State is a str too, and must stay a State.
    texts = {name: masked(v, secrets) for name, v in values.items() if type(v) is str and v}
    return msgspec.structs.replace(record, **texts)
