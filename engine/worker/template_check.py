"""What is odd about a chat template with this model and data, found before a run starts.

Where a template marks its answers, the marks are compared with a second way of finding them:
rendering the conversation up to each answer, and with it. Where they differ the marks are used, and
it is said.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import msgspec
from transformers import PreTrainedTokenizerBase

from engine.contract.dataset_report import RowFinding
from engine.contract.spec import Spec
from engine.formats.corpus import examples_of
from engine.formats.entries import Reading, readings
from engine.formats.example import Conversation
from engine.planning import chat_templates
from engine.planning.surroundings import local_folder
from engine.worker.chat import (
    MISTAKES,
    PLAIN_TEMPLATE,
    CannotRender,
    ChatRenderer,
    Rendered,
    Span,
)
from engine.worker.report import Report
from engine.worker.templates import TRIAL, wearing
from engine.worker.tokenise import encode, learnt

READ = 1000
"""Rows from the first that are looked through for conversations of another make."""
ALWAYS = 32
"""Conversations that are compared whatever their make."""
_SHOWN_CHARS = 40


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of one conversation on which marks and turns do not agree."""

    text: str
    """The first of them."""
    is_missing: bool
    """The marks leave it out; else they take in what is no answer."""
    is_end: bool
    """It is what ends an answer."""


def tell(spec: Spec, tokenizer: PreTrainedTokenizerBase, report: Report) -> None:
    """Say what was found, but for what is said before a worker starts. Raises DatasetError."""
    told = chat_templates.unknown_end(spec.dataset.chat_template, local_folder(spec))
    for found in findings(spec, tokenizer):
        if told and found.code == "template_end_unknown":
            continue
        report.found(
            found.code, found.title, severity=found.severity, cause=found.cause,
            remedy=found.remedy,
        )  # fmt: skip


def findings(
    spec: Spec, tokenizer: PreTrainedTokenizerBase, entries: Sequence[Reading] = ()
) -> list[RowFinding]:
    """All that is odd; nothing where the data holds no conversations. ``entries`` are those of the
    dataset, where they have been found. Raises DatasetError."""
    if spec.method != "sft":
        return []
    rows = islice(examples_of(entries or list(readings(spec.dataset)), spec.method), READ)
    talks = [
        (place, row.example)
        for place, row in enumerate(rows)
        if isinstance(row.example, Conversation)
    ]
    return of_template(tokenizer, talks) if talks else []


def of_template(
    tokenizer: PreTrainedTokenizerBase, talks: Iterable[tuple[int, Conversation]]
) -> list[RowFinding]:
    """What is odd about the tokenizer's template, tried on conversations with their rows."""
    with wearing(tokenizer, tokenizer.chat_template or PLAIN_TEMPLATE):
        renderer = ChatRenderer(tokenizer)
        return [
            *_beginning(tokenizer, renderer),
            *_ending(tokenizer, renderer),
            *_spans(tokenizer, renderer, _chosen(talks)),
        ]


def _chosen(talks: Iterable[tuple[int, Conversation]]) -> Iterator[tuple[int, Conversation]]:
    """The first, and of the others one of each make."""
    seen: set[object] = set()
    for count, (row, talk) in enumerate(talks):
        roles = tuple((turn.role, bool(turn.tool_calls)) for turn in talk.messages)
        make = (talk.tools is not None, roles)
        if count < ALWAYS or make not in seen:
            yield row, talk
        seen.add(make)


# ---------------------------------------------------------------- how it begins, how answers end


def _beginning(tokenizer: PreTrainedTokenizerBase, renderer: ChatRenderer) -> list[RowFinding]:
    begin = tokenizer.bos_token
    try:
        text = renderer(TRIAL).text
    except CannotRender:
        return []
    before = text.partition(begin)[0].strip() if begin and begin in text else ""
    if not before:
        return []
    return [
        RowFinding(
            code="template_before_begin",
            severity="warning",
            title=f"The chat template writes text in front of {begin}.",
            cause=f"{before[:_SHOWN_CHARS]!r} stands before the token with which every text that "
            "the model knows begins.",
            remedy=f"Write {begin} first, and that text behind it, such as in the system message.",
        )
    ]


def _ending(tokenizer: PreTrainedTokenizerBase, renderer: ChatRenderer) -> list[RowFinding]:
    try:
        closing = closing_of(renderer)
    except CannotRender:
        return []
    if closing is None:
        return []
    if not closing:
        return [_no_end()]
    ids = tokenizer(closing, add_special_tokens=False)["input_ids"]
    added = tokenizer.added_tokens_decoder.values()
    known = (token.content for token in added if token.content)
    if len(ids) == 1 or closing.startswith(tuple(known)):
        return []
    return [_unknown_end(tokenizer, closing, len(ids))]


def closing_of(renderer: ChatRenderer) -> str | None:
    """What a template writes behind an answer before anything else comes, without spaces; None if
    it writes the answer otherwise than it is."""
    text = renderer(TRIAL).text
    said = TRIAL.messages[-1].content
    at = text.rfind(said)
    return text[at + len(said) :].strip() if at >= 0 else None


def _no_end() -> RowFinding:
    return RowFinding(
        code="template_without_end",
        severity="warning",
        title="The chat template does not end answers with a token.",
        cause="Nothing stands behind the last answer, so the model is not taught to stop.",
        remedy="Write eos_token, or the model's end-of-turn token, behind each answer.",
    )


def _unknown_end(tokenizer: PreTrainedTokenizerBase, closing: str, pieces: int) -> RowFinding:
    name = re.split(r"\s", closing)[0][:_SHOWN_CHARS]
    vocabulary = tokenizer.get_vocab()
    fitting = [t.name for t in chat_templates.bundled() if _fits(t.end_of_turn, vocabulary)]
    return RowFinding(
        code="template_end_unknown",
        severity="warning",
        title=f"The chat template ends turns with {name}, which this model does not know as one "
        "token.",
        cause=f"It is read as {pieces} pieces that the model has to spell out to stop, and "
        "programs that wait for one token never see it.",
        remedy=f"Choose a template with an end that the model knows ({', '.join(fitting)}), or a "
        f"model that knows {name}.",
        patch={chat_templates.FIELD: "plain"},
    )


def _fits(end: str, vocabulary: dict[str, int]) -> bool:
    return not end or end in vocabulary


# ---------------------------------------------------------------- where answers are


def _spans(
    tokenizer: PreTrainedTokenizerBase, renderer: ChatRenderer,
    talks: Iterable[tuple[int, Conversation]],
) -> list[RowFinding]:  # fmt: skip
    looked = 0
    differs: dict[int, Difference] = {}
    unsure: list[int] = []
    for row, talk in talks:
        talk = renderer.fitting(talk)
        try:
            turns = renderer.by_turns(talk)
            marked = renderer.marked(talk) if renderer.has_marks else None
        except MISTAKES:
            continue  # Told where the row is encoded.
        looked += 1
        if None in turns:
            unsure.append(row)
        elif marked is not None and (found := difference(tokenizer, marked, turns)):
            differs[row] = found
    odd = [_marks_differ(differs, looked)] if differs else []
    return odd + ([_rewrites(unsure, looked, renderer.has_marks)] if unsure else [])


def difference(
    tokenizer: PreTrainedTokenizerBase, marked: tuple[str, list[Span]], turns: list[Span | None]
) -> Difference | None:
    """The first token that only one of the two ways takes for an answer's. Spaces and line ends
    around an answer may be either."""
    text, marks = marked
    spans = [span for span in turns if span]
    if not tokenizer.is_fast:
        return None
    encoded = next(encode(tokenizer, [Rendered(text=text, spans=marks)], always_places=True))
    assert encoded.places is not None
    wanted = learnt(encoded.places, spans)
    for place in (encoded.flags != wanted).nonzero()[0].tolist():
        begin, end = encoded.places[place].tolist()
        if text[begin:end].strip():
            is_missing = bool(wanted[place])
            rest = next((b for a, b in spans if a <= begin < b), end)
            shown = text[begin : rest if is_missing else end].strip()
            return Difference(
                text=shown[:_SHOWN_CHARS],
                is_missing=is_missing,
                is_end=is_missing and any(a < begin for a, _ in marks) and len(shown) < 20,
            )
    return None


def _marks_differ(differs: dict[int, Difference], looked: int) -> RowFinding:
    first = next(iter(differs.values()))
    if first.is_missing:
        cause = f"They leave out {first.text!r}, which the model has to write itself when asked."
    else:
        cause = f"They take in {first.text!r}, which is no part of an answer."
    remedy = "Let {% generation %} begin where the answer begins, and end behind its end token."
    if first.is_end:
        remedy = "Put the end token inside {% generation %}, or the model is not taught to stop."
    return RowFinding(
        code="marks_differ",
        severity="warning",
        title=f"The template's {{% generation %}} marks are not where the answers are, in "
        f"{len(differs)} of {looked} conversations looked at.",
        cause=f"{cause} The marks are what counts.",
        remedy=remedy,
        row_count=len(differs),
        rows=list(differs)[:200],
    )


def _rewrites(unsure: list[int], looked: int, has_marks: bool) -> RowFinding:
    if has_marks:
        how = "Its {% generation %} marks are taken as they are: they cannot be checked there."
    else:
        how = "Such answers are found by their words, and not learnt where they are not there."
    return RowFinding(
        code="template_rewrites",
        severity="info",
        title=f"The chat template writes earlier turns otherwise once later ones follow, in "
        f"{len(unsure)} of {looked} conversations looked at.",
        cause=how,
        remedy="Look at some of them, or choose a template that leaves earlier turns as they are.",
        row_count=len(unsure),
        rows=unsure[:200],
    )
