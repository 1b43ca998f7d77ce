"""Rules are asked of a spec of which not all is sound: each says what it reads of it."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any, cast

import pytest
from msgspec import UNSET

from engine.contract.shape import fields_of, overlap, rows_of, table_of
from engine.contract.spec import Spec, Table
from engine.contract.spec_rules import RULES, Rule
from engine.contract.validate import check, examine

SOUND: dict[str, Any] = {
    "name": "x", "model": {"path": "m"}, "dataset": {"path": "d.jsonl"}, "lora": {},
    "quantization": {"bits": 4},
}  # fmt: skip
ALL_WRONG: dict[str, Any] = {
    "name": " ", "method": "pretrain", "model": {"path": " "}, "quantization": {"bits": 4},
    "dataset": {
        "path": " ", "sources": [{"path": "\a", "columns": {"x": "y"}, "roles": {"boss": "z"}}],
        "format": "alpaca", "chat_template": "nonsense", "loss_on": "last_answer",
        "fixes": ["drop_empty"],
    },
    "lora": {"target_modules": [" ", "lm_head"], "trainable_tokens": ["a"]},
    "training": {"max_steps": 0, "embedding_learning_rate": 1e-4},
}  # fmt: skip
VARIANTS: tuple[dict[str, Any], ...] = (
    SOUND,
    ALL_WRONG,
    {**ALL_WRONG, "method": "sft", "lora": {"target_modules": []}},
    {**SOUND, "dataset": {"path": "d", "columns": {"x": "y"}, "chat_template": "a\a.jinja"}},
    {**SOUND, "quantization": {}},
    {key: value for key, value in SOUND.items() if key != "lora"},
)


class Recorded:
    """Stands for a table of a spec and notes what is read of it."""

    def __init__(self, table: Table, seen: set[str], prefix: str = "") -> None:
        self._table, self._seen, self._prefix = table, seen, prefix

    def __getattr__(self, name: str) -> Any:
        path = self._prefix + name
        kind = type(self._table)
        if name == "entries":  # Puts all that is said of a dataset together, needed or not.
            self._seen |= {"dataset.path", "dataset.sources", "entries"}
            return self._table.entries  # type: ignore[attr-defined]
        if name not in fields_of(kind):
            own = getattr(kind, name)
            read = own.fget if isinstance(own, property) else own
            return read(self) if isinstance(own, property) else types.MethodType(read, self)
        self._seen.add(path)
        value = getattr(self._table, name)
        return Recorded(value, self._seen, f"{path}.") if isinstance(value, Table) else value


def draft_of(raw: dict[str, Any]) -> Spec:
    draft = examine(raw).draft
    assert draft is not None
    return draft


@pytest.mark.parametrize("rule", [r for r in RULES if r.reads], ids=lambda r: r.find.__name__)
def test_a_rule_reads_what_it_says(rule: Rule) -> None:
    seen: set[str] = set()
    for raw in VARIANTS:
        list(rule.find(cast("Spec", Recorded(draft_of(raw), seen))))
    tables = {"model", "quantization", "lora", "dataset", "training", "hardware"}
    inner = {path.partition(".")[0] for path in seen if "." in path}
    if "entries" in seen:
        assert "dataset.sources" in rule.reads
        seen -= {"entries", "dataset.path"}
    else:
        unread = [r for r in rule.reads if not any(overlap(path, r) for path in seen)]
        assert unread == []
    for path in seen - (tables & inner):
        assert any(overlap(path, read) for read in (*rule.reads, *rule.asks_for)), path


@pytest.mark.parametrize("rule", [r for r in RULES if not r.reads], ids=lambda r: r.find.__name__)
@pytest.mark.parametrize("table", ["", "model", "lora", "dataset", "training", "quantization"])
def test_a_rule_that_reads_whatever_is_there_copes_with_it(rule: Rule, table: str) -> None:
    wrong: dict[str, Any] = {table: 3} if table else {"lora": {"target_modules": 3, "r": "x"}}
    list(rule.find(draft_of({**ALL_WRONG, **wrong})))


def every_field() -> Iterator[str]:
    for name, (hint, _) in fields_of(Spec).items():
        yield name
        table = table_of(hint)
        for inner, (deeper, _) in fields_of(table).items() if table else ():
            yield f"{name}.{inner}"
            if rows := rows_of(deeper):
                yield from (f"{name}.{inner}[1].{field}" for field in fields_of(rows))


def with_object(raw: dict[str, Any], field: str) -> dict[str, Any]:
    """The spec with something there that no setting can be."""
    made = {key: dict(value) if isinstance(value, dict) else value for key, value in raw.items()}
    table, _, name = field.replace("sources[1].", "sources.").partition(".")
    if not name:
        return {**made, table: object()}
    inner, _, deepest = name.partition(".")
    if deepest:
        row = {**made["dataset"]["sources"][0], deepest: object()}
        made["dataset"]["sources"] = [row]
        return made
    made.setdefault(table, {})[inner] = object()
    return made


@pytest.mark.parametrize("field", list(every_field()))
def test_what_is_unsound_is_told_and_only_silences_who_reads_it(field: str) -> None:
    before = {(found.field, found.problem) for found in check(ALL_WRONG)[1]}
    examined = examine(with_object(ALL_WRONG, field))
    now = {(found.field, found.problem) for found in examined.complaints}
    assert any(found.field == field for found in examined.complaints)
    assert examined.spec is None
    assert {found for found in now - before if not overlap(found[0], field)} == set()
    silent = [rule for rule in RULES if not rule.suits(examined.unsound)]
    unsound = field.partition("[")[0]
    assert all(any(overlap(unsound, read) for read in (*r.reads, *r.asks_for)) for r in silent)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        # Each key may be what the other complaint would miss.
        ({"quantization": {"bits": 4}, "lroa": {"r": 8}, "lora": ...}, {"lroa"}),
        (
            {"training": {"embedding_learning_rate": 1e-4, "modules_to_save": ["lm_head"]}},
            {"training.modules_to_save"},
        ),
        ({"bits": 16, "lora": ..., "quantization": {}}, {"bits"}),
        ({"modules_to_save": ["lm_head"], "lora": {"target_modules": []}}, {"modules_to_save"}),
        ({"metod": "pretrain", "dataset": {"path": "d", "format": "alpaca"}}, {"metod"}),
        # And these can not.
        (
            {"lora": {"rank": 8, "target_modules": ["q_proj", ""]}},
            {"lora.rank", "lora.target_modules"},
        ),
        (
            {"dataset": {"path": " ", "eval_fractoin": 0.1}},
            {"dataset.eval_fractoin", "dataset.path"},
        ),
        ({"name": 3, "model": {"path": " "}}, {"name", "model.path"}),
        (
            {"dataset": {"path": "d", "columns": 3, "roles": {"boss": "x"}}},
            {"dataset.columns", "dataset.roles.boss"},
        ),
        (
            {"method": "pretrain", "dataset": {"path": "d", "chat_template": 3,
             "loss_on": "last_answer"}},
            {"dataset.chat_template", "dataset.loss_on"},
        ),
        ({"lora": {"r": "x"}, "quantization": {"bits": 4}}, {"lora.r"}),
    ],
)  # fmt: skip
def test_no_complaint_is_false_and_none_is_lost(changed: dict[str, Any], told: set[str]) -> None:
    raw = {key: value for key, value in {**SOUND, **changed}.items() if value is not ...}
    assert {found.field for found in check(raw)[1]} == told


def test_a_wrong_row_among_many_is_told_alone() -> None:
    rows = [{"path": f"{n}.jsonl"} for n in range(3000)]
    rows[1999] = {"path": "x.jsonl", "weight": "much"}  # type: ignore[dict-item]
    raw = {**SOUND, "dataset": {"sources": rows}}
    assert [found.field for found in check(raw)[1]] == ["dataset.sources[2000].weight"]


@pytest.mark.parametrize(
    ("one", "other", "is_so"),
    [
        ("lora.r", "lora.r", True), ("lora", "lora.r", True), ("lora.r", "lora", True),
        ("lora.r", "lora.rank", False), ("lor", "lora.r", False), ("name", "method", False),
    ],
)  # fmt: skip
def test_two_paths_overlap_where_one_is_in_the_other(one: str, other: str, is_so: bool) -> None:
    assert overlap(one, other) is is_so


def test_an_absent_table_is_no_unsound_one() -> None:
    assert draft_of({**SOUND, "lora": {}}).lora is not UNSET
    assert examine(SOUND).unsound == frozenset()
