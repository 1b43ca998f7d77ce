"""How things stand with data while there is no report of it, in words. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from typing import Any, NamedTuple

from app import data_words, words
from app.data_ways import Way, trouble_of, ways_of
from app.form import Draft
from app.mixture import is_mixture
from engine.contract.messages import Complaint, Refusal
from engine.formats.registry import NONE

_TO_MAP = (NONE, "prompt_only")
"""Formats of rows of which only the person can say what is learnt."""
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


def without_model(draft: Draft, facts: dict[str, Any], refusal: Refusal | None) -> Standing:
    """Of data that no model is chosen for."""
    if refusal is not None:
        return refused("This cannot be read", draft, facts, refusal.complaints, refusal.sentence)
    if not facts:
        return Standing("Reading the first rows …")
    if is_mixture(draft):
        return _MODEL_WANTED
    method, format = _of(draft)
    if not (trouble := trouble_of(facts, method, format)):
        return _MODEL_WANTED
    asks = facts.get("format") in _TO_MAP
    ways = ways_of(facts, method, format)
    return Standing(_headline(facts), trouble, ways, asks, trouble, is_refused=True)


def refused(
    headline: str, draft: Draft, facts: dict[str, Any], complaints: Sequence[Complaint],
    sentence: str = "",
) -> Standing:  # fmt: skip
    """Of data that the host, or its worker, says something against. What its rows are learnt as is
    said in the window's own words, beside buttons for it; of several datasets each has its own
    format, which New run asks for."""
    if is_mixture(draft):
        lines = [data_words.refused(told) for told in complaints]
        text = "\n".join([*(lines or [sentence]), _ONE_BY_ONE])
        return Standing(headline, text, is_usable=True, is_refused=True)
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


def _headline(facts: dict[str, Any]) -> str:
    return "No known format" if facts.get("format") == NONE else "Say how it is to be learnt"


def _is_of_shape(complaint: Complaint) -> bool:
    """Whether it may be about what kind of rows it is."""
    return complaint.field.rpartition(".")[2] in ("path", "format", "columns")


def _of(draft: Draft) -> tuple[str, str]:
    return str(draft.get("method")), str(draft.get("dataset.format") or "auto")
