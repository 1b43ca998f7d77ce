"""Checks a spec: raw values in, a :class:`Spec` or *all* complaints out.

Pure. Each field is converted by itself, so that one mistake does not hide the next. What goes over
several fields is checked by :mod:`engine.contract.spec_rules`: every rule whose own fields are
sound, whatever the others are.
"""

from __future__ import annotations

import difflib
import functools
import re
import reprlib
import types
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from engine.contract.dataset_rules import data_is_missing
from engine.contract.masking import masked
from engine.contract.messages import Complaint
from engine.contract.spec import Spec, Table
from engine.contract.spec_rules import RULES

LONGEST_NAME = 80
"""Of what a person wrote, no more is looked at or shown."""
_MISSING = object()
_Kind = TypeVar("_Kind", bound=Table)
_ALIASES = {
    "rank": "r", "lora_r": "r", "lora_rank": "r", "lora_dim": "r", "alpha": "lora_alpha",
    "dropout": "lora_dropout", "lora_target": "target_modules", "targets": "target_modules",
    "lora_target_modules": "target_modules", "lora_modules_to_save": "modules_to_save",
    "lr": "learning_rate", "epochs": "num_train_epochs", "num_epochs": "num_train_epochs",
    "steps": "max_steps", "batch_size": "per_device_train_batch_size",
    "micro_batch_size": "per_device_train_batch_size",
    "train_batch_size": "per_device_train_batch_size",
    "grad_accum": "gradient_accumulation_steps", "accumulation": "gradient_accumulation_steps",
    "gradient_accumulation": "gradient_accumulation_steps", "optimizer": "optim",
    "lr_scheduler": "lr_scheduler_type", "scheduler": "lr_scheduler_type",
    "max_seq_length": "max_length", "max_seq_len": "max_length", "sequence_len": "max_length",
    "cutoff_len": "max_length", "block_size": "max_length", "context_length": "max_length",
    "sample_packing": "packing", "base_model": "path", "model_name_or_path": "path",
    "val_set_size": "eval_fraction", "val_size": "eval_fraction", "template": "chat_template",
    "train_on_inputs": "loss_on", "train_on_prompt": "loss_on", "mask_history": "loss_on",
    "completion_only_loss": "loss_on", "assistant_only_loss": "loss_on",
}  # fmt: skip
"""What other trainers call a setting."""
_SHOWN = reprlib.Repr()
_SHOWN.maxstring = _SHOWN.maxother = 60
_SHOWN.maxlevel = 3


def check(raw: object) -> tuple[Spec | None, list[Complaint]]:
    """The spec in ``raw`` (what a TOML file holds), or None and everything wrong with it."""
    if not isinstance(raw, dict):
        return None, [Complaint(field="spec", problem="This is not a table of settings.")]
    spec, complaints = _read_table(raw, Spec, "")
    complaints += data_is_missing(raw)
    unsound = {found.field for found in complaints} | _doubtful(raw, Spec, "")
    for rule in RULES:
        if rule.suits(unsound):
            complaints += rule.find(spec)
    return (None if complaints else spec), complaints


def _doubtful(raw: dict[str, Any], kind: type[Table], prefix: str) -> set[str]:
    """Settings that are not there, where a key that nobody knows may be meant for one of them."""
    fields = _fields_of(kind)
    found: set[str] = set()
    if not raw.keys() <= fields.keys():
        found = {prefix + name for name in fields.keys() - raw.keys()}
    for name, (hint, _) in fields.items():
        table, inner = table_of(hint), raw.get(name)
        if table is not None and isinstance(inner, dict):
            found |= _doubtful(inner, table, f"{prefix}{name}.")
    return found


def _read_table(
    raw: dict[str, Any], kind: type[_Kind], prefix: str
) -> tuple[_Kind, list[Complaint]]:
    """The table, with None for each field that there is a complaint about."""
    fields = _fields_of(kind)
    complaints = [_unknown(key, list(fields), prefix) for key in raw if key not in fields]
    values: dict[str, Any] = {}
    for name, (hint, is_required) in fields.items():
        path = prefix + name
        value = raw.get(name, _MISSING)
        if value is _MISSING:
            if is_required:
                values[name] = None
                complaints.append(_missing(path, hint))
            continue
        found, problems = _read_value(value, hint, path)
        values[name] = found
        complaints += problems
    return kind(**values), complaints


@functools.cache
def _fields_of(kind: type[Table]) -> dict[str, tuple[Any, bool]]:
    """Of each field what it holds and whether it is required; making this out takes longer than
    all the rest of a check, and a form checks at every key."""
    hints = get_type_hints(kind, include_extras=True)
    return {f.name: (hints[f.name], f.required) for f in msgspec.structs.fields(kind)}


def _read_value(value: Any, hint: Any, path: str) -> tuple[Any, list[Complaint]]:
    table = table_of(hint)
    if (rows := rows_of(hint)) is not None:
        return _read_rows(value, rows, path)
    if table is None:
        try:
            return msgspec.convert(value, hint), []
        except msgspec.ValidationError as error:
            return None, [_wrong(path, value, hint, str(error))]
    if not isinstance(value, dict):
        return None, [
            Complaint(
                field=path,
                problem="This must be a table.",
                remedy=f"Write [{path}] with its settings below it.",
            )
        ]
    return _read_table(value, table, path + ".")


def _read_rows(value: Any, table: type[Table], path: str) -> tuple[Any, list[Complaint]]:
    """Of a list of tables; they are counted from 1."""
    if not (isinstance(value, list) and all(isinstance(row, dict) for row in value)):
        return None, [
            Complaint(
                field=path,
                problem="This must be a list of tables.",
                remedy=f"Write [[{path}]] with its settings below it, once for each.",
            )
        ]
    rows: list[Table] = []
    complaints: list[Complaint] = []
    for number, row in enumerate(value, start=1):
        found, problems = _read_table(row, table, f"{path}[{number}].")
        complaints += problems
        rows.append(found)
    return rows, complaints


def rows_of(hint: Any) -> type[Table] | None:
    """The table that a list holds several of, None if the field is no such list."""
    while get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    return table_of(get_args(hint)[0]) if get_origin(hint) is list else None


def table_of(hint: Any) -> type[Table] | None:
    """The table a field holds, None if it holds a plain value."""
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    for option in options:
        if isinstance(option, type) and issubclass(option, Table):
            return option
    return None


def _unknown(key: str, known: list[str], prefix: str) -> Complaint:
    key = masked(key)[:LONGEST_NAME]
    meant = _ALIASES.get(key.lower(), key)
    close = [meant] if meant in known else []
    place = "" if close else _table_with(meant)
    if not close and not place:
        close = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    where = f"[{prefix[:-1]}]" if prefix else "the top of the file"
    remedy = f"Known in {where}: {', '.join(known)}."
    if place:
        remedy = f"It belongs in [{place}]: write {place}.{meant}."
    elif close:
        remedy = f"Did you mean {prefix}{close[0]}?"
    return Complaint(field=prefix + key, problem="There is no such setting.", remedy=remedy)


def _table_with(name: str) -> str:
    """The table of a spec that has a setting of that name; empty if none has."""
    tables = {
        place: found for place, (hint, _) in _fields_of(Spec).items() if (found := table_of(hint))
    }
    return next((place for place, kind in tables.items() if name in kind.__struct_fields__), "")


def _missing(path: str, hint: Any) -> Complaint:
    if table_of(hint) is not None:
        return Complaint(
            field=path, problem="This table is missing.", remedy=f"Add [{path}] with its settings."
        )
    return Complaint(
        field=path,
        problem="This is missing.",
        remedy=_describe(hint),
    )


def _wrong(path: str, value: Any, hint: Any, error: str) -> Complaint:
    reason = re.sub(r" - at `.*`$", "", error)
    return Complaint(
        field=path,
        problem=f"{_shown(value)} does not fit: {in_plain_words(reason)}.",
        remedy=_remedy(value, hint),
    )


def _shown(value: Any) -> str:
    """What was written, cut; a token in the wrong place is not said again."""
    return masked(_SHOWN.repr(masked(value) if isinstance(value, str) else value))


def in_plain_words(reason: str) -> str:
    """What msgspec says of a value, without the names of types."""
    words = {
        "`int`": "a whole number",
        "`float`": "a number",
        "`str`": "text",
        "`bool`": "true or false",
        "`array`": "a list",
        "`object`": "a table",
        "`null`": "nothing",
    }
    # What was written is shown already, and may be long.
    reason = re.sub(r"(?s)Invalid enum value.*", "it is none of the choices", reason)
    for technical, plain in words.items():
        reason = reason.replace(technical, plain)
    return reason[:1].lower() + reason[1:]


def _remedy(value: Any, hint: Any) -> str:
    choices = choices_of(hint)
    if choices:
        written = {str(choice): repr(choice) for choice in choices}
        close = difflib.get_close_matches(str(value)[:LONGEST_NAME], written, n=1)
        guess = f"Did you mean {written[close[0]]}? " if close else ""
        return guess + f"Write one of {', '.join(written.values())}."
    return _describe(hint)


def choices_of(hint: Any) -> tuple[Any, ...]:
    """The values of a field that takes one of a few; empty for any other field."""
    while get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    return get_args(hint) if get_origin(hint) is Literal else ()


def _describe(hint: Any) -> str:
    return " ".join(str(meta.description) for meta in getattr(hint, "__metadata__", ()))
