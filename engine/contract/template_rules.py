"""What a spec says of chat templates, checked as far as it can be without a file. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from engine.contract.messages import Complaint
from engine.contract.spec import Spec
from engine.contract.template_names import AUTO, BUNDLED, is_auto, is_file, meant


def template_is_known(spec: Spec) -> Iterator[Complaint]:
    """A name must be one that is bundled."""
    chosen = spec.dataset.chat_template
    if is_auto(chosen) or is_file(chosen) or chosen in BUNDLED:
        return
    close = meant(chosen)
    guess = f"Did you mean {close}? " if close else ""
    yield Complaint(
        field="dataset.chat_template",
        problem=f"There is no bundled chat template called {chosen[:60]!r}.",
        remedy=f"{guess}Write auto, one of {', '.join(BUNDLED)}, or the path of a .jinja file.",
        patch={"dataset.chat_template": close} if close else {},
    )


def pretrain_has_no_template(spec: Spec) -> Iterator[Complaint]:
    """Plain text has none."""
    if spec.method == "pretrain" and not is_auto(spec.dataset.chat_template):
        yield Complaint(
            field="dataset.chat_template",
            problem="pretrain learns from plain text, which no chat template is put around.",
            remedy='Remove it, or write method = "sft".',
            patch={"dataset.chat_template": AUTO},
        )


def pretrain_has_no_answers(spec: Spec) -> Iterator[Complaint]:
    """All of a plain text is learnt."""
    if spec.method == "pretrain" and spec.dataset.loss_on == "last_answer":
        yield Complaint(
            field="dataset.loss_on",
            problem="pretrain learns every token of a text; there are no answers in it.",
            remedy='Remove it, or write method = "sft".',
            patch={"dataset.loss_on": "answers"},
        )
