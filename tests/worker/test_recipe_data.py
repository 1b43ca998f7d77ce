"""The script in a run's output loads the rows that the run learnt from."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import fsspec
import pytest

from engine.contract.spec import Spec
from engine.contract.validate import check
from engine.formats.corpus import numbered_examples
from engine.formats.example import Conversation, PromptCompletion, Text
from engine.worker.recipe import _data
from tests.worker.conftest import make_spec


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def _rows(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def _spec(folder: Path, dataset: dict[str, Any], method: str = "sft") -> Spec:
    raw = make_spec(folder / "model", folder) | {"method": method}
    raw["dataset"] = {"eval_fraction": 0.0, **dataset}
    spec, complaints = check(raw)
    assert spec, complaints
    return spec


def _loaded(spec: Spec, *, knows_tools: bool = True) -> dict[str, Any]:
    """What the names of the script stand for once its data is loaded."""
    from datasets import Dataset, concatenate_datasets, load_dataset

    names: dict[str, Any] = {
        "SEED": 1, "EVAL_FRACTION": spec.dataset.eval_fraction, "DATA": spec.dataset.path,
        "KNOWS_TOOLS": knows_tools, "json": json, "Path": Path, "fsspec": fsspec,
        "Dataset": Dataset,
        "load_dataset": load_dataset, "concatenate_datasets": concatenate_datasets,
    }  # fmt: skip
    exec(_data(spec), names)
    return names


def _of_engine(spec: Spec) -> list[dict[str, Any]]:
    """The rows that the run itself learns from, as TRL wants them."""
    found: list[dict[str, Any]] = []
    for each in numbered_examples(spec.dataset, spec.method):
        match each.example:
            case Conversation(messages=messages):
                said = [{"role": turn.role, "content": turn.content} for turn in messages]
                found.append({"messages": said})
            case PromptCompletion(prompt=prompt, completion=completion):
                found.append({"prompt": prompt, "completion": completion})
            case Text(text=text):
                found.append({"text": text})
    return found


def _alpaca(word: str, count: int) -> list[dict[str, Any]]:
    return [{"instruction": f"{word} {n}", "output": f"{word} answer {n}"} for n in range(count)]


def test_weights_repeat_only_what_is_trained_on(tmp_path: Path) -> None:
    weights = {"a": 2.0, "b": 0.5}
    sources = [
        {"path": _rows(tmp_path / f"{name}.jsonl", _alpaca(name, 40)), "weight": weight}
        for name, weight in weights.items()
    ]
    names = _loaded(_spec(tmp_path, {"eval_fraction": 0.2, "sources": sources}))
    trained = Counter(row["messages"][0]["content"] for row in names["data"])
    held = [row["messages"][0]["content"] for row in names["held_back"]]
    assert len(held) == len(set(held)) == 16
    assert not set(held) & set(trained)
    assert {trained[said] for said in trained if said.startswith("a")} == {2}
    assert {trained[said] for said in trained if said.startswith("b")} == {1}
    left = Counter(name for name in "ab" for n in range(40) if f"{name} {n}" not in held)
    assert names["data"].num_rows == 2 * left["a"] + round(0.5 * left["b"])
    assert names["data"].column_names == names["held_back"].column_names == ["messages"]


@pytest.mark.parametrize("knows_tools", [True, False])
def test_speakers_are_those_that_the_engine_knows(tmp_path: Path, knows_tools: bool) -> None:
    said = ["system", "Human", "Assistant", "user", "GPT", "human", "bot", "observation", "model"]
    talk = [{"from": who, "value": f"{who} says"} for who in said]
    spec = _spec(tmp_path, {"path": _rows(tmp_path / "a.jsonl", [{"conversations": talk}])})
    expected = _of_engine(spec)
    if not knows_tools:
        expected[0]["messages"][7]["role"] = "user"
    assert _loaded(spec, knows_tools=knows_tools)["data"].to_list() == expected


def test_an_instruction_has_its_system_its_history_and_what_was_given(tmp_path: Path) -> None:
    whole = {"instruction": "q", "input": "i", "output": "a", "system": "s"}
    rows = [
        {**whole, "history": [["q1", "a1"], ["q2", "a2"]]},
        {**whole, "system": "", "history": []},
    ]
    spec = _spec(tmp_path, {"path": _rows(tmp_path / "a.jsonl", rows)})
    assert _loaded(spec)["data"].to_list() == _of_engine(spec)
    dolly = [{"instruction": "q", "context": "c", "response": "a"}]
    spec = _spec(tmp_path, {"path": _rows(tmp_path / "b.jsonl", dolly)})
    assert _loaded(spec)["data"].to_list() == _of_engine(spec)
    written = [{**whole, "history": json.dumps([["q1", "a1"]])}]
    spec = _spec(tmp_path, {"path": _rows(tmp_path / "c.jsonl", written)})
    assert _loaded(spec)["data"].to_list() == _of_engine(spec)


def test_roles_and_fields_by_other_names_are_found(tmp_path: Path) -> None:
    talk = [{"who": "Kunde", "text": "q"}, {"who": "BOT", "text": "a"}]
    dataset = {
        "path": _rows(tmp_path / "a.jsonl", [{"talk": talk}]),
        "columns": {"messages": "talk", "role": "who", "content": "text"},
        "roles": {"user": "kunde", "assistant": "bot"},
    }
    spec = _spec(tmp_path, dataset)
    assert _loaded(spec)["data"].to_list() == _of_engine(spec)
    talk = [{"from": "human", "value": "q"}, {"from": "bot", "value": "a"}]
    path = _rows(tmp_path / "b.jsonl", [{"conversations": talk}])
    spec = _spec(tmp_path, {"path": path, "roles": {"assistant": "bot"}})
    assert _loaded(spec)["data"].to_list() == _of_engine(spec)


def test_columns_may_be_swapped(tmp_path: Path) -> None:
    columns = {"instruction": "output", "output": "instruction"}
    path = _rows(tmp_path / "a.jsonl", _alpaca("a", 3))
    spec = _spec(tmp_path, {"path": path, "columns": columns})
    found = _loaded(spec)["data"].to_list()
    assert found == _of_engine(spec)
    assert found[2]["messages"][0] == {"role": "user", "content": "a answer 2"}


@pytest.mark.parametrize("form", ["file", "folder", "slice", "mixture"])
def test_texts_are_the_documents_of_the_run(tmp_path: Path, form: str) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "gaps.txt").write_text("one\n\nstill one\n\n\n\ntwo\n \n\t\n\nthree\n")
    (folder / "lines.txt").write_bytes(b"".join(b"%d " % n * 90 + b"\r\n" for n in range(100, 104)))
    paragraph = "word " * 1000 + "\n\n"
    (folder / "whole.txt").write_text("\ufeff" + paragraph * 40)
    datasets: dict[str, dict[str, Any]] = {
        "file": {"path": str(folder / "gaps.txt")},
        "folder": {"path": str(folder)},
        "slice": {"path": str(folder), "skip_samples": 2, "max_samples": 4},
        "mixture": {"sources": [
            {"path": str(folder)},
            {"path": _rows(tmp_path / "b.jsonl", [{"text": "of a row"}])},
        ]},
    }  # fmt: skip
    spec = _spec(tmp_path, datasets[form], "pretrain")
    found = _loaded(spec)["data"].to_list()
    assert found == _of_engine(spec)
    assert len(found) == {"file": 3, "folder": 10, "slice": 4, "mixture": 11}[form]


def test_rows_of_several_shapes_stop_the_script(tmp_path: Path) -> None:
    talk = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    chats = _rows(tmp_path / "a.jsonl", [{"messages": talk}])
    bare = _rows(tmp_path / "b.jsonl", [{"prompt": "q", "completion": "a"}])
    lists = _rows(tmp_path / "c.jsonl", [{"prompt": talk[:1], "completion": talk[1:]}])
    for loss_on in ("answers", "last_answer"):
        both = {"loss_on": loss_on, "sources": [{"path": chats}, {"path": bare}]}
        with pytest.raises(SystemExit, match="rows of several shapes"):
            _loaded(_spec(tmp_path, both))
    spec = _spec(tmp_path, {"sources": [{"path": chats}, {"path": lists}]})
    assert _loaded(spec)["data"].to_list() == _of_engine(spec)


def test_a_label_is_a_verdict_only_where_it_is_asked_for(tmp_path: Path) -> None:
    rows = [{"prompt": "q", "completion": str(n), "label": n > 1} for n in range(4)]
    path = _rows(tmp_path / "a.jsonl", rows)
    spec = _spec(tmp_path, {"path": path, "format": "unpaired_preference"})
    assert _loaded(spec)["data"].to_list() == _of_engine(spec)
    spec = _spec(tmp_path, {"path": path, "format": "prompt_completion", "skip_samples": 1})
    assert _loaded(spec)["data"].to_list() == _of_engine(spec)


def test_the_last_answer_is_learnt_also_where_a_question_follows(tmp_path: Path) -> None:
    talk = [{"role": who, "content": who} for who in ("user", "assistant", "user")]
    rows = [{"messages": talk}, {"messages": talk[:2]}]
    path = _rows(tmp_path / "a.jsonl", rows)
    found = _loaded(_spec(tmp_path, {"path": path, "loss_on": "last_answer"}))["data"].to_list()
    assert found == [{"prompt": talk[:1], "completion": talk[1:2]}] * 2
