"""What the host answers to requests that start nothing, or must not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.client import Client, Refused
from engine.contract.messages import (
    Check,
    Facts,
    Finding,
    ListModels,
    ListRuns,
    PreviewDataset,
    Remove,
    Resume,
    Show,
    Start,
    Stop,
)
from engine.host.requests import HANDLERS
from engine.planning.facts import MachineFacts
from tests.e2e.host_driver import HostUnderTest, records_to_done, start_run, wait_for_state


@pytest.fixture
def client(hosts: HostUnderTest) -> Client:
    hosts.start()
    return hosts.connect()


def test_every_request_of_the_contract_is_answered() -> None:
    from engine.contract import messages

    wanted = {kind for kind in messages.ALL_TYPES if issubclass(kind, messages.Request)}
    assert set(HANDLERS) == wanted


def _bad(hosts: HostUnderTest, case: str) -> tuple[dict[str, Any], set[str]]:
    spec = hosts.spec()
    cases: dict[str, tuple[dict[str, Any], set[str]]] = {
        "empty": ({}, {"name", "model", "dataset"}),
        "setting": ({**spec, "training": {"learning_rate": "fast"}}, {"training.learning_rate"}),
        "data gone": ({**spec, "dataset": {"path": "/nowhere/x.jsonl"}}, {"dataset.path"}),
        "data relative": ({**spec, "dataset": {"path": "x.jsonl"}}, {"dataset.path"}),
        "model gone": ({**spec, "model": {"path": "/nowhere/model"}}, {"model.path"}),
        "model empty": ({**spec, "model": {"path": str(hosts.home)}}, {"model.path"}),
        "all at once": (
            {
                **spec,
                "training": {"r": 1},
                "dataset": {"path": "/nowhere/x"},
                "model": {"path": "/no"},
            },
            {"training.r", "dataset.path", "model.path"},
        ),
    }
    return cases[case]


CASES = ["empty", "setting", "data gone", "data relative", "model gone", "model empty",
         "all at once"]  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_bad_spec_is_refused_whole_and_leaves_nothing(
    hosts: HostUnderTest, client: Client, case: str
) -> None:
    spec, fields = _bad(hosts, case)
    with pytest.raises(Refused) as refused:
        client.request(Start(id=0, spec=spec))
    assert {c.field for c in refused.value.complaints} == fields
    found = client.request(Check(id=0, spec=spec))["complaints"]
    assert {c["field"] for c in found} == fields
    assert list((hosts.home / "runs").iterdir()) == []
    assert client.request(ListRuns(id=0)) == {"runs": []}


def test_a_sound_spec_has_no_complaints(hosts: HostUnderTest, client: Client) -> None:
    assert client.request(Check(id=0, spec=hosts.spec())) == {"complaints": [], "conflicts": []}
    assert list((hosts.home / "runs").iterdir()) == []


def test_settings_that_cannot_go_together_are_refused_with_the_change_that_mends_them(
    hosts: HostUnderTest, client: Client
) -> None:
    spec = {**hosts.spec(), "lora": {"target_modules": ["q_proj", "lm_head"]}}
    with pytest.raises(Refused) as refused:
        client.request(Start(id=0, spec=spec))
    complaint = refused.value.complaints[0]
    assert complaint.field == "lora.target_modules"
    assert complaint.patch == {
        "lora.target_modules": ["q_proj"],
        "lora.modules_to_save": ["lm_head"],
    }
    found = client.request(Check(id=0, spec=spec))
    assert found["complaints"] == [msgspec.to_builtins(complaint)]
    assert [each["id"] for each in found["conflicts"]] == ["head_targeted"]
    assert list((hosts.home / "runs").iterdir()) == []
    mended = {
        **hosts.spec(),
        "lora": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
    }
    assert client.request(Check(id=0, spec=mended))["complaints"] == []


def test_what_a_run_can_live_with_is_kept_with_it(hosts: HostUnderTest, client: Client) -> None:
    spec = hosts.spec(save_minutes=0.0, max_steps=1)
    started = client.request(Start(id=0, spec=spec))
    assert [each["id"] for each in started["conflicts"]] == ["never_saved"]
    records = records_to_done(started["run"])
    found = [record for record in records if isinstance(record, Finding)]
    assert [(f.code, f.severity) for f in found] == [("never_saved", "warning")]
    assert "training.save_minutes = 5.0" in found[0].remedy


def test_data_that_goes_away_keeps_a_run_from_going_on(
    hosts: HostUnderTest, client: Client
) -> None:
    run = start_run(client, hosts.spec())
    client.request(Stop(id=0, run=run, now=True))
    state = wait_for_state(client, run).state
    hosts.data.unlink()
    with pytest.raises(Refused) as refused:
        client.request(Resume(id=0, run=run))
    assert [c.field for c in refused.value.complaints] == ["dataset.path"]
    assert wait_for_state(client, run).state == state


def test_facts_come_over_the_wire(client: Client) -> None:
    found = msgspec.convert(client.request(Facts(id=0))["facts"], MachineFacts)
    assert found.python
    assert found.store.endswith("runs")


def test_data_is_shown_before_a_run(hosts: HostUnderTest, client: Client) -> None:
    found = client.request(PreviewDataset(id=0, path=str(hosts.data)))
    assert found["format"] == "prompt_completion"
    assert found["rows"][0] == {"prompt": "Say 0", "completion": "0"}
    assert found["row_count"] == 50
    with pytest.raises(Refused, match=r"/nowhere/x\.jsonl"):
        client.request(PreviewDataset(id=0, path="/nowhere/x.jsonl"))


def test_models_are_found_in_folders(hosts: HostUnderTest, client: Client) -> None:
    (model,) = client.request(ListModels(id=0, folders=[str(hosts.home)]))["models"]
    assert model["path"] == str(hosts.model)
    assert model["family"] == "llama"


def test_runs_are_found_by_what_people_write(hosts: HostUnderTest, client: Client) -> None:
    with pytest.raises(Refused, match="no runs yet"):
        client.request(Show(id=0, run="last"))
    names = [start_run(client, hosts.spec(name)) for name in ("bot one", "bot two")]
    for run in names:
        records_to_done(run)
    assert _shown(client, "last") == names[1]
    assert _shown(client, names[0]) == names[0]
    assert _shown(client, str(hosts.home / "runs" / names[0])) == names[0]
    assert _shown(client, "bot-t") == names[1]
    with pytest.raises(Refused, match=f"fits 2 runs: {names[1]}, {names[0]}") as refused:
        client.request(Show(id=0, run="bot"))
    assert refused.value.code == "not_found"


def _shown(client: Client, text: str) -> str:
    summary: dict[str, Any] = client.request(Show(id=0, run=text))["summary"]
    return str(summary["run"])


def test_a_folder_outside_the_store_is_not_removed(
    hosts: HostUnderTest, client: Client, tmp_path: Path
) -> None:
    run = start_run(client, hosts.spec())
    records_to_done(run)
    outside = tmp_path / run
    outside.mkdir()
    for text in (str(outside), "..", "../..", "", "."):
        with pytest.raises(Refused, match="no run"):
            client.request(Remove(id=0, run=text))
    assert outside.exists()
    assert (hosts.home / "runs" / run).exists()
