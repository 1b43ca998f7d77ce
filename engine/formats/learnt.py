"""What sft and pretrain make of rows that were written for another method."""

from __future__ import annotations

from typing import Any

from engine.formats.example import (
    Conversation,
    Example,
    Preference,
    Prompt,
    PromptCompletion,
    Said,
    Sample,
    Verdict,
)

ASKED_FOR = {
    "preference": "This is preference data: sft would learn its chosen answers and nothing of the "
    "rejected ones.",
    "unpaired_preference": "This is preference data: sft would learn the answers labelled good and "
    "leave out the others.",
}
"""Formats that sft takes only where they are asked for by name, with what it would do: whoever has
such data mostly wants to learn from the comparison."""

DECIDED = {
    "preference": (
        "Of each pair of answers the chosen one is learnt.",
        "sft learns from good answers; the rejected ones are not read.",
    ),
    "unpaired_preference": (
        "The answers labelled good are learnt.",
        "sft learns from good answers; rows labelled bad are left out.",
    ),
}
"""Decision and reason, for a run of such data."""


def learnt(sample: Sample) -> Example | None:
    """What is learnt of a row; None if nothing is."""
    if isinstance(sample, Conversation):
        return sample  # As nearly always.
    match sample:
        case Preference(prompt=prompt, chosen=chosen, tools=tools):
            return _joined(prompt, chosen, tools)
        case Verdict(prompt=prompt, completion=completion, label=label, tools=tools):
            return _joined(prompt, completion, tools) if label else None
        case Prompt():
            return None
    return sample


def _joined(prompt: Said, answer: Said, tools: list[dict[str, Any]] | None) -> Example:
    if isinstance(prompt, str):
        assert isinstance(answer, str)
        return PromptCompletion(prompt=prompt, completion=answer)
    assert isinstance(answer, list)
    return Conversation(messages=[*prompt, *answer], tools=tools)
