"""The host traces a model once for all its sizes, and keeps the worker that did it."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import msgspec
import pytest

from engine.contract.messages import Show, Start, Stop, Trace
from engine.planning.form import Form, Point, peak
from tests.e2e.host_driver import FAKE, HostUnderTest, until

PATIENCE_SECONDS = 240.0
_STARTED = re.compile(r"Worker \d+ started")
_CONFIG = {
    "model_type": "llama", "vocab_size": 1000, "hidden_size": 64, "intermediate_size": 128,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
}  # fmt: skip


def _spec(hosts: HostUnderTest) -> dict[str, Any]:
    folder = hosts.home / "tiny"
    folder.mkdir()
    (folder / "config.json").write_bytes(msgspec.json.encode(_CONFIG))
    return {
        "name": "trace", "model": {"path": str(folder)}, "lora": {"r": 4},
        "dataset": {"path": str(hosts.data)}, "training": {"max_length": 64},
    }  # fmt: skip


@pytest.mark.timeout(300)
def test_the_host_traces_once_and_keeps_the_worker(
    hosts: HostUnderTest,
) -> None:
    del hosts.environment["FETTLE_WORKER_COMMAND"]
    hosts.start()
    client = hosts.connect("window")
    spec = _spec(hosts)
    first = client.request(Trace(id=0, spec=spec, device="cpu", precision="fp32"), PATIENCE_SECONDS)
    assert (first["cached"], first["source"]) == (False, "folder")
    form = msgspec.convert(first["form"], Form)
    assert peak(form, Point(batch=2, length=64, rank=4)).total > 0
    spec["lora"]["r"] = 64
    spec["training"]["per_device_train_batch_size"] = 7
    again = client.request(Trace(id=0, spec=spec, device="cpu", precision="fp32"), PATIENCE_SECONDS)
    assert again["cached"]
    assert again["form"] == first["form"]
    assert len(list((hosts.home / "forms").iterdir())) == 1
    other = client.request(Trace(id=0, spec=spec, device="cuda"), PATIENCE_SECONDS)
    assert not other["cached"]
    texts = [path.read_text() for path in hosts.home.rglob("*.log")]
    assert sum(len(_STARTED.findall(text)) for text in texts) == 1, "one worker did both"


@pytest.mark.timeout(300)
def test_a_real_worker_traces_while_a_run_trains(
    hosts: HostUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one beside a run is told by what it must not see: the card."""
    # A run in this process, of another test, may have chosen one.
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    real, fake = f"{sys.executable} -m engine work", f"{sys.executable} -S -E {FAKE} slow"
    choose = f'if [ "${{CUDA_VISIBLE_DEVICES+set}}" ]; then exec {real}; fi'
    command = ["/bin/sh", "-c", f"{choose}; exec {fake} steps=100000 ms=5"]
    hosts.environment["FETTLE_WORKER_COMMAND"] = json.dumps(command)
    hosts.start()
    client = hosts.connect("window")
    run = client.request(Start(id=0, spec=hosts.spec()))["run"]
    shown = lambda: client.request(Show(id=0, run=run))["summary"]  # noqa: E731
    until(lambda: shown()["step"] > 0, "the run trains")
    # Of the lowest priority, it takes what others leave.
    traced = client.request(Trace(id=0, spec=_spec(hosts), device="cuda"), 240.0)
    assert not traced["cached"]
    before = shown()["step"]
    until(lambda: shown()["step"] > before, "the run goes on")
    client.request(Stop(id=0, run=run, now=True))
