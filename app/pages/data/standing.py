"""How things stand with data while there is no report of it, in words. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any, NamedTuple

from app import data_words, words
from app.data_ways import Way, trouble_of, ways_of
from app.form import Draft
from app.mixture import is_mixture, without
from app.pages.data.part import Part, names_of, troubles_of
from engine.contract.messages import Complaint
from engine.formats.registry import NONE

_TO_MAP = (NONE, "prompt_only")
"""Formats of rows of which only the person can say what is learnt."""
_SOURCE = re.compile(r"dataset\.sources\[(\d+)\]")
_MOST = 4
"""Of several datasets, those that are named with what is said against them."""
_ONE_BY_ONE = "New run shows the datasets one by one, each with its format: “Use in a run”."


class Standing(NamedTuple):
    """What is said, and what can be done about it."""

    headline: str
    text: str = ""
    ways: Sequence[Way] = ()
    asks_columns: bool = False
    """Whether it may help to say which column is which."""
    problem: str = ""
    """What of ``text`` is left to say beside lists of columns."""
    is_usable: bool = False
    """Whether a run can be made of the data as far as is known."""
    is_refused: bool = False
    """Whether it is not learnt from as it is."""


_READING = Standing("Reading the first rows …")
EMPTY = Standing(
    "See what the model will see",
    "Drop a file here: its first rows are shown at once, and with a model every token that it "
    "will get, which of them it learns, what is cut off, and what is odd. Nothing is changed in "
    "the file.",
)
STOPPED = Standing(
    "Stopped", "Nothing half done was kept. “Look” makes the tokens from the beginning."
)
_MODEL_WANTED = Standing(
    "Choose a model to see every token",
    "These are the rows as they stand in the file. With a model every token that it gets of them "
    "is shown, which it learns, what is cut off, and what is odd.",
    is_usable=True,
)


def known_already(paths: Sequence[str]) -> str:
    """Of files that are dropped on several, and are among them."""
    names = ", ".join(PurePath(path.replace("\\", "/")).name for path in paths[:3])
    more = f" and {words.count(len(paths) - 3)} more" if len(paths) > 3 else ""
    verb = "are" if len(paths) > 1 else "is"
    return (
        f"{names}{more} {verb} among these datasets already, and not added again. To learn more "
        "often from one, give it a weight on New run."
    )


def without_model(draft: Draft, parts: Sequence[Part]) -> Standing:
    """Of data that no model is chosen for."""
    if is_mixture(draft):
        known = any(part.facts or part.refusal for part in parts)
        return _several_without_model(draft, parts) if known else _READING
    facts, refusal = (parts[0].facts, parts[0].refusal) if parts else ({}, None)
    if refusal is not None:
        return refused("This cannot be read", draft, parts, refusal.complaints, refusal.sentence)
    if not facts:
        return _READING
    method, format = _of(draft)
    if not (trouble := trouble_of(facts, method, format)):
        return _MODEL_WANTED
    asks = facts.get("format") in _TO_MAP
    ways = ways_of(facts, method, format)
    return Standing(_headline(facts), trouble, ways, asks, trouble, is_refused=True)


def refused(
    headline: str, draft: Draft, parts: Sequence[Part], complaints: Sequence[Complaint],
    sentence: str = "",
) -> Standing:  # fmt: skip
    """Of data that the host, or its worker, says something against. What its rows are learnt as is
    said in the window's own words, beside buttons for it; of several datasets each has its own
    format, which New run asks for."""
    if is_mixture(draft):
        return _several_refused(headline, draft, parts, complaints, sentence)
    facts = parts[0].facts if parts else {}
    ways = ways_of(facts, *_of(draft))
    is_unknown = facts.get("format") == NONE and bool(facts.get("columns"))
    is_of_kind = bool(ways) or is_unknown
    told_here = [told for told in complaints if is_of_kind and _is_of_shape(told)]
    lines = [data_words.refused(told) for told in complaints if told not in told_here]
    if told_here:
        headline, lines = _headline(facts), [trouble_of(facts, *_of(draft)), *lines]
    asks = any(".columns" in told.field for told in complaints) or (
        bool(complaints) and facts.get("format") in _TO_MAP
    )
    problem = lines[0] if told_here else "\n".join(told.problem for told in complaints)
    text = "\n".join(lines) or sentence
    return Standing(headline, text, ways, asks, problem, is_refused=True)


def _several_without_model(draft: Draft, parts: Sequence[Part]) -> Standing:
    troubles = troubles_of(draft, parts)
    if not troubles:
        return _MODEL_WANTED
    names = names_of(draft)
    lines = [f"{names[place]}: {trouble}" for place, trouble in troubles.items()]
    return _several("Not all of these can be learnt from", draft, lines, list(troubles))


def _several_refused(
    headline: str, draft: Draft, parts: Sequence[Part], complaints: Sequence[Complaint],
    sentence: str,
) -> Standing:  # fmt: skip
    """Each complaint with the name of the dataset that it is about; one that names none is about
    all of them, and of what is known of the first rows it is told beside it."""
    names, lines, places = names_of(draft), [], []
    for told in complaints:
        found = _SOURCE.match(told.field)
        place = int(found[1]) - 1 if found else len(names)
        if place < len(names):
            places.append(place)
            lines.append(f"{names[place]}: {data_words.refused(told)}")
        else:
            lines.append(data_words.refused(told))
    others = {at: said for at, said in troubles_of(draft, parts).items() if at not in places}
    lines += [f"{names[place]}: {said}" for place, said in others.items()]
    return _several(headline, draft, lines or [sentence], [*places, *others])


def _several(
    headline: str, draft: Draft, lines: Sequence[str], places: Sequence[int]
) -> Standing:  # fmt: skip
    """Of several datasets, some of which may be taken out."""
    names = names_of(draft)
    ways = [
        Way(
            f"Take {names[place]} out", without(draft, place), "Looks at the others; the file stays"
        )
        for place in dict.fromkeys(places)
    ]
    more = [f"… and {words.count(len(lines) - _MOST)} more"] if len(lines) > _MOST else []
    text = "\n".join([*lines[:_MOST], *more, _ONE_BY_ONE])
    return Standing(headline, text, ways[:_MOST], is_usable=True, is_refused=True)


def _headline(facts: dict[str, Any]) -> str:
    return "No known format" if facts.get("format") == NONE else "Say how it is to be learnt"


def _is_of_shape(complaint: Complaint) -> bool:
    """Whether it may be about what kind of rows it is."""
    return complaint.field.rpartition(".")[2] in ("path", "format", "columns")


def _of(draft: Draft) -> tuple[str, str]:
    return str(draft.get("method")), str(draft.get("dataset.format") or "auto")
