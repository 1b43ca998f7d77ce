"""Every way of tuning on every family; the result is what plain transformers and PEFT load."""

from __future__ import annotations

import ast
import json
import pickletools
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.contract.messages import Done, Evaluated, Step
from tests.worker.conftest import FAMILIES, Heard, make_spec, run_here
from tests.worker.plain import held_back_loss

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:MatMul8bitLt"),
    pytest.mark.filterwarnings("ignore:.*torch_dtype"),
]

KINDS: dict[str, dict[str, Any]] = {
    "lora": {},
    "qlora 4-bit": {"quantization": {"bits": 4}},
    "8-bit": {"quantization": {"bits": 8}},
    "full": {"lora": None},
    "pretrain": {"method": "pretrain"},
    "pretrain 4-bit": {"method": "pretrain", "quantization": {"bits": 4}},
}
ALL = [(family, kind) for family in FAMILIES for kind in KINDS]
QUICK = {("llama", "lora"), ("gemma", "qlora 4-bit"), ("qwen", "8-bit"), ("mistral", "full")}


def _cases() -> list[Any]:
    return [
        pytest.param(*case, marks=() if case in QUICK else pytest.mark.slow, id=" ".join(case))
        for case in ALL
    ]


@pytest.fixture(scope="session")
def wide_models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Models whose layers are wide enough for 4-bit blocks, as all real ones are."""
    from engine.worker.sample_model import write_sample_model

    base = tmp_path_factory.mktemp("wide")

    def get(family: str) -> Path:
        if not (base / family).exists():
            write_sample_model(base / family, family=family, hidden=64, vocab=600)
        return base / family

    return get


@pytest.mark.parametrize(("family", "kind"), _cases())
def test_a_run_ends_in_what_others_can_load(
    family: str, kind: str, wide_models: Callable[[str], Path], chats: Path, texts: Path,
    tmp_path: Path, report: Heard,
) -> None:  # fmt: skip
    changes = KINDS[kind]
    data = texts if changes.get("method") == "pretrain" else chats
    rate = 1e-3 if kind == "full" else 1e-2
    spec = make_spec(
        wide_models(family), data, max_steps=8, save_steps=4, learning_rate=rate, max_length=32,
        gradient_checkpointing="full",
    )  # fmt: skip
    for name, value in changes.items():
        spec.pop(name, None)
        spec |= {} if value is None else {name: value}
    done = run_here(tmp_path / "run", spec, report)
    assert done.outcome == "finished"
    losses = [step.loss for step in report.of(Step)]
    assert len(losses) == 8
    assert losses[-1] < losses[0]
    output = Path(done.output or "")
    _check_files(tmp_path / "run", output, adapter=kind != "full")
    assert held_back_loss(spec, output) == pytest.approx(
        report.of(Evaluated)[-1].eval_loss, rel=1e-5
    )


def _check_files(run: Path, output: Path, *, adapter: bool) -> None:
    names = {path.name for path in output.iterdir()}
    assert names >= {"README.md", "train.py", "tokenizer.json", "tokenizer_config.json"}
    weights = "adapter_model.safetensors" if adapter else "model.safetensors"
    assert weights in names
    ast.parse((output / "train.py").read_text())
    assert "held-back samples | " in (output / "README.md").read_text()
    if adapter:
        assert (output / weights).stat().st_size < 200_000, "no embeddings in a LoRA adapter"
    for path in run.rglob("*"):
        assert path.suffix not in {".bin", ".pt", ".pth", ".pkl", ".ckpt"}
        if path.is_file():
            assert not _is_pickle(path.read_bytes()), path
    assert not list(run.rglob(".staging*"))
    assert not list(run.glob(".output*"))


@pytest.mark.parametrize("kind", ["lora", "qlora 4-bit", "pretrain"])
def test_the_script_in_the_output_repeats_the_recipe(
    kind: str, wide_models: Callable[[str], Path], chats: Path, texts: Path, tmp_path: Path,
    report: Heard, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    changes = KINDS[kind]
    data = texts if kind == "pretrain" else chats
    spec = make_spec(wide_models("llama"), data, max_steps=3, max_length=48) | changes
    output = Path(run_here(tmp_path / "run", spec, report).output or "")
    # That it needs nothing of ours is shown where one runs in a Python of its own.
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(output / "train.py"), run_name="__main__")
    assert "eval_loss" in capsys.readouterr().out
    assert (tmp_path / "repeated/adapter_model.safetensors").exists()


def _is_pickle(data: bytes) -> bool:
    """Whether the whole file can be read as a pickle, or is a zip as torch.save writes it."""
    if data.startswith(b"PK\x03\x04"):
        return True
    try:
        return data[:1] == b"\x80" and any(True for _ in pickletools.genops(data))
    except ValueError:
        return False


@pytest.mark.parametrize("family", ["llama", "gemma"])
@pytest.mark.parametrize("rate", [1e-9, None])
def test_trained_embeddings_are_saved_and_learn_at_their_own_rate(
    family: str, rate: float | None, wide_models: Callable[[str], Path], chats: Path,
    tmp_path: Path, report: Heard,
) -> None:  # fmt: skip
    from safetensors.torch import load_file

    spec = make_spec(wide_models(family), chats, max_steps=3, embedding_learning_rate=rate)
    if rate is None:
        del spec["training"]["embedding_learning_rate"]
    spec["lora"]["modules_to_save"] = ["embed_tokens", "lm_head"]
    output = Path(run_here(tmp_path / "run", spec, report).output or "")
    saved = load_file(output / "adapter_model.safetensors")
    before = load_file(wide_models(family) / "model.safetensors")
    for part, original in (
        ("embed_tokens", "model.embed_tokens.weight"),
        ("lm_head", "lm_head.weight"),
    ):
        old = before.get(original, before["model.embed_tokens.weight"])
        moved = [float((new - old).abs().max()) for name, new in saved.items() if part in name]
        assert moved
        assert (max(moved) > 1e-3) == (rate is None), part
    assert held_back_loss(spec, output) == pytest.approx(
        report.of(Evaluated)[-1].eval_loss, rel=1e-5
    )


def test_an_adapter_on_fp16_or_bf16_weights_is_kept_in_fp32(
    wide_models: Callable[[str], Path], chats: Path, tmp_path: Path, report: Heard
) -> None:
    from safetensors.torch import load_file

    spec = make_spec(wide_models("llama"), chats, max_steps=2, precision="bf16")
    spec["quantization"] = {"bits": 4}
    done = run_here(tmp_path / "run", spec, report)
    saved = load_file(Path(done.output or "") / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in saved.values()} == {torch.float32}
    assert any(not t.equal(t.bfloat16().float()) for t in saved.values())


@pytest.mark.parametrize("safe_mode", ["on", "off"])
def test_activations_in_ram_change_no_number(
    safe_mode: str, wide_models: Callable[[str], Path], chats: Path, tmp_path: Path
) -> None:
    losses = []
    for name in ("none", "full", "offload"):
        report = Heard()
        spec = make_spec(wide_models("llama"), chats, gradient_checkpointing=name)
        spec["hardware"] = {"safe_mode": safe_mode}
        run_here(tmp_path / name, spec, report)
        losses.append([(step.loss, step.grad_norm) for step in report.of(Step)])
        report.close()
    assert losses[0] == losses[1] == losses[2]


def test_answers_come_with_and_without_the_adapter(
    wide_models: Callable[[str], Path], chats: Path, tmp_path: Path, report: Heard
) -> None:
    from engine.contract.messages import Job
    from engine.worker import generate

    model = wide_models("qwen")
    spec = make_spec(model, chats, max_steps=30, learning_rate=2e-2)
    output = run_here(tmp_path / "run", spec, report).output
    asked = {"model": str(model), "prompts": ["Say river 2 times."], "max_new_tokens": 8}
    answers = []
    for extra in ({}, {"adapter": output}):
        done: Done = generate.run(Job(kind="generate", spec=asked | extra), report)
        answers.append(done.data["answers"])
    again = generate.run(Job(kind="generate", spec=asked | {"adapter": output}), report)
    assert answers[0] != answers[1] == again.data["answers"]
    json.dumps(answers)
