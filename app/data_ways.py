"""What a person can do, in the window, about data that is not learnt from as it is. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple

from app.form_words import choice
from engine.formats.registry import COMPARING, METHOD_FORMATS, NONE

FORMAT = "dataset.format"
METHODS = {"sft": "Learn from answers", "pretrain": "Learn from text"}
"""How each method is called on the Data page."""
_TAKEN_AS = {
    "preference": "Learn the chosen answers",
    "unpaired_preference": "Learn the answers labelled good",
}

_OPEN = {
    "preference": "This is preference data: of two answers one is better. Its chosen answers can "
    "be learnt; of the rejected ones nothing is.",
    "unpaired_preference": "This is preference data: each answer is labelled good or bad. The good "
    "ones can be learnt, and the others left out.",
}
"""What only the person can decide."""
_NO_ANSWERS = {
    "text": "This is plain text: there are no answers in it to learn.",
    "prompt_only": "These rows have questions and no answers. Say which column is the answer, if "
    "one is.",
}


class Way(NamedTuple):
    """One thing to do, as a button."""

    text: str
    patch: dict[str, Any]
    tip: str


def ways_of(facts: dict[str, Any], method: str, format: str) -> list[Way]:
    """What helps where rows are of another kind than ``method`` learns from, or than the chosen
    ``format`` ("auto" if it is detected); nothing where they are of that kind."""
    if not facts:
        return []
    found, suited = str(facts.get("format")), METHOD_FORMATS.get(method, ())
    if _is_other(facts, format):
        return [Way("Detect the format", {FORMAT: None}, "Takes what the rows look like")]
    if found not in (*suited, NONE):
        return _other_methods(found)
    if facts.get("use") and format == "auto" and method == "sft":
        return [_as_asked(found), *_learnt_whole(facts, suited, found)]
    return []


def trouble_of(facts: dict[str, Any], method: str, format: str) -> str:
    """Why nothing is learnt of such rows as it is; empty if something is."""
    found = str(facts.get("format"))
    if _is_other(facts, format):
        return f"These rows do not look like {choice(FORMAT, format)}. {facts.get('reason', '')}"
    if found == NONE:
        return str(facts.get("reason", ""))
    if found not in METHOD_FORMATS.get(method, ()):
        other = f"These rows are {choice(FORMAT, found)}, and not plain text to read."
        return _NO_ANSWERS.get(found, other)
    is_open = bool(facts.get("use")) and format == "auto" and method == "sft"
    return _OPEN.get(found, str(facts["use"])) if is_open else ""


def _is_other(facts: dict[str, Any], format: str) -> bool:
    """Whether the rows are not what was chosen."""
    return format != "auto" and not facts.get("confidence")


def _as_asked(name: str) -> Way:
    tip = f"Takes the format by name: {choice(FORMAT, name)}"
    return Way(_TAKEN_AS.get(name, f"Read as {choice(FORMAT, name)}"), {FORMAT: name}, tip)


def _learnt_whole(facts: dict[str, Any], suited: tuple[str, ...], but: str) -> list[Way]:
    """Formats that fit as well, and compare no answers; of pairs none, for they do not read the two
    answers."""
    if but == "preference":
        return []
    fits = [name for name in facts.get("fits") or [] if name in suited and name != but]
    tip = "Every answer is learnt, whatever is said of it"
    return [
        Way(f"Learn all rows as {choice(FORMAT, name)}", {FORMAT: name}, tip)
        for name in fits
        if name not in COMPARING
    ]


def _other_methods(found: str) -> list[Way]:
    return [
        Way(text, {"method": name}, "Looks again, with that method")
        for name, text in METHODS.items()
        if found in METHOD_FORMATS.get(name, ())
    ]
