"""Checks of a spec's dataset that go over several of its fields. Each yields what it finds."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from engine.contract.dataset_spec import COLUMNS, PATH, ROLES, DatasetSpec, Names
from engine.contract.messages import Complaint

if TYPE_CHECKING:
    from engine.contract.spec import Spec

OF_ONE = ("format", "columns", "roles", "skip_samples", "max_samples")
"""Settings that say how one dataset is read; of several each has its own."""


def data_is_missing(raw: dict[str, Any]) -> Iterator[Complaint]:
    """Of the raw values, so that it is told beside whatever else is wrong."""
    dataset = raw.get("dataset")
    if isinstance(dataset, dict) and not dataset.get("path") and not dataset.get("sources"):
        yield Complaint(field="dataset.path", problem="This is missing.", remedy=PATH)


def data_is_named_once(spec: Spec) -> Iterator[Complaint]:
    """By a path or by sources, and not by both."""
    if spec.dataset.sources and spec.dataset.path:
        yield Complaint(
            field="dataset.path", problem="Both path and sources say what the data is.",
            remedy="Move the path into a [[dataset.sources]] of its own.",
            patch={"dataset.path": None},
        )  # fmt: skip


def no_settings_of_one_file(spec: Spec) -> Iterator[Complaint]:
    """Beside sources stands nothing that is meant for one of them."""
    dataset = spec.dataset
    for name in OF_ONE if dataset.sources else ():
        if getattr(dataset, name) != getattr(DatasetSpec(), name):
            yield Complaint(
                field=f"dataset.{name}", problem="This is ignored where there are sources.",
                remedy=f"Write {name} into each [[dataset.sources]] that it is for.",
                patch={f"dataset.{name}": None},
            )  # fmt: skip


def paths_are_visible(spec: Spec) -> Iterator[Complaint]:
    """No path is blank or holds control characters."""
    for place, entry in enumerate(spec.dataset.entries):
        path = entry.path
        if path and (not path.strip() or any(unicodedata.category(c) == "Cc" for c in path)):
            yield Complaint(
                field=f"{spec.dataset.field_of(place)}.path",
                problem="This is blank or holds control characters.",
                remedy="Write a path.",
            )


def columns_are_known(spec: Spec) -> Iterator[Complaint]:
    """A column that is mapped is one that a format knows."""
    for place, entry in enumerate(spec.dataset.entries):
        field = spec.dataset.field_of(place)
        yield from _known(entry.columns, COLUMNS, f"{field}.columns", "column")


def roles_are_known(spec: Spec) -> Iterator[Complaint]:
    """A role that is mapped is one that speaks in a conversation."""
    for place, entry in enumerate(spec.dataset.entries):
        field = spec.dataset.field_of(place)
        yield from _known(entry.roles, ROLES, f"{field}.roles", "role")


def _known(given: Names, known: tuple[str, ...], field: str, what: str) -> Iterator[Complaint]:
    for name, theirs in given.items():
        if name in known and theirs:
            continue
        if name in known:
            problem, remedy = f"The {what} has no name.", f"Write the name of the file's {what}."
        elif theirs in known:
            problem = f"{name[:40]!r} is nothing that a {what} can be."
            remedy = f'The other way round: write {theirs} = "{name[:40]}".'
        else:
            close = difflib.get_close_matches(name, known, n=1)
            problem = f"{name[:40]!r} is nothing that a {what} can be."
            remedy = f"Did you mean {close[0]}?" if close else f"Write one of {', '.join(known)}."
        yield Complaint(field=f"{field}.{name[:40]}", problem=problem, remedy=remedy)


def format_suits_method(spec: Spec) -> Iterator[Complaint]:
    """What can be told without reading a row."""
    for place, entry in enumerate(spec.dataset.entries):
        field = f"{spec.dataset.field_of(place)}.format"
        is_one = not spec.dataset.sources
        if spec.method == "pretrain" and entry.format not in ("auto", "text"):
            yield Complaint(
                field=field,
                problem=f"pretrain learns from plain text, not from {entry.format} rows.",
                remedy='Write format = "text", or method = "sft".',
                patch={field: "text"} if is_one else {},
            )
