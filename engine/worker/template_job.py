"""The job ``template``: one row written with a chat template that is being edited. The worker
stays."""

from __future__ import annotations

import time
from functools import lru_cache
from typing import Any

import msgspec
from transformers import PreTrainedTokenizerBase

from engine.contract.messages import Job, TemplateTried
from engine.contract.spec import ModelSpec, Spec
from engine.formats.example import Conversation, Example, RowError
from engine.formats.learnt import learnt
from engine.formats.registry import FORMATS, detect
from engine.planning import chat_templates
from engine.planning.chat_templates import TemplateProblem
from engine.store.encoded_view import SHOWN_TOKENS, Sample, Token
from engine.worker.chat import PLAIN_TEMPLATE, CannotRender, ChatRenderer, text_in
from engine.worker.loading import load_tokenizer
from engine.worker.render import Renderer
from engine.worker.template_check import of_template
from engine.worker.templates import TRIAL, mistake_in, wearing
from engine.worker.tokenise import close, closing_id, encode
from engine.worker.train_job import read_spec

_KEPT_SECONDS = 120


def answer(job: Job) -> TemplateTried:
    """Write the job's ``row`` with its ``template``. Raises what is wrong with the model."""
    spec = read_spec(job.spec["spec"])
    tokenizer = _tokenizer(spec.model, int(time.monotonic()) // _KEPT_SECONDS)
    try:
        text = job.spec.get("template")
        text = chat_templates.read(spec.dataset.chat_template) if text is None else str(text)
    except TemplateProblem as problem:
        return TemplateTried(problem=str(problem))
    if text is None:
        text = text_in(tokenizer.chat_template or PLAIN_TEMPLATE)
    if mistake := mistake_in(text, tokenizer):
        return TemplateTried(text=text, problem=mistake.sentence, line=mistake.line)
    with wearing(tokenizer, text):
        return _tried(spec, tokenizer, text, job.spec)


@lru_cache(maxsize=1)
def _tokenizer(model: ModelSpec, period: int) -> PreTrainedTokenizerBase:
    """Kept for a while, since a template is tried at each key; anew in each ``period``."""
    return load_tokenizer(model)


def _tried(
    spec: Spec, tokenizer: PreTrainedTokenizerBase, text: str, asked: dict[str, Any]
) -> TemplateTried:
    try:
        example = _example(asked.get("row", ""), str(asked.get("format")))
        talks = [(0, example)] if isinstance(example, Conversation) else []
        odd = of_template(tokenizer, talks or [(0, TRIAL)])
        sample = _sample(spec, tokenizer, example, asked.get("row", ""))
    except (RowError, CannotRender) as error:
        return TemplateTried(text=text, problem=str(error))
    return TemplateTried(text=text, sample=msgspec.to_builtins(sample), findings=odd)


def _example(row: str, format: str) -> Example:
    """Raises RowError."""
    if not row:
        return TRIAL
    try:
        value = msgspec.json.decode(row)
    except msgspec.DecodeError:
        # Of a very long row only the beginning is handed around.
        raise RowError("This row is too long to be shown with another template.") from None
    if format not in FORMATS:  # Of a mixture.
        format = detect([value]).format
    if format not in FORMATS:
        return TRIAL
    return learnt(FORMATS[format].to_example(value)) or TRIAL


def _sample(spec: Spec, tokenizer: PreTrainedTokenizerBase, example: Example, raw: str) -> Sample:
    """As the Data page shows it. Raises CannotRender."""
    loss_on = spec.dataset.loss_on
    rendered = Renderer(lambda: ChatRenderer(tokenizer, loss_on), loss_on)(example)
    made = next(encode(tokenizer, [rendered], always_places=True))
    made = close(made, closing_id(tokenizer)) if rendered.special_tokens else made
    names = {id: token.content for id, token in tokenizer.added_tokens_decoder.items()}
    places = made.places.tolist() if made.places is not None else []
    tokens = [
        Token(begin, end, int(id), bool(flag) and at > 0)
        for at, (id, flag, (begin, end)) in enumerate(
            zip(made.ids, made.flags, places, strict=False)
        )
    ][:SHOWN_TOKENS]
    last = max((token.end for token in tokens), default=0)
    return Sample(
        row=0, place=0, length=len(made.ids),
        targets=int(made.flags[1 : spec.training.max_length].sum()),
        text=rendered.text[:last] if len(tokens) < len(made.ids) else rendered.text,
        tokens=tokens, raw=raw,
        names={token.id: names[token.id] for token in tokens if token.id in names},
        is_shown=bool(places),
    )  # fmt: skip
