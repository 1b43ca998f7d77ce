"""Specs as TOML: what is written is read back, and what cannot be read is said in a sentence."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from engine.contract import toml
from engine.contract.spec import (
    DatasetSpec,
    HardwareSpec,
    LoraSpec,
    ModelSpec,
    QuantizationSpec,
    Spec,
    Table,
    TrainingSpec,
)
from engine.contract.validate import check

any_text = st.text(
    st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\n\t\x7f\\\"'#"),
    min_size=1,
    max_size=20,
)


def values_of(kind: msgspec.inspect.Type) -> st.SearchStrategy[Any]:
    """What may stand in a field, from its own bounds."""
    if isinstance(kind, msgspec.inspect.Metadata):
        return values_of(kind.type)
    if isinstance(kind, msgspec.inspect.UnionType):
        return st.one_of(*map(values_of, kind.types))
    if isinstance(kind, msgspec.inspect.LiteralType):
        return st.sampled_from(kind.values)
    if isinstance(kind, msgspec.inspect.IntType):
        least, most = kind.ge, kind.le if kind.le is not None else kind.lt and kind.lt - 1
        return st.integers(least, most)
    if isinstance(kind, msgspec.inspect.FloatType):
        least = kind.ge if kind.ge is not None else kind.gt
        most = kind.le if kind.le is not None else kind.lt
        return st.floats(
            least,
            most,
            exclude_min=kind.gt is not None,
            exclude_max=kind.lt is not None,
            allow_nan=False,
            allow_infinity=False,
        )
    if isinstance(kind, msgspec.inspect.StrType):
        return any_text
    if isinstance(kind, msgspec.inspect.StructType):
        return tables(kind.cls)
    if isinstance(kind, msgspec.inspect.ListType):
        return st.lists(values_of(kind.item_type), max_size=2)
    simple: dict[type, st.SearchStrategy[Any]] = {
        msgspec.inspect.BoolType: st.booleans(),
        msgspec.inspect.NoneType: st.none(),
        msgspec.inspect.DictType: st.dictionaries(any_text, any_text, max_size=2),
    }
    return simple[type(kind)]


def tables(kind: type[Table]) -> st.SearchStrategy[Any]:
    hints = get_type_hints(kind, include_extras=True)
    return st.builds(
        kind, **{name: values_of(msgspec.inspect.type_info(hint)) for name, hint in hints.items()}
    )


specs = st.builds(
    Spec,
    name=any_text,
    method=st.sampled_from(["sft", "pretrain"]),
    model=tables(ModelSpec),
    quantization=st.just(UNSET) | tables(QuantizationSpec),
    lora=st.just(UNSET) | tables(LoraSpec),
    dataset=tables(DatasetSpec),
    training=tables(TrainingSpec),
    hardware=tables(HardwareSpec),
)


# ---------------------------------------------------------------- writing


@given(spec=specs, comments=st.booleans())
def test_what_is_written_is_read_back(spec: Spec, comments: bool) -> None:
    read = tomllib.loads(toml.write(spec, comments=comments))
    assert msgspec.convert(read, Spec) == spec


@given(spec=specs)
def test_plain_values_give_the_spec_back_unless_a_rule_speaks(spec: Spec) -> None:
    found, complaints = check(toml.to_raw(spec))
    assert found == spec or complaints


def test_comments_are_the_descriptions() -> None:
    written = toml.write(toml.EXAMPLE)
    assert "# Rank: how much the adapter can learn" in written
    assert "# revision =" in written
    assert "#" not in toml.write(toml.EXAMPLE, comments=False)


def test_the_example_is_sound_and_names_every_setting() -> None:
    written = toml.example()
    spec, complaints = check(tomllib.loads(written))
    assert complaints == []
    assert spec == toml.EXAMPLE
    for table in (ModelSpec, QuantizationSpec, LoraSpec, DatasetSpec, TrainingSpec, HardwareSpec):
        for name in table.__struct_fields__:
            assert f"{name} =" in written or f"[[dataset.{name}]]" in written


def test_the_schema_knows_the_tables() -> None:
    schema = toml.json_schema()
    assert {"Spec", "LoraSpec", "TrainingSpec"} <= set(schema["$defs"])


# ---------------------------------------------------------------- reading


def test_a_file_is_read_with_and_without_a_mark_of_windows(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    for start in (b"", b"\xef\xbb\xbf"):
        file.write_bytes(start + b'name = "x"')
        assert toml.read_file(file) == ({"name": "x"}, [])


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"name = ", "is not TOML"),
        (b"name = 'x'\nlora = \n", "line 2: this is no value: text needs quotation marks"),
        (b'name = "x\n', "line 1: a text ends without its closing quotation mark"),
        (b"name 'x'\n", "line 1: there is no = between"),
        (b"a = 1\na = 2\n", "line 2: this setting is written a second time"),
        (b"[lora]\n[lora]\n", "line 2: this table is written a second time"),
        (b"a = 1 b = 2\n", "line 1: something stands behind a value"),
        (b"a = [1,\n", "at its end: "),
        (b"day = 2026-13-45", "is not TOML"),
        (b"\xff\xfen\0a\0", "is not UTF-8 text (byte 0)"),
        (b"\x00\x01\x02", "is not TOML"),
        (b"a = " + b"[" * 5000, "is not TOML"),
        (b"a = " + b"1" * 5000, "is not TOML"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path: Path, content: bytes, problem: str) -> None:
    file = tmp_path / "run.toml"
    file.write_bytes(content)
    raw, (complaint,) = toml.read_file(file)
    assert raw == {}
    assert problem in complaint.problem
    assert "--example" in complaint.remedy


def test_a_file_that_is_not_there_or_not_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for name, problem in [
        ("none.toml", "There is no file"),
        (".", "cannot be read"),
        ("file/below.toml", "cannot be read"),
        ("x" * 5000, "cannot be read"),
    ]:
        _, (complaint,) = toml.read_file(tmp_path / name)
        assert problem in complaint.problem


# ---------------------------------------------------------------- paths


def test_paths_are_read_from_where_the_file_lies(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    raw = {"model": {"path": "model", "revision": None}, "dataset": {"path": "sub/d.jsonl"}}
    assert toml.absolute_paths(raw, tmp_path) == {
        "model": {"path": str(tmp_path / "model"), "revision": None},
        "dataset": {"path": str(tmp_path / "sub" / "d.jsonl")},
    }
    assert raw["model"]["path"] == "model"


def test_a_model_that_is_no_folder_here_is_a_hub_id(tmp_path: Path) -> None:
    raw = {"model": {"path": "mistralai/Mistral-7B-v0.3"}}
    assert toml.absolute_paths(raw, tmp_path) == raw


@pytest.mark.parametrize("path", ["", "a\0b", "~nobody-of-this-name/x", "x" * 5000, 3, None])
def test_what_can_be_no_path_is_left_to_the_checks(tmp_path: Path, path: object) -> None:
    raw = {"model": {"path": path}}
    assert toml.absolute_paths(raw, tmp_path) == raw
    toml.absolute_paths({"dataset": {"path": path}}, tmp_path)


def test_what_is_no_table_is_left_alone(tmp_path: Path) -> None:
    raw = {"model": "m", "dataset": []}
    assert toml.absolute_paths(raw, tmp_path) == raw


def test_what_lies_in_a_folder_beside_the_file_is_no_hub_id(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    there = toml.absolute_paths({"dataset": {"path": "data/chats"}}, tmp_path)
    assert there == {"dataset": {"path": str(tmp_path / "data" / "chats")}}
    elsewhere = {"dataset": {"path": "org/chats"}}
    assert toml.absolute_paths(elsewhere, tmp_path) == elsewhere
