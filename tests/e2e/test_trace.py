"""The host traces a model once for all its sizes, and keeps the worker that did it."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from engine.contract.messages import Trace
from engine.planning.form import Form, Point, peak
from tests.e2e.host_driver import HostUnderTest

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
