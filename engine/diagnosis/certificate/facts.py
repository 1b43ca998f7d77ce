"""What is known of a run between two steps: taken at each save, and again when it is resumed."""

from __future__ import annotations

from typing import Any

import msgspec

FORMAT = 1


class Fact(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all facts. Extra fields of a newer Fettle are passed over."""


class DataFacts(Fact, frozen=True, kw_only=True):
    """The samples that are trained on, held-back ones not counted."""

    digest: str
    """sha256 of all tokens and targets."""
    samples: int | None = None
    tokens: int | None = None
    sources: dict[str, str] | None = None
    """Fingerprint of each dataset by its path; None where nobody took it down."""


class OrderFacts(Fact, frozen=True, kw_only=True):
    """The order in which the rows come."""

    seed: int
    rows: int
    """Of an epoch; packed samples share one."""
    epoch: int
    """The one that the next step begins in, from 0."""
    digest: str
    """sha256 of that epoch's permutation."""


class Place(Fact, frozen=True, kw_only=True):
    """Where the run stands."""

    step: int
    cursor: int
    """Rows trained on since the run began."""


class Tensors(Fact, frozen=True, kw_only=True):
    """A set of named tensors, but not what is in them."""

    digest: str
    """sha256 of names, shapes and types."""
    count: int
    numbers: int
    """Elements of all of them together."""


class OptimizerFacts(Fact, frozen=True, kw_only=True):
    """What the optimizer remembers."""

    kind: str
    """Name of its class."""
    tensors: Tensors
    updates: int | None = None
    """So often it has changed the weights; None where it does not count."""


class ScheduleFacts(Fact, frozen=True, kw_only=True):
    """The learning rate of the next step, one of each group of weights."""

    rates: list[float]
    """What the optimizer will use."""
    scheduled: list[float]
    """What the spec's schedule says."""


class ComputeFacts(Fact, frozen=True, kw_only=True):
    """Where and in which number format is computed."""

    device: str
    """``cuda`` or ``cpu``."""
    name: str
    """Of the card or processor."""
    precision: str
    driver: str = ""
    threads: int = 0
    """On a processor: how many share a sum."""
    loss: str = "fused"
    """``fused``: by TRL's quicker head; ``own``: from the model's own logits, where that gives
    another one. Older saves were made with the first."""


class ReplayFacts(Fact, frozen=True, kw_only=True):
    """A forward pass of the next row's first tokens, dropout and all, without any trace."""

    loss: float | None
    """Mean over the tokens; None if it is no number."""
    tokens: int


class Facts(Fact, frozen=True, kw_only=True):
    """All of it; None is not known, or not reached yet."""

    format: int = FORMAT
    settings: dict[str, Any] | None = None
    """The spec by dotted field, as it came to be on the machine."""
    versions: dict[str, str] | None = None
    compute: ComputeFacts | None = None
    data: DataFacts | None = None
    template: str | None = None
    """sha256 of the chat template that the spec chooses; empty: the model's own."""
    order: OrderFacts | None = None
    place: Place | None = None
    random: str | None = None
    """sha256 of the state of every random generator."""
    optimizer: OptimizerFacts | None = None
    schedule: ScheduleFacts | None = None
    trained: Tensors | None = None
    replay: ReplayFacts | None = None


def flattened(table: dict[str, Any], above: str = "") -> dict[str, Any]:
    """Nested tables by dotted field."""
    found: dict[str, Any] = {}
    for name, value in table.items():
        if isinstance(value, dict):
            found |= flattened(value, f"{above}{name}.")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for number, row in enumerate(value, start=1):
                found |= flattened(row, f"{above}{name}[{number}].")
        else:
            found[above + name] = value
    return found
