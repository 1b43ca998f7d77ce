"""Safe mode as the worker applies it: settings before CUDA, the ring, and what is told."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from engine.contract.messages import Decision, Step
from engine.contract.validate import check
from engine.planning.safe_mode import SafeMode, Situation, choose
from engine.worker import offload, safely, train_job
from engine.worker.offload import Ring, checkpoint_in_ram, make_ring
from tests.worker.conftest import Heard, make_spec, run_here

MIB = 1 << 20
WSL = Situation(
    platform="wsl", compute_capability=(7, 5), card_bytes=11 << 30, pinned_budget_bytes=168 * MIB
)
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def spec_of(**changes: Any) -> Any:
    raw = make_spec(Path("m"), Path("d"))
    for table, fields in changes.items():
        raw[table] = raw.get(table, {}) | fields
    spec, complaints = check(raw)
    assert spec is not None, complaints
    return spec


# ---------------------------------------------------------------- before CUDA


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("expandable_segments:True", ""),
        ("a:1,expandable_segments:True,b:2", "a:1,b:2"),
        ("a:1, expandable_segments:False", "a:1"),
        ("max_split_size_mb:128", "max_split_size_mb:128"),
        ("", ""),
    ],
)
def test_segments_go_and_other_settings_stay(before: str, after: str) -> None:
    assert safely.without_segments(before) == after


@pytest.mark.parametrize(
    ("switch", "platform", "goes"),
    [
        ("auto", "wsl", True), ("auto", "windows", True), ("auto", "linux", False),
        ("on", "linux", True), ("off", "wsl", False),
    ],
)  # fmt: skip
def test_segments_go_where_they_fail(
    monkeypatch: pytest.MonkeyPatch, switch: Any, platform: Any, goes: bool
) -> None:
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True,a:1")
    monkeypatch.delenv("PYTORCH_ALLOC_CONF", raising=False)
    assert safely.before_cuda(switch, platform) is goes
    left = os.environ["PYTORCH_CUDA_ALLOC_CONF"]
    assert left == ("a:1" if goes else "expandable_segments:True,a:1")
    assert "PYTORCH_ALLOC_CONF" not in os.environ


# ---------------------------------------------------------------- the spec


def test_what_is_left_out_is_replaced_by_what_gives_the_same() -> None:
    spec = spec_of(
        training={"optim": "paged_adamw_8bit"}, model={"attn_implementation": "flash_attention_2"}
    )
    adjusted = safely.adjusted(spec, choose("auto", WSL))
    assert adjusted.training.optim == "adamw_8bit"
    assert adjusted.model.attn_implementation == "sdpa"
    assert safely.adjusted(spec, choose("off", msgspec.structs.replace(
        WSL, compute_capability=(8, 6)))) == spec  # fmt: skip


def test_a_spec_with_nothing_to_leave_out_is_not_touched() -> None:
    spec = spec_of(training={"optim": "adamw_torch"})
    assert safely.adjusted(spec, choose("on", WSL)) == spec


# ---------------------------------------------------------------- what is told


def told(spec: Any, safe: SafeMode, **more: Any) -> list[str]:
    report = Heard()
    safely.tell(spec, safe, report, **({"precision": "fp16", "segments": False} | more))
    report.close()
    return [decision.title for decision in report.of(Decision)]


def test_a_line_without_an_effect_is_not_told() -> None:
    titles = told(spec_of(), choose("auto", WSL), precision="fp32")
    assert "The run may not fill the card." in titles
    for idle in ("offload", "paged", "flash", "fp16", "segments"):
        assert not any(idle in title.lower() for title in titles), titles


def test_every_line_with_an_effect_is_told() -> None:
    safe = choose("auto", WSL)
    spec = spec_of(
        training={"optim": "paged_adamw_8bit", "gradient_checkpointing": "offload"},
        model={"attn_implementation": "flash_attention_2"},
    )
    assert told(spec, safe, segments=True) == [line.title for line in safe.lines]


def test_a_run_tells_what_it_leaves_out(
    tmp_path: Path, models: Callable[[str], Path], chats: Path, report: Heard
) -> None:
    spec = make_spec(models("llama"), chats, max_steps=1) | {"hardware": {"safe_mode": "on"}}
    run_here(tmp_path / "run", spec, report)
    decisions = {decision.title: decision for decision in report.of(Decision)}
    forked = decisions["No process is forked after tokenising."]
    assert forked.reason.startswith("Safe mode is switched on.")
    assert "The run may not fill the card." not in decisions


# ---------------------------------------------------------------- the ring


TENSORS = [
    torch.randn(7, 33), torch.randn(()), torch.empty(0, 4), torch.randn(5, 6).t(),
    torch.arange(500), torch.randn(40, 40, dtype=torch.bfloat16), torch.tensor([True, False]),
]  # fmt: skip


@pytest.mark.parametrize("tensor", TENSORS, ids=lambda t: f"{list(t.shape)} {t.dtype}")
def test_what_goes_through_the_ring_comes_back(tensor: torch.Tensor) -> None:
    ring = Ring(2, 100, pin=False)
    kept = ring.pack(tensor)
    back = ring.unpack(kept)
    assert back.dtype == tensor.dtype
    assert torch.equal(back, tensor)
    assert torch.equal(ring.unpack(kept), tensor)
    ring.close()


def test_the_ring_keeps_its_own_copy() -> None:
    ring = Ring(1, 64, pin=False)
    tensor = torch.ones(100)
    kept = ring.pack(tensor)
    for copy in kept.copies:
        copy.result()
    tensor.zero_()
    assert ring.unpack(kept).sum() == 100
    ring.close()


def test_many_tensors_are_under_way_at_once() -> None:
    ring = Ring(2, 256, pin=False)
    tensors = [torch.randn(301) for _ in range(40)]
    kept = [ring.pack(tensor) for tensor in tensors]
    for tensor, there in reversed(list(zip(tensors, kept, strict=True))):
        assert torch.equal(ring.unpack(there), tensor)
    ring.close()


def test_a_copy_that_fails_is_no_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    ring = Ring(1, 64, pin=False)

    def fail(self: Ring, memory: Any, place: Any, block: Any, done: Any) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(Ring, "_store", fail)
    kept = ring.pack(torch.ones(4))
    with pytest.raises(MemoryError, match="no room"):
        ring.unpack(kept)
    ring.close()


def test_gradients_are_the_same_with_a_ring_and_without() -> None:
    layer = torch.nn.Linear(64, 64)
    ring = Ring(2, 100, pin=False)
    found = []
    for way in (None, ring):
        inputs = torch.ones(3, 64, requires_grad=True)
        layer.zero_grad()
        hidden = inputs * 1
        for _ in range(3):
            hidden = checkpoint_in_ram(way, lambda x: torch.relu(layer(x)), hidden)
        hidden.sum().backward()
        assert inputs.grad is not None
        assert layer.weight.grad is not None
        found.append((inputs.grad, layer.weight.grad.clone()))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])
    ring.close()


@pytest.mark.parametrize(
    ("size", "blocks", "block"), [(64, 2, 32), (128, 4, 32), (256, 4, 64), (0, None, None)]
)
def test_sizes_of_rings(
    monkeypatch: pytest.MonkeyPatch, size: int, blocks: int | None, block: int | None
) -> None:
    made: list[tuple[int, int]] = []
    monkeypatch.setattr(offload, "Ring", lambda n, b, pin: made.append((n, b)))
    make_ring(size * MIB, pin=False)
    assert made == ([(blocks, block * MIB)] if blocks and block else [])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there memory can be pinned")
def test_where_nothing_can_be_pinned_copies_block(caplog: pytest.LogCaptureFixture) -> None:
    assert make_ring(64 * MIB, pin=True) is None
    assert "No pinned ring of 64 MiB" in caplog.text


def test_a_refused_ring_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safely, "make_ring", lambda size, pin: None)
    report = Heard()
    spec = spec_of(training={"gradient_checkpointing": "offload"})
    assert safely.make_offload_ring(spec, choose("auto", WSL), report) is None
    report.close()
    (decision,) = report.of(Decision)
    assert "refused to pin 128 MiB" in decision.reason
    assert safely.make_offload_ring(spec_of(), choose("auto", WSL), report) is None


def test_a_run_through_the_ring_changes_no_number(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, models: Callable[[str], Path], chats: Path
) -> None:
    ring = Ring(2, 1000, pin=False)
    packed: list[torch.Size] = []
    pack = ring.pack
    monkeypatch.setattr(ring, "pack", lambda t: packed.append(t.shape) or pack(t))
    losses = []
    for way in (None, ring):
        monkeypatch.setattr(train_job, "make_offload_ring", lambda *_, way=way: way)
        report = Heard()
        spec = make_spec(models("llama"), chats, gradient_checkpointing="offload")
        run_here(tmp_path / str(way is None), spec, report)
        losses.append([(step.loss, step.grad_norm) for step in report.of(Step)])
        report.close()
    assert losses[0] == losses[1]
    assert any(len(shape) == 3 for shape in packed)
    ring.close()


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("pin", [True, False])
def test_the_ring_on_a_card(pin: bool) -> None:
    ring = Ring(2, MIB, pin=pin)
    tensors = [torch.randn(1 << 20, device="cuda") for _ in range(8)]
    sums = [tensor.double().sum().item() for tensor in tensors]
    kept = [ring.pack(tensor * 1) for tensor in tensors]
    for wanted, there in reversed(list(zip(sums, kept, strict=True))):
        assert ring.unpack(there).double().sum().item() == wanted
    ring.close()
