"""Checks over several fields of a spec, or over one further than its type does. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Set
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET

from engine.contract.dataset_rules import (
    OF_ONE,
    columns_are_known,
    data_is_named_once,
    format_suits_method,
    no_settings_of_one_file,
    paths_are_visible,
    roles_are_known,
)
from engine.contract.fix_rules import fixes_suit_method
from engine.contract.masking import has_secret
from engine.contract.messages import Complaint
from engine.contract.shape import touches
from engine.contract.spec import LoraSpec, Spec, Table
from engine.contract.template_names import is_file
from engine.contract.template_rules import (
    pretrain_has_no_answers,
    pretrain_has_no_template,
    template_is_known,
)

EMBEDDING_MODULES = ("embed_tokens", "lm_head")


def _adapter_for_quantized(spec: Spec) -> Iterator[Complaint]:
    if spec.bits != 16 and spec.lora is UNSET:
        yield Complaint(
            field="quantization.bits",
            problem=f"{spec.bits}-bit weights cannot be trained in full.",
            remedy="Add a [lora] table, or set bits = 16.",
            patch={"lora.r": LoraSpec().r},
        )


def _embedding_rate_is_used(spec: Spec) -> Iterator[Complaint]:
    if spec.training.embedding_learning_rate is None or spec.lora is UNSET:
        return
    if spec.lora.trainable_tokens:
        return
    if not set(spec.lora.modules_to_save) & set(EMBEDDING_MODULES):
        yield Complaint(
            field="training.embedding_learning_rate",
            problem="Neither embed_tokens nor lm_head is trained, so this rate has no effect.",
            remedy='Remove it, or add lora.modules_to_save = ["embed_tokens", "lm_head"].',
            patch={"training.embedding_learning_rate": None},
        )


def _steps_make_sense(spec: Spec) -> Iterator[Complaint]:
    if spec.training.max_steps == 0:
        yield Complaint(
            field="training.max_steps",
            problem="0 steps would train nothing.",
            remedy="Write a number of steps, or -1 to go by num_train_epochs.",
            patch={"training.max_steps": -1},
        )


def _name_is_visible(spec: Spec) -> Iterator[Complaint]:
    yield from _visible("name", spec.name, "Write a few plain words.")


def _model_is_visible(spec: Spec) -> Iterator[Complaint]:
    yield from _visible("model.path", spec.model.path, "Write a path.")


def _template_is_visible(spec: Spec) -> Iterator[Complaint]:
    chosen = spec.dataset.chat_template
    if is_file(chosen):
        yield from _visible("dataset.chat_template", chosen, "Write a path.")


def _visible(field: str, text: str, remedy: str) -> Iterator[Complaint]:
    if not text.strip() or any(unicodedata.category(c) == "Cc" for c in text):
        problem = "This is blank or holds control characters."
        yield Complaint(field=field, problem=problem, remedy=remedy)


def _holds_no_secret(spec: Spec) -> Iterator[Complaint]:
    """A run's folder is there to be shown to others."""
    for field, text in _texts_of(msgspec.to_builtins(spec), ""):
        if has_secret(text):
            yield Complaint(
                field=field,
                problem="This holds what looks like a token or a password.",
                remedy="Take it out, and log in with `hf auth login` instead: a run keeps its "
                "settings as they are written.",
            )


def _texts_of(value: Any, field: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield field, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _texts_of(inner, f"{field}.{name}".lstrip("."))
    elif isinstance(value, list):
        for number, inner in enumerate(value, start=1):
            yield from _texts_of(inner, f"{field}[{number}]" if isinstance(inner, dict) else field)


def _something_is_trained(spec: Spec) -> Iterator[Complaint]:
    if spec.lora is UNSET:
        return
    if not spec.lora.target_modules and not spec.lora.modules_to_save:
        yield Complaint(
            field="lora.target_modules",
            problem="No layer gets an adapter.",
            remedy='Write target_modules = "all-linear".',
            patch={"lora.target_modules": "all-linear"},
        )


def _names_are_not_empty(spec: Spec) -> Iterator[Complaint]:
    if not isinstance(spec.lora, LoraSpec):
        return
    for field in ("target_modules", "modules_to_save", "trainable_tokens"):
        names = getattr(spec.lora, field)
        if isinstance(names, list) and not all(map(str.strip, names)):
            yield Complaint(
                field=f"lora.{field}",
                problem="One of the names is empty.",
                remedy="Remove it.",
            )


def _tokens_are_trained_once(spec: Spec) -> Iterator[Complaint]:
    if spec.lora is UNSET or not spec.lora.trainable_tokens:
        return
    targets = spec.lora.target_modules
    named = {*spec.lora.modules_to_save, *(targets if isinstance(targets, list) else [])}
    if named & set(EMBEDDING_MODULES):
        yield Complaint(
            field="lora.trainable_tokens",
            problem="embed_tokens or lm_head is trained as a whole, with these tokens in it.",
            remedy="Remove trainable_tokens, or take the layer out of the other list.",
        )


def _numbers_are_finite(spec: Spec) -> Iterator[Complaint]:
    for table in ("training", "dataset", "lora"):
        struct = getattr(spec, table)
        if not isinstance(struct, Table):
            continue
        for name in struct.__struct_fields__:
            value = getattr(struct, name)
            if isinstance(value, float) and not (-float("inf") < value < float("inf")):
                yield Complaint(
                    field=f"{table}.{name}",
                    problem=f"{value} is not a number to compute with.",
                    remedy="Write a finite number.",
                )


class Rule(NamedTuple):
    """A check of a spec of which not all may be sound."""

    find: Callable[[Spec], Iterator[Complaint]]
    """Yields what is wrong."""
    reads: tuple[str, ...]
    """The settings that must be sound for it; none if it copes with whatever is there."""
    asks_for: tuple[str, ...] = ()
    """Tables of which it matters only whether they are there."""

    def suits(self, unsound: Set[str]) -> bool:
        """Whether it can be asked of a spec in which these are not sound."""
        return not touches(self.reads, unsound) and unsound.isdisjoint(self.asks_for)


RULES = (
    Rule(_adapter_for_quantized, ("quantization.bits",), ("lora",)),
    Rule(
        _embedding_rate_is_used,
        ("training.embedding_learning_rate", "lora.modules_to_save", "lora.trainable_tokens"),
    ),
    Rule(data_is_named_once, ("dataset.path", "dataset.sources")),
    Rule(no_settings_of_one_file, ("dataset.sources", *(f"dataset.{name}" for name in OF_ONE))),
    Rule(paths_are_visible, ("dataset.path", "dataset.sources")),
    Rule(columns_are_known, ("dataset.columns", "dataset.sources")),
    Rule(roles_are_known, ("dataset.roles", "dataset.sources")),
    Rule(format_suits_method, ("method", "dataset.format", "dataset.sources")),
    Rule(template_is_known, ("dataset.chat_template",)),
    Rule(pretrain_has_no_template, ("method", "dataset.chat_template")),
    Rule(pretrain_has_no_answers, ("method", "dataset.loss_on")),
    Rule(fixes_suit_method, ("method", "dataset.fixes")),
    Rule(_steps_make_sense, ("training.max_steps",)),
    Rule(_name_is_visible, ("name",)),
    Rule(_model_is_visible, ("model.path",)),
    Rule(_template_is_visible, ("dataset.chat_template",)),
    Rule(_holds_no_secret, ()),
    Rule(_something_is_trained, ("lora.target_modules", "lora.modules_to_save")),
    Rule(_names_are_not_empty, ()),
    Rule(
        _tokens_are_trained_once,
        ("lora.target_modules", "lora.modules_to_save", "lora.trainable_tokens"),
    ),
    Rule(_numbers_are_finite, ()),
)
