"""Options of other programs for how conversations are written, and what of them is learnt. Pure."""

from __future__ import annotations

from engine.contract.template_names import is_file
from engine.planning.chat_templates import FIELD, known_as
from engine.planning.recipe_draft import Draft, first_of, is_yes


def template(draft: Draft) -> None:
    """How conversations are written; another program's name for it, or its own Jinja."""
    written = draft.take("chat_template_jinja")
    name = first_of(draft, "template", "chat_template", "chat_template_path")
    if written or (isinstance(name, str) and "{%" in name):
        text = "Its text is left out: put it into a .jinja file, and its path here."
        draft.note("lost", "chat_template", text, FIELD)
        return
    if not isinstance(name, str) or name in ("", "auto", "tokenizer_default", "jinja"):
        return
    known = name if is_file(name) else known_as(name)
    if known:
        why = "" if known == name else f"{name} is called {known} here."
        draft.set(FIELD, known, "chat_template", why)
    else:
        text = f"{name} is not bundled; the model's own chat template is taken."
        draft.note("lost", "chat_template", text, FIELD)


def learnt(draft: Draft) -> None:
    """What the loss counts, from flags of three programs."""
    asked = {name: draft.take(name) for name in ("train_on_inputs", "train_on_prompt",
             "mask_history", "completion_only_loss", "assistant_only_loss", "roles_to_train",
             "train_on_eos")}  # fmt: skip
    roles = asked["roles_to_train"]
    asks_all = isinstance(roles, list) and {"user", "human"} & {str(role) for role in roles}
    if is_yes(asked["train_on_inputs"]) or is_yes(asked["train_on_prompt"]) or asks_all:
        draft.set("dataset.loss_on", "everything", "train_on_inputs", "Questions are learnt too.")
    elif is_yes(asked["mask_history"]):
        draft.set("dataset.loss_on", "last_answer", "mask_history", "Only the last answer counts.")
    elif asked["completion_only_loss"] is False and not is_yes(asked["assistant_only_loss"]):
        why = "Prompts are learnt too."
        draft.set("dataset.loss_on", "everything", "completion_only_loss", why)
    elif asked["assistant_only_loss"] is False:
        text = 'Here only answers are learnt; dataset.loss_on = "everything" learns all.'
        draft.note("changed", "assistant_only_loss", text, "dataset.loss_on")
