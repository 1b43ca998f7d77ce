"""``fettle demo --headless``: from nothing to an adapter that answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.cli.demo import PROMPTS
from engine.paths import RESOURCES
from tests.e2e.cli_driver import Fettle

pytest.importorskip("torch")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def _trained_answers() -> dict[str, str]:
    lines = (RESOURCES / "samples" / "demo.jsonl").read_text(encoding="utf-8").splitlines()
    turns = [json.loads(line)["messages"] for line in lines]
    return {question["content"]: answer["content"] for question, answer in turns}


def test_the_demo_learns_and_shows_it(fettle_home: Path) -> None:
    fettle = Fettle(fettle_home, FETTLE_IDLE_SECONDS="30", FETTLE_WARM_SECONDS="20")
    result = fettle("demo", "--headless", "--json", timeout=280)
    assert result.code == 0, result.err
    told = result.last
    assert told["type"] == "demo"
    assert told["last_loss"] < told["first_loss"] / 2
    assert Path(told["folder"]).parent == fettle.store
    adapter = Path(told["adapter"])
    assert (adapter / "adapter_model.safetensors").is_file()
    assert told["adapter_bytes"] == sum(p.stat().st_size for p in adapter.iterdir())
    right = _trained_answers()
    assert [answer["prompt"] for answer in told["answers"]] == list(PROMPTS)
    for answer in told["answers"]:
        assert answer["before"] != right[answer["prompt"]]
        assert answer["after"] == right[answer["prompt"]]
    shown = fettle("show", "last", "--json").last
    assert (shown["state"], shown["name"], shown["kind"]) == ("finished", "demo", "LoRA")


def test_the_questions_are_in_the_conversations() -> None:
    """It learns by heart; what was not among them it cannot answer."""
    assert set(PROMPTS) <= set(_trained_answers())
    assert 60 <= len(_trained_answers()) <= 100
