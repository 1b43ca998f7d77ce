"""The chat template of a run: chosen, looked through for mistakes, and given to the tokenizer."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import jinja2
import msgspec
from jinja2 import meta, nodes
from transformers import PreTrainedTokenizerBase
from transformers.utils.chat_template_utils import _compile_jinja_template

from engine.contract.spec import Spec
from engine.formats.example import Conversation, Turn
from engine.planning import chat_templates, template_syntax
from engine.planning.chat_templates import TemplateProblem
from engine.worker.chat import CannotRender, ChatRenderer, line_of, sentence_of
from engine.worker.failures import JobError
from engine.worker.report import Report

TRIAL = Conversation(
    messages=[
        Turn(role="user", content="Name a river."), Turn(role="assistant", content="The Elbe."),
        Turn(role="user", content="Another."), Turn(role="assistant", content="The Oder."),
    ]
)  # fmt: skip
"""What every chat template can write."""

MOST_LINES = 200_000
"""Lines of a template that one conversation may take; a long one takes some thousands."""
MOST_CHARS = 32 << 20
"""Of what a template may write of a conversation of a few words."""
_PROVIDED = frozenset({
    "messages", "tools", "documents", "add_generation_prompt", "bos_token", "eos_token",
    "unk_token", "sep_token", "pad_token", "cls_token", "mask_token", "additional_special_tokens",
})  # fmt: skip
"""Names that transformers gives to a template, where the tokenizer has them."""


class Mistake(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with a template."""

    sentence: str
    """With the line in it, if it is known."""
    line: int | None = None
    """The first is 1."""


class _Endless(Exception):
    """A template that goes on and on."""


def dress(tokenizer: PreTrainedTokenizerBase, spec: Spec, report: Report | None = None) -> None:
    """Give the tokenizer the template that the spec chooses, and say so. Raises JobError if it
    cannot be used."""
    try:
        text = chat_templates.read(spec.dataset.chat_template)
    except TemplateProblem as problem:
        raise _unusable(problem.problem, problem.remedy) from problem
    if text is None:
        return
    if mistake := mistake_in(text, tokenizer):
        cause = f"{spec.dataset.chat_template}: {mistake.sentence}"
        raise _unusable(cause, template_syntax.REMEDY)
    if report is not None and text != tokenizer.chat_template:
        report.decided(
            f"The chat template {spec.dataset.chat_template} is used, not the model's own.",
            "dataset.chat_template says so.",
            "Chats must use the same template; it is saved with the result.",
        )
    tokenizer.chat_template = text


def _unusable(cause: str, remedy: str) -> JobError:
    return JobError("bad_input", "The chat template cannot be used.", cause=cause, remedy=remedy)


def mistake_in(text: str, tokenizer: PreTrainedTokenizerBase) -> Mistake | None:
    """What keeps a template from being used: how it is written, a name that does not exist, or
    what happens when it is tried. The tokenizer is left as it is."""
    try:
        compiled: Any = _compile_jinja_template(text)
    except jinja2.TemplateSyntaxError as error:
        return Mistake(sentence=f"Line {error.lineno}: {error.message}", line=error.lineno)
    known = {*_PROVIDED, *tokenizer.special_tokens_map, *compiled.environment.globals}
    return _unknown_name(compiled.environment.parse(text), known) or _tried(text, tokenizer)


# ---------------------------------------------------------------- names


def _unknown_name(tree: nodes.Template, known: set[str]) -> Mistake | None:
    """The first name that is nowhere set, and not asked for either: an option that a template
    looks for (``if enable_thinking``, ``x is defined``) may be missing."""
    strange = meta.find_undeclared_variables(tree) - known - set(_asked_for(tree))
    found = [
        (name.lineno, name.name)
        for name in tree.find_all(nodes.Name)
        if name.ctx == "load" and name.name in strange
    ]
    if not found:
        return None
    line, name = min(found)
    own = {each.name for each in tree.find_all(nodes.Name) if each.ctx != "load"}
    close = difflib.get_close_matches(name, known | own, n=1, cutoff=0.7)
    guess = f" Did you mean {close[0]}?" if close else ""
    return Mistake(sentence=f"Line {line}: nothing is called {name!r}.{guess}", line=line)


def _asked_for(tree: nodes.Template) -> Iterator[str]:
    for test in tree.find_all(nodes.Test):
        if isinstance(test.node, nodes.Name):
            yield test.node.name
    for each in tree.find_all(nodes.Filter):
        if each.name in ("default", "d") and isinstance(each.node, nodes.Name):
            yield each.node.name
    branches: list[nodes.If | nodes.CondExpr] = [*tree.find_all(nodes.If)]
    branches += tree.find_all(nodes.CondExpr)
    for branch in branches:
        yield from _bare(branch.test)


def _bare(condition: nodes.Node) -> Iterator[str]:
    if isinstance(condition, nodes.Name):
        yield condition.name
    elif isinstance(condition, (nodes.And, nodes.Or, nodes.Not)):
        for part in condition.iter_child_nodes():
            yield from _bare(part)


# ---------------------------------------------------------------- trying


def _tried(text: str, tokenizer: PreTrainedTokenizerBase) -> Mistake | None:
    with wearing(tokenizer, text):
        try:
            with _bounded():
                rendered = ChatRenderer(tokenizer, "everything")(TRIAL)
        except _Endless as error:
            line = line_of(error)
            return Mistake(sentence=f"Line {line}: this does not come to an end.", line=line)
        except CannotRender as error:
            cause = error.__cause__ or error
            if type(cause) is jinja2.TemplateError:
                return None  # It wants other conversations: each of them is told.
            sentence = sentence_of(cause).replace(" of the chat template", "", 1)
            return Mistake(sentence=sentence, line=line_of(cause))
    if len(rendered.text) > MOST_CHARS:
        return Mistake(sentence=f"It writes {len(rendered.text):,} characters of four short turns.")
    return None


@contextmanager
def wearing(tokenizer: PreTrainedTokenizerBase, text: Any) -> Iterator[None]:
    """A tokenizer with this template for a while."""
    before, tokenizer.chat_template = tokenizer.chat_template, text
    try:
        yield
    finally:
        tokenizer.chat_template = before


@contextmanager
def _bounded() -> Iterator[None]:
    """Raises :class:`_Endless` out of a template that takes too many lines."""
    left = MOST_LINES

    def on_line(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if event == "line":
            left -= 1
            if left < 0:
                raise _Endless
        return on_line

    def on_call(frame: FrameType, event: str, _: Any) -> Any:
        return on_line if frame.f_code.co_filename == "<template>" else None

    before = sys.gettrace()
    sys.settrace(on_call)
    try:
        yield
    finally:
        sys.settrace(before)
