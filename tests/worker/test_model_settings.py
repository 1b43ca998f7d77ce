"""Families whose config is not as TRL expects it train; what is written is the model's own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.contract.messages import Step
from engine.planning.form import Layout
from engine.worker.trace import trace
from tests.worker.conftest import Heard, make_spec, run_here
from tests.worker.odd_models import config_of, write_odd_model

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


@pytest.mark.parametrize("kind", ["granitemoe", "granite_dense", "phimoe", "mixtral", "stablelm"])
def test_models_are_trained_and_their_config_and_generation_config_stay_as_they_were(
    kind: str, models: Callable[[str], Path], chats: Path, report: Heard, tmp_path: Path
) -> None:
    model = write_odd_model(tmp_path / "model", kind, models("llama"))
    spec = make_spec(model, chats, max_steps=1)
    del spec["lora"]
    done = run_here(tmp_path / "run", spec, report)
    assert [record.loss > 0 for record in report.of(Step)] == [True]
    for name in ("config.json", "generation_config.json"):
        before, after = (
            json.loads((Path(str(folder)) / name).read_text()) for folder in (model, done.output)
        )
        assert after == before


def test_a_step_with_such_experts_can_be_traced() -> None:
    config = config_of("granitemoe").to_dict()
    layout = Layout(
        config=config, device="cuda", precision="bf16", lora={"target_modules": ["q_proj"]}
    )
    assert trace(layout).segments
