"""Traces beside runs: what is kept is given, what is new is made gently, no worker stays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from engine.contract.lifecycle import Event
from engine.contract.messages import Trace, Traced
from engine.contract.wire import frame
from engine.host.connection import Refused
from engine.host.tracing import _keep, _kept, _meant
from engine.planning.form import Form
from tests.unit.plan_forms import form_of, spec_of
from tests.unit.test_host_duties import House, run_async
from tests.unit.test_host_pool import READY

CONFIG = {
    "model_type": "llama", "vocab_size": 1000, "hidden_size": 64, "intermediate_size": 128,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
}  # fmt: skip


def request_of(home: Path, **training: Any) -> Trace:
    folder = home / "tiny"
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    spec = {
        "name": "trace", "model": {"path": str(folder)}, "lora": {"r": 4},
        "dataset": {"path": "/d"}, "training": training,
    }  # fmt: skip
    return Trace(id=0, spec=spec)


def house_of(home: Path) -> House:
    """Its workers answer each job with the same form, and note that they were started."""
    traced = Traced(form=msgspec.to_builtins(form_of(spec_of(precision="bf16"))), config=CONFIG)
    (home / "traced").write_bytes(frame(traced))
    script = f"echo x >> {home}/started; echo '{READY}'; while read job; do cat {home}/traced; done"
    return House(home, "/bin/sh", "-c", script)


def test_a_form_of_short_rows_is_kept_until_longer_ones_are_planned(fettle_home: Path) -> None:
    async def work() -> None:
        house = house_of(fettle_home)
        await computing(house)
        short = request_of(fettle_home, max_length=64)
        assert (await house.ask(short)).data["cached"] is False
        (kept,) = (fettle_home / "forms").iterdir()
        form = msgspec.json.decode(kept.read_bytes(), type=Form)
        kept.write_bytes(msgspec.json.encode(msgspec.structs.replace(form, longest=64)))
        assert (await house.ask(short)).data["cached"]
        long = msgspec.structs.replace(request_of(fettle_home, max_length=65), only_kept=True)
        with pytest.raises(Refused, match="No such step"):
            await house.ask(long)
        long = msgspec.structs.replace(long, only_kept=False)
        assert (await house.ask(long)).data["cached"] is False
        assert (await house.ask(short)).data["cached"], "it serves both"
        assert len(list((fettle_home / "forms").iterdir())) == 1
        beside = house.parts.tracer._beside._worker
        assert beside is not None
        house.parts.tracer.close()
        await beside.ended
        await house.book.close_all()

    run_async(work)


def starts(home: Path) -> int:
    return len((home / "started").read_text().split())


async def computing(house: House) -> str:
    """A run that trains, as far as the host knows."""
    run = await house.make(Event.ENQUEUE, Event.LAUNCH)
    house.scheduler._launching = run
    assert house.parts.computes()
    return run


def test_while_a_run_trains_a_gentle_worker_traces_beside_it(fettle_home: Path) -> None:
    async def work() -> None:
        house = house_of(fettle_home)
        await computing(house)
        first = (await house.ask(request_of(fettle_home))).data
        assert first["cached"] is False
        beside = house.parts.tracer._beside._worker
        assert beside is not None
        assert psutil.Process(beside.pid).nice() == 5
        assert psutil.Process(beside.pid).environ()["CUDA_VISIBLE_DEVICES"] == ""
        again = (await house.ask(request_of(fettle_home))).data
        assert again["cached"]
        only_kept = msgspec.structs.replace(request_of(fettle_home), only_kept=True)
        assert (await house.ask(only_kept)).data["cached"]
        assert msgspec.convert(again["form"], Form) == msgspec.convert(first["form"], Form)
        # A plan asks for several: they share its imports, and none waits in the pool.
        await house.ask(request_of(fettle_home, optim="sgd"))
        assert starts(fettle_home) == 1
        assert house.pool._idle is None
        house.parts.tracer.close()
        await beside.ended
        await house.book.close_all()

    run_async(work)


def test_beside_a_run_without_ram_it_is_refused_as_busy(
    fettle_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.host.beside.NEEDED_BYTES", 1 << 60)

    async def work() -> None:
        house = house_of(fettle_home)
        await computing(house)
        with pytest.raises(Refused, match="GiB of RAM is free") as caught:
            await house.ask(request_of(fettle_home))
        assert caught.value.refusal.code == "busy"
        assert not (fettle_home / "started").exists()
        await house.book.close_all()

    run_async(work)


def test_a_run_that_only_waits_is_in_nobodys_way(fettle_home: Path) -> None:
    async def work() -> None:
        house = house_of(fettle_home)
        house.book.queue.append("a run")
        assert (await house.ask(request_of(fettle_home))).data["cached"] is False
        assert house.parts.tracer._beside._worker is None

    run_async(work)


def test_what_was_not_traced_yet_is_refused_where_only_that_is_wanted(fettle_home: Path) -> None:
    async def work() -> None:
        house = house_of(fettle_home)
        asked = request_of(fettle_home)
        only_kept = msgspec.structs.replace(asked, only_kept=True)
        with pytest.raises(Refused, match="traced here yet"):
            await house.ask(only_kept)
        assert not (fettle_home / "started").exists()

    run_async(work)


def test_a_form_of_short_rows_never_takes_the_place_of_one_of_any(tmp_path: Path) -> None:
    of_any = msgspec.to_builtins(form_of(spec_of()))
    short = {**of_any, "longest": 64}
    _keep(tmp_path / "form.json", short)
    _keep(tmp_path / "form.json", of_any)
    _keep(tmp_path / "form.json", short)
    kept = _kept(tmp_path / "form.json")
    assert kept is not None
    assert kept.longest is None


def test_what_was_meant_by_a_name_is_said() -> None:
    assert "meta-llama/Meta-Llama-3-8B" in _meant("meta-llama/Llama-3-8B")
    assert _meant("mistralai/Mistral-7B-v01").startswith("Did you mean mistralai/Mistral-7B-v0.1")
    assert not _meant("nobody/nothing")


def test_an_adapter_for_no_layer_is_refused_before_it_is_traced(fettle_home: Path) -> None:
    async def work() -> None:
        house = house_of(fettle_home)
        asked = request_of(fettle_home)
        asked.spec["lora"]["target_modules"] = "q_prj"
        with pytest.raises(Refused, match=r'none of these layers: q_prj.*meant \["q_proj"\]'):
            await house.ask(asked)
        assert not (fettle_home / "started").exists()

    run_async(work)


def test_a_worker_that_traced_while_a_run_came_does_not_stay(
    fettle_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None:
        house = house_of(fettle_home)
        ask, lent = house.parts.tracer._ask, []

        async def enqueue_meanwhile(worker: Any, *arguments: Any) -> Traced:
            lent.append(worker)
            house.book.queue.append("a run")
            return await ask(worker, *arguments)

        monkeypatch.setattr(house.parts.tracer, "_ask", enqueue_meanwhile)
        await house.ask(request_of(fettle_home))
        assert house.pool._idle is None
        await lent[0].ended

    run_async(work)


def test_a_worker_that_ran_a_models_own_code_does_not_stay(fettle_home: Path) -> None:
    async def work() -> None:
        house = house_of(fettle_home)
        request = request_of(fettle_home)
        request.spec["model"]["trust_remote_code"] = True
        await house.ask(request)
        assert house.pool._idle is None
        await house.ask(request_of(fettle_home, optim="sgd"))
        assert house.pool._idle is not None
        await house.pool.close()

    run_async(work)
