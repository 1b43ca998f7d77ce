"""The token with which a chat template ends answers, where nothing else of the model names it.

A base model ends documents with one token (``<|endoftext|>``), and learns to end answers with
another (``<|im_end|>``). Whoever generates waits for those that its generation config and its
tokenizer name: if the result did not name the new one, it would never stop.
"""

from __future__ import annotations

from itertools import islice
from typing import Any

import msgspec
from transformers import PreTrainedTokenizerBase

from engine.contract.spec import Spec
from engine.formats.corpus import examples_of
from engine.formats.entries import readings
from engine.formats.example import Conversation
from engine.worker.chat import CannotRender, ChatRenderer
from engine.worker.report import Report
from engine.worker.template_check import READ, closing_of
from engine.worker.templates import TRIAL


class NewEnd(msgspec.Struct, frozen=True, kw_only=True):
    """What is learnt as the end of answers, and was none before."""

    token: str
    id: int


def new_end(
    spec: Spec, tokenizer: PreTrainedTokenizerBase, model: Any, report: Report
) -> NewEnd | None:
    """What the run teaches as an end that the model does not name; tells it. Raises
    DatasetError."""
    end = end_of(tokenizer) if spec.method == "sft" else None
    if end is None or end.id in ends_of(model, tokenizer) or not _has_talks(spec):
        return None
    report.decided(
        f"Answers end with {end.token}, and the result says so.",
        f"The chat template ends them with it. The model's own end is {tokenizer.eos_token}; who "
        "waits for that would get answers that never stop.",
        _what_it_takes(spec, end),
    )
    return end


def _what_it_takes(spec: Spec, end: NewEnd) -> str:
    if not spec.lora:
        return "It is in the output's generation config beside the old one."
    return (
        "An adapter has no generation config, and that of its base model is not changed: whoever "
        f"generates with it has to pass eos_token_id={end.id}."
    )


def end_of(tokenizer: PreTrainedTokenizerBase) -> NewEnd | None:
    """What the tokenizer's template ends answers with, if it is a token of its own."""
    if not tokenizer.chat_template:
        return None
    try:
        closing = closing_of(ChatRenderer(tokenizer))
    except CannotRender:
        return None
    found = tokenizer.get_added_vocab().get(closing) if closing else None
    return None if found is None else NewEnd(token=str(closing), id=found)


def ends_of(model: Any, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """All that the model and its tokenizer name as an end."""
    # A model of someone's own code may have none.
    config = getattr(model, "generation_config", None)
    named = getattr(config, "eos_token_id", None)
    found = [named] if isinstance(named, int) else list(named or ())
    return list(dict.fromkeys(i for i in [tokenizer.eos_token_id, *found] if i is not None))


def _has_talks(spec: Spec) -> bool:
    rows = islice(examples_of(list(readings(spec.dataset)), spec.method), READ)
    return any(isinstance(row.example, Conversation) for row in rows)


def name_it(end: NewEnd, tokenizer: PreTrainedTokenizerBase, model: Any) -> None:
    """Let tokenizer, config and generation config say it, as TRL does for its ``eos_token``; the
    old one stays an end beside it."""
    if getattr(model, "generation_config", None) is not None:
        others = (one for one in ends_of(model, tokenizer) if one != end.id)
        model.generation_config.eos_token_id = [end.id, *others]
    model.config.get_text_config().eos_token_id = end.id
    before, renderer = tokenizer.eos_token, ChatRenderer(tokenizer)
    text = renderer(TRIAL).text
    tokenizer.eos_token = end.token
    if renderer(TRIAL).text != text:
        # The template writes it elsewhere, and what was trained would be written otherwise.
        tokenizer.eos_token = before
