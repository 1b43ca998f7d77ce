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


@pytest.mark.parametrize("kind", ["granitemoe", "granite_dense", "phimoe"])
def test_experts_that_the_config_counts_otherwise_are_trained_and_the_config_stays(
    kind: str, models: Callable[[str], Path], chats: Path, report: Heard, tmp_path: Path
) -> None:
    model = write_odd_model(tmp_path / "model", kind, models("llama"))
    spec = make_spec(model, chats, max_steps=1)
    del spec["lora"]
    done = run_here(tmp_path / "run", spec, report)
    assert [record.loss > 0 for record in report.of(Step)] == [True]
    before, after = (
        json.loads((Path(str(folder)) / "config.json").read_text())
        for folder in (model, done.output)
    )
    for name in ("num_experts", "num_local_experts", "router_aux_loss_coef"):
        assert after.get(name, "none") == before.get(name, "none")


def test_a_step_with_such_experts_can_be_traced() -> None:
    config = config_of("granitemoe").to_dict()
    layout = Layout(
        config=config, device="cuda", precision="bf16", lora={"target_modules": ["q_proj"]}
    )
    assert trace(layout).segments
