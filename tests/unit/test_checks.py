"""Files are looked at as far as the spec says which they are, whatever else is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.host.checks import complaints_about
from tests.e2e.host_driver import write_model_folder

ROWS = "\n".join(json.dumps({"instruction": f"say {n}", "output": "well"}) for n in range(9))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with data, and the hub in reach."""
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "rows.jsonl").write_text(ROWS, encoding="utf-8")
    (tmp_path / "notes.txt").write_text("plain text\n" * 30, encoding="utf-8")
    return tmp_path


def fields(place: Path, **changed: Any) -> dict[str, str]:
    """What is wrong with the smallest spec, with these tables in place of its own."""
    dataset = {"path": str(place / "rows.jsonl")}
    raw = {"name": "x", "model": {"path": "org/model"}, "dataset": dataset, **changed}
    spec, found = complaints_about(raw)
    assert (spec is None) == bool(found)
    return {complaint.field: complaint.problem for complaint in found}


def test_a_sound_spec_has_no_complaint(place: Path) -> None:
    assert fields(place) == {}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"dataset": {"path": "/gone.jsonl", "eval_fraction": 2}}, "dataset.path"),
        (
            {"dataset": {"sources": [{"path": "/gone.jsonl"}], "eval_fraction": 2}},
            "dataset.sources[1].path",
        ),
        ({"dataset": {"path": "rows.jsonl", "eval_fraction": 2}}, "dataset.path"),
        (
            {"dataset": {"path": "org/data", "chat_template": "/gone.jinja", "eval_fraction": 2}},
            "dataset.chat_template",
        ),
        ({"model": {"path": "/gone", "trust_remote_code": "yes"}}, "model.path"),
        ({"model": {"path": "/gone"}, "training": {"max_steps": 0}}, "model.path"),
    ],
)
def test_what_is_missing_is_told_beside_the_rest(
    place: Path, changed: dict[str, Any], told: str
) -> None:
    found = fields(place, **changed)
    assert len(found) == 2
    assert told in found


def test_what_may_be_on_the_hub_is_not_missing(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = {"path": "org/data", "eval_fraction": 2}
    assert set(fields(place, dataset=dataset)) == {"dataset.eval_fraction"}
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert set(fields(place, dataset=dataset)) >= {"dataset.eval_fraction", "dataset.path"}


def test_tokens_that_the_model_lacks_are_told_beside_the_rest(place: Path) -> None:
    model = place / "model"
    write_model_folder(model)
    tokenizer: dict[str, Any] = {
        "added_tokens": [{"content": "<|im_start|>"}],
        "model": {"vocab": {"word": 0}},
    }
    (model / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    more = {"added_tokens_decoder": {"7": {"content": "<|more|>"}}}
    (model / "tokenizer_config.json").write_text(json.dumps(more), encoding="utf-8")
    lora: dict[str, Any] = {"trainable_tokens": ["word", "<|im_start|>", "<|more|>"]}
    assert fields(place, model={"path": str(model)}, lora=lora) == {}
    lora["trainable_tokens"] += ["<|nope|>", "<|im_strat|>"]
    found = fields(place, model={"path": str(model)}, lora=lora, training={"max_steps": 0})
    assert set(found) == {"lora.trainable_tokens", "training.max_steps"}
    assert "no token '<|nope|>', '<|im_strat|>'." in found["lora.trainable_tokens"]
    # A unigram model lists its tokens with a score; what cannot be read says nothing.
    for vocabulary in ([[token, -1.0] for token in lora["trainable_tokens"]], 7):
        tokenizer["model"]["vocab"] = vocabulary
        (model / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
        assert fields(place, model={"path": str(model)}, lora=lora) == {}


def test_data_is_not_judged_by_a_method_that_may_not_be_meant(place: Path) -> None:
    dataset = {"path": str(place / "notes.txt")}
    assert "dataset.path" in fields(place, dataset=dataset)
    assert set(fields(place, dataset=dataset, metod="pretrain")) == {"metod"}
    assert set(fields(place, dataset=dataset, method="pretrian")) == {"method"}


def test_what_is_said_to_hold_a_token_is_not_looked_for(place: Path) -> None:
    """It would be named, and with it the token."""
    token = "hf_" + "a" * 34
    path = f"https://ada:{token}@mirror.example/m"
    sound = {"name": "x", "model": {"path": "org/model"}, "dataset": {"path": "org/data"}}
    for table, bad in (("model", path), ("dataset", path), ("dataset", " ")):
        (complaint,) = complaints_about({**sound, table: {"path": bad}})[1]
        assert complaint.field == f"{table}.path"
        assert token not in str(complaint)
