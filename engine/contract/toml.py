"""Specs as TOML: read with the standard library, written with each field's description above it."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
from msgspec import UNSET

from engine.contract.hub_id import is_address, is_dataset_id
from engine.contract.messages import Complaint
from engine.contract.shape import rows_of
from engine.contract.spec import (
    DatasetSpec,
    LoraSpec,
    ModelSpec,
    QuantizationSpec,
    Spec,
    Table,
)
from engine.contract.template_names import is_file
from engine.contract.toml_words import in_plain_words
from engine.contract.validate import check

EXAMPLE = Spec(
    name="support-bot",
    model=ModelSpec(path="mistralai/Mistral-7B-v0.3"),
    quantization=QuantizationSpec(),
    lora=LoraSpec(),
    dataset=DatasetSpec(path="support_chats.jsonl"),
)


def read_file(path: Path) -> tuple[dict[str, Any], list[Complaint]]:
    """The raw values of a TOML file, or ``{}`` and why it cannot be read. Never raises."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig")), []
    except FileNotFoundError:
        problem = f"There is no file {path}."
    except OSError as error:
        problem = f"{path} cannot be read: {error.strerror}."
    except UnicodeDecodeError as error:
        problem = f"{path} is not UTF-8 text (byte {error.start})."
    except (ValueError, RecursionError) as error:
        # ValueError: besides TOMLDecodeError, a number of thousands of digits.
        problem = f"{path} is not TOML, {in_plain_words(error)}."
    return {}, [
        Complaint(
            field="spec",
            problem=problem,
            remedy="`fettle spec --example` prints one to start from.",
        )
    ]


def absolute_paths(raw: dict[str, Any], base: Path) -> dict[str, Any]:
    """``raw`` with file paths made absolute, relative ones read from ``base``.

    A model path is a folder only if it is there; else it is taken for a hub id and left alone. A
    dataset's path is left alone if it is not there and can be a hub id or an address.
    """
    changed = _with_template(dict(raw), base)
    for table in ("model", "dataset"):
        values = changed.get(table)
        if isinstance(values, dict):
            changed[table] = _absolute(values, base, is_model=table == "model")
    sources = changed["dataset"].get("sources") if isinstance(raw.get("dataset"), dict) else None
    if isinstance(sources, list):
        found = [_absolute(s, base) if isinstance(s, dict) else s for s in sources]
        changed["dataset"] = {**changed["dataset"], "sources": found}
    return changed


def _absolute(values: dict[str, Any], base: Path, *, is_model: bool = False) -> dict[str, Any]:
    written = values.get("path")
    path = _resolved(base, written) if isinstance(written, str) else None
    if path is None or not isinstance(written, str):
        return values
    # With a folder of the first part's name beside it, a file in there is meant, if a wrong one.
    is_id = is_dataset_id(written) and not (base / written.partition("/")[0]).is_dir()
    may_be_elsewhere = is_model or is_id or is_address(written)
    # os.path, unlike Path, also answers for names that no file can have.
    if may_be_elsewhere and not os.path.exists(path):  # noqa: PTH110
        return values
    return {**values, "path": str(path)}


def _with_template(raw: dict[str, Any], base: Path) -> dict[str, Any]:
    """``dataset.chat_template`` made absolute where it is a file."""
    values = raw.get("dataset")
    if not isinstance(values, dict):
        return raw
    chosen = values.get("chat_template")
    if isinstance(chosen, str) and is_file(chosen):
        path = _resolved(base, chosen)
        raw["dataset"] = {**values, "chat_template": str(path or chosen)}
    return raw


def _resolved(base: Path, written: str) -> Path | None:
    """The path meant by what a person wrote; None if it can be none, which the checks will say."""
    try:
        return (base / Path(written).expanduser()).resolve() if written else None
    except (OSError, ValueError, RuntimeError):
        # RuntimeError: ~somebody who is not known here.
        return None


def to_raw(spec: Spec) -> dict[str, Any]:
    """The spec as plain values, every setting written out; :func:`check` gives it back."""
    raw: dict[str, Any] = msgspec.to_builtins(spec)
    return raw


def write(spec: Spec, *, comments: bool = True) -> str:
    """The spec as TOML. With ``comments`` each setting has its description above it."""
    lines = list(_scalars(spec, comments))
    for name in spec.__struct_fields__:
        value = getattr(spec, name)
        if isinstance(value, Table):
            lines += ["", f"[{name}]", *_scalars(value, comments)]
            for field, rows in _lists_of_tables(value):
                for row in rows:
                    lines += ["", f"[[{name}.{field}]]", *_scalars(row, comments=False)]
    return "\n".join(lines) + "\n"


def _scalars(table: Table, comments: bool) -> Iterator[str]:
    descriptions = describe(type(table))
    for name in table.__struct_fields__:
        value = getattr(table, name)
        if value is UNSET or isinstance(value, Table) or (value == {} and not comments):
            continue
        if comments and descriptions[name]:
            yield f"# {descriptions[name]}"
        if name in _names_of_lists(type(table)):
            continue
        # TOML has no null: what is None is left out, and shown as a comment in the example.
        if value is not None:
            yield f"{name} = {_value(value)}"
        elif comments:
            yield f"# {name} ="


def _lists_of_tables(table: Table) -> Iterator[tuple[str, list[Table]]]:
    for name in _names_of_lists(type(table)):
        yield name, getattr(table, name)


@cache
def _names_of_lists(table: type[Table]) -> tuple[str, ...]:
    """Fields that are lists of tables. Kept: to read a class's hints takes milliseconds."""
    hints = get_type_hints(table, include_extras=True)
    return tuple(name for name in table.__struct_fields__ if rows_of(hints[name]) is not None)


@cache
def describe(table: type[Table]) -> Mapping[str, str]:
    """Each field's description, in plain words."""
    schema = msgspec.json.schema(table)
    properties = schema["$defs"][table.__name__]["properties"]
    return {name: value.get("description", "") for name, value in properties.items()}


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value == int(value) and abs(value) < 1e6:
        return f"{value:.1f}"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, list):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    if isinstance(value, dict):
        pairs = ", ".join(f"{_value(key)} = {_value(item)}" for key, item in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    # JSON's strings are TOML's, but for one control character that JSON lets stand.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def example() -> str:
    """A commented example, sound as it stands but for the paths."""
    assert check(to_raw(EXAMPLE))[0] == EXAMPLE
    return write(EXAMPLE)


def json_schema() -> dict[str, Any]:
    """JSON schema of the TOML file."""
    return msgspec.json.schema(Spec)
