"""Numbers that are none never reach the weights, and the run says where they came from."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from engine.contract.messages import CheckpointSaved, Finding, Step
from engine.contract.validate import check
from engine.store.checkpoints import newest_verified
from engine.worker import culprit, numeric_guard, train_job
from engine.worker.batches import Rows, Window
from engine.worker.culprit import has_numbers
from engine.worker.failures import JobError, explain
from engine.worker.numeric_guard import BAD_STEPS_OF_A_SCALER, NumericGuard, refuse_poisoned
from engine.worker.numeric_words import NanLoss
from engine.worker.packing import unpacked
from engine.worker.prepared import Prepared
from engine.worker.samples import Samples
from engine.worker.trained import Trained
from tests.worker.conftest import TEXT, Heard, make_spec, run_here

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
Models = Callable[[str], Path]
RARE = "zyzzyva"
"""A word of one row alone."""
POISONED_ROW = 7


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    """24 rows of prompt and completion, one of which has the rare word; line 1 is empty."""
    words = TEXT.split()
    rows = [
        {"prompt": f"Say {words[n % 13]}:", "completion": " ".join(words[: 4 + n % 9])}
        for n in range(24)
    ]
    rows[POISONED_ROW]["completion"] += f" {RARE}"
    path = tmp_path / "lines.jsonl"
    path.write_text("\n" + "\n".join(map(json.dumps, rows)))
    return path


def poisoned(model: Path, folder: Path, value: float = math.nan) -> tuple[Path, int]:
    """The model with a broken embedding of a token that only the rare word has."""
    shutil.copytree(model, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    common = {token for word in TEXT.split() for token in tokenizer(f" {word} Say :")["input_ids"]}
    rare = [t for t in tokenizer(f" {RARE}")["input_ids"] if t not in common]
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if "embed_tokens" in name)
    weights[name][rare[0]] = value
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder, rare[0]


def plain(model: Path, data: Path, **training: Any) -> dict[str, Any]:
    settings = {
        "save_steps": 2, "max_steps": 24, "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 1, **training,
    }  # fmt: skip
    spec = make_spec(model, data, **settings)
    spec["dataset"]["eval_fraction"] = 0.0
    return spec


@pytest.fixture(scope="module")
def learnt(models: Models, chats: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A model that knows the chats well: what a pretrained one is to its user."""
    heard = Heard()
    spec = plain(models("llama"), chats, max_steps=220, learning_rate=4e-3, save_steps=0,
                 per_device_train_batch_size=4)  # fmt: skip
    del spec["lora"]
    done = run_here(tmp_path_factory.mktemp("learnt"), spec, heard)
    assert heard.of(Step)[-1].loss < 1.5
    yield Path(str(done.output))
    heard.close()


def codes(report: Heard) -> list[str]:
    return [finding.code for finding in report.of(Finding)]


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    chosen = newest_verified(folder)
    assert chosen.folder is not None
    return load_file(next(chosen.folder.glob("*model.safetensors")))


# ---------------------------------------------------------------- one broken sample


def test_a_poisoned_sample_is_named_with_its_line_and_reaches_no_weight(
    models: Models, lines: Path, tmp_path: Path, report: Heard
) -> None:
    model, token = poisoned(models("llama"), tmp_path / "model")
    done = run_here(tmp_path / "run", plain(model, lines), report)
    assert done.outcome == "finished"
    found = [f for f in report.of(Finding) if f.code == "bad_sample"]
    assert len(found) == 2, "twice, in two epochs"
    text = f"row {POISONED_ROW + 1} (line {POISONED_ROW + 2}) of lines.jsonl"
    assert text in found[0].title
    name = AutoTokenizer.from_pretrained(model).convert_ids_to_tokens(token)
    assert repr(name) in found[0].cause
    assert RARE in found[0].detail
    assert found[0].severity == "warning"
    lost = [step.step for step in report.of(Step) if step.loss is None]
    assert lost == [finding.step for finding in found]
    assert all(torch.isfinite(value).all() for value in weights_of(tmp_path / "run").values())


def test_the_search_is_seen_to_get_on(
    models: Models, lines: Path, tmp_path: Path, report: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the watchdog: it takes far longer than a step."""
    moves = 0
    at: list[int] = []
    one = culprit.Prober._one

    def moved() -> None:
        nonlocal moves
        moves += 1

    def noting(self: Any, *arguments: Any, **named: Any) -> Any:
        at.append(moves)
        return one(self, *arguments, **named)

    monkeypatch.setattr(report, "moved", moved)
    monkeypatch.setattr(culprit.Prober, "_one", noting)
    model, _ = poisoned(models("llama"), tmp_path / "model")
    run_here(tmp_path / "run", plain(model, lines, max_steps=6), report)
    assert len(at) > 1
    assert sorted(set(at)) == at


def test_a_step_that_is_left_out_changes_nothing_at_all(
    models: Models, lines: Path, tmp_path: Path, report: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the weights, not the moments, not the random numbers, whatever the search computes."""
    model, _ = poisoned(models("llama"), tmp_path / "model")
    seen: dict[int, list[torch.Tensor]] = {}
    after_step = numeric_guard.NumericGuard.after_step

    def noting(self: Any, trainer: Any, window: Window, step: int, *numbers: Any) -> None:
        after_step(self, trainer, window, step, *numbers)
        state = trainer.optimizer.optimizer.state
        seen[step] = [p.detach().clone() for p in state]
        seen[step] += [s[key].clone() for s in state.values() for key in ("exp_avg", "step")]
        seen[step].append(torch.get_rng_state())

    monkeypatch.setattr(numeric_guard.NumericGuard, "after_step", noting)
    spec = plain(model, lines, max_steps=12, seed=1)
    run_here(tmp_path / "run", spec, report)
    bad = next(step.step for step in report.of(Step) if step.loss is None)
    assert 1 < bad < 12
    same = [torch.equal(a, b) for a, b in zip(seen[bad - 1], seen[bad], strict=True)]
    assert all(same)
    assert not all(torch.equal(a, b) for a, b in zip(seen[bad], seen[bad + 1], strict=True))


@pytest.mark.parametrize(
    "changes",
    [
        {"packing": True},
        {"max_grad_norm": 0.0},
        {"optim": "sgd"},
        {"optim": "adafactor"},
        {"optim": "adamw_torch_fused"},
        {"optim": "adamw_8bit"},
    ],
)
def test_it_is_found_whatever_the_run_is_like(
    changes: dict[str, Any], models: Models, lines: Path, tmp_path: Path, report: Heard
) -> None:
    model, _ = poisoned(models("llama"), tmp_path / "model", math.inf)
    spec = plain(model, lines, max_steps=12, max_length=48, **changes)
    assert run_here(tmp_path / "run", spec, report).outcome == "finished"
    (found, *_) = [f for f in report.of(Finding) if f.code == "bad_sample"]
    assert f"row {POISONED_ROW + 1} (line" in found.title
    assert all(torch.isfinite(value).all() for value in weights_of(tmp_path / "run").values())


def test_a_block_of_text_is_named_too(
    models: Models, tmp_path: Path, report: Heard
) -> None:  # fmt: skip
    model, _ = poisoned(models("llama"), tmp_path / "model")
    data = tmp_path / "text.txt"
    data.write_text("\n\n".join([TEXT] * 30 + [f"{TEXT} {RARE} {TEXT}"] + [TEXT] * 9))
    spec = plain(model, data, max_steps=20) | {"method": "pretrain"}
    assert run_here(tmp_path / "run", spec, report).outcome == "finished"
    (found, *_) = [f for f in report.of(Finding) if f.code == "bad_sample"]
    assert "of the text" in found.title


def test_too_many_of_them_end_the_run(models: Models, tmp_path: Path, report: Heard) -> None:
    model, _ = poisoned(models("llama"), tmp_path / "model")
    rows = [
        {"prompt": "Say:", "completion": TEXT + (f" {RARE}" if n % 4 else "")} for n in range(40)
    ]
    data = tmp_path / "many.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)))
    spec = plain(model, data, max_steps=40, per_device_train_batch_size=1, save_steps=1)
    with pytest.raises(NanLoss, match="8 of the last steps") as caught:
        run_here(tmp_path / "run", spec, report)
    assert explain(caught.value).code == "nan_loss"


# ---------------------------------------------------------------- the learning rate


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_a_rate_far_too_high_stops_with_the_last_good_save(
    kind: str, learnt: Path, chats: Path, tmp_path: Path, report: Heard
) -> None:
    rate = 3.0 if kind == "lora" else 0.5
    spec = plain(learnt, chats, max_steps=200, learning_rate=rate, save_steps=1, warmup_steps=30,
                 per_device_train_batch_size=4, save_total_limit=100,
                 lr_scheduler_type="constant_with_warmup")  # fmt: skip
    if kind == "full":
        del spec["lora"]
    with pytest.raises(JobError) as caught:
        run_here(tmp_path / "run", spec, report)
    failure = explain(caught.value)
    assert failure.code in ("nan_loss", "diverged", "no_gradient")
    assert "learning rate is too high" in failure.cause
    assert failure.patch == {"training.learning_rate": 2e-4 if kind == "lora" else 2e-5}
    _, complaints = check(_patched(spec, failure.patch))
    assert not complaints
    assert report.of(Step)[-1].step < 40
    assert report.of(CheckpointSaved)
    assert all(torch.isfinite(value).all() for value in weights_of(tmp_path / "run").values())


@pytest.mark.parametrize("ends", [False, True])
def test_a_model_in_ruins_is_neither_saved_nor_handed_over(
    ends: bool, models: Models, chats: Path, tmp_path: Path, report: Heard
) -> None:
    """A resume would go on from the ruins."""
    spec = plain(models("llama"), chats, max_steps=5 if ends else 40, learning_rate=10.0,
                 max_grad_norm=0.0, lr_scheduler_type="constant", warmup_steps=1,
                 save_steps=0 if ends else 5)  # fmt: skip
    del spec["lora"]
    with pytest.raises(JobError, match="ruins the model") as caught:
        run_here(tmp_path / "run", spec, report)
    assert caught.value.code == "diverged"
    assert report.of(Step)[-1].step == 5
    assert not report.of(CheckpointSaved)
    assert not (tmp_path / "run" / "output").exists()


def test_weights_that_grow_without_bound_end_the_run(
    models: Models, chats: Path, tmp_path: Path, report: Heard
) -> None:
    """The loss is no number; the weights, which are, stay what they were."""
    spec = plain(models("llama"), chats, max_steps=50, learning_rate=10.0, optim="sgd",
                 max_grad_norm=0.0, lr_scheduler_type="constant", warmup_steps=0,
                 save_steps=1)  # fmt: skip
    spec["lora"]["lora_alpha"] = 1e15
    with pytest.raises(NanLoss, match="the learning rate is too high") as caught:
        run_here(tmp_path / "run", spec, report)
    assert caught.value.patch == {"training.learning_rate": 2e-4}
    assert report.of(CheckpointSaved)
    assert all(torch.isfinite(value).all() for value in weights_of(tmp_path / "run").values())


def test_hard_data_is_not_taken_for_a_model_in_ruins(
    learnt: Path, tmp_path: Path, report: Heard
) -> None:
    """The loss is as high as that of guessing, but what the model knew at first it still knows."""
    rows = [{"prompt": "Say:", "completion": TEXT} for _ in range(60)]
    for n in range(0, 60, 4):
        rows[n]["completion"] = "".join(chr(33 + (n * k * 7 + k * k) % 90) for k in range(1, 50))
    data = tmp_path / "hard.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)))
    spec = plain(learnt, data, max_steps=60, learning_rate=1e-4, per_device_train_batch_size=1)
    assert run_here(tmp_path / "run", spec, report).outcome == "finished"
    assert "diverged" not in codes(report)


def _patched(spec: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    raw = json.loads(json.dumps(spec))
    for field, value in patch.items():
        table, name = field.split(".")
        raw[table][name] = value
    return raw


# ---------------------------------------------------------------- weights that are no numbers


def test_poisoned_weights_are_never_saved(
    models: Models, chats: Path, tmp_path: Path, report: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An update can break a weight though its gradient is a number; the next save sees it."""
    real = train_job.Course.after_step

    def breaking(self: Any, trainer: Any, *numbers: Any) -> bool:
        if self.position.step == 5:
            next(p for p in trainer.model.parameters() if p.requires_grad).data.view(-1)[0] = (
                math.inf
            )
        return bool(real(self, trainer, *numbers))

    monkeypatch.setattr(train_job.Course, "after_step", breaking)
    with pytest.raises(NanLoss, match=r"Trained weights are no numbers: .*lora_A") as caught:
        run_here(tmp_path / "run", plain(models("llama"), chats, save_steps=2), report)
    assert [saved.step for saved in report.of(CheckpointSaved)] == [2, 4]
    assert newest_verified(tmp_path / "run").step == 4
    assert all(torch.isfinite(value).all() for value in weights_of(tmp_path / "run").values())
    assert caught.value.patch["training.learning_rate"] == pytest.approx(5e-4)


def test_what_is_no_number_is_seen_whatever_its_size() -> None:
    fine = [torch.tensor([1e38, -3e38]), torch.zeros(3), torch.ones(2, dtype=torch.bfloat16)]
    assert has_numbers(fine)
    assert has_numbers([])
    assert not has_numbers([*fine, torch.tensor([0.0, math.nan])])
    assert not has_numbers([torch.tensor([[-math.inf]]), *fine])


def test_a_model_that_is_broken_itself_is_told_apart_from_its_data(
    models: Models, chats: Path, tmp_path: Path, report: Heard
) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(models("llama"), folder)
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if "down_proj" in name)
    weights[name][0, 0] = math.nan
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(NanLoss, match=r"The model itself holds NaN or infinity, in .*down_proj"):
        run_here(tmp_path / "run", plain(folder, chats), report)
    assert not report.of(CheckpointSaved)


# ---------------------------------------------------------------- no gradient


def test_a_run_that_trains_nothing_is_told(
    models: Models, chats: Path, tmp_path: Path, report: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = train_job.make_trainer

    def cut(*parts: Any, **more: Any) -> Any:
        trainer = real(*parts, **more)
        loss = type(trainer).compute_loss

        def without_gradient(self: Any, *a: Any, **k: Any) -> Any:
            found = loss(self, *a, **k)
            return 0 * next(p for p in self.model.parameters() if p.requires_grad).sum() + (
                found.detach()
            )

        monkeypatch.setattr(type(trainer), "compute_loss", without_gradient)
        return trainer

    monkeypatch.setattr(train_job, "make_trainer", cut)
    with pytest.raises(JobError, match="Nothing is trained") as caught:
        run_here(tmp_path / "run", plain(models("llama"), chats), report)
    assert caught.value.code == "no_gradient"
    assert report.of(Step)[-1].step == numeric_guard.ZERO_STEPS


def test_a_step_whose_labels_are_all_masked_is_told_and_training_goes_on(
    models: Models, chats: Path, tmp_path: Path, report: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = "engine.methods.sft.train.prepare"
    import engine.methods.sft.train as sft

    real = sft.prepare

    def masking(*parts: Any) -> Any:
        prepared = real(*parts)
        train = prepared.train
        masked = Samples.of(
            (ids, flags & (place > 1))
            for place, (ids, flags) in enumerate(train[at] for at in range(len(train)))
        )
        masked.origins = train.origins
        return Prepared(train=masked, evaluation=prepared.evaluation)

    monkeypatch.setattr(method, masking)
    spec = plain(models("llama"), chats, per_device_train_batch_size=1, max_steps=60)
    assert run_here(tmp_path / "run", spec, report).outcome == "finished"
    found = [f for f in report.of(Finding) if f.code == "nothing_to_learn"]
    assert len(found) == 2
    assert "none of its tokens has a label" in found[0].title


# ---------------------------------------------------------------- fp16, without a card


class Scaler:
    """What of a GradScaler the guard asks."""

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def get_scale(self) -> float:
        return self.scale


def guard_of(models: Models, chats: Path, report: Heard, scaler: Any) -> tuple[NumericGuard, Any]:
    spec, _ = check(make_spec(models("llama"), chats))
    assert spec
    samples = Samples.of([([1, 2, 3], [True] * 3)])
    guard = NumericGuard(spec, report, Rows(samples=samples, rows=unpacked(1)), 0)
    embedding = SimpleNamespace(weight=torch.zeros(600, 4))
    model = SimpleNamespace(
        get_input_embeddings=lambda: embedding, named_parameters=lambda: iter(()), training=True
    )
    trainer = SimpleNamespace(
        accelerator=SimpleNamespace(scaler=scaler), model=model,
        args=SimpleNamespace(learning_rate=1e-4),
    )  # fmt: skip
    return guard, trainer


def test_the_scaler_of_fp16_may_look_for_its_factor_but_not_for_ever(
    models: Models, chats: Path, report: Heard
) -> None:
    scaler = Scaler(65536.0)
    guard, trainer = guard_of(models, chats, report, scaler)
    window = Window(batches=[], tokens=3, targets=2, cursor=1, epoch=0.1, rows=[0])
    for step in range(1, BAD_STEPS_OF_A_SCALER + 1):
        assert guard.may_update(trainer, 1.5, math.inf), "the scaler leaves it out itself"
        guard.after_step(trainer, window, step, 1.5, math.inf)
        scaler.scale /= 2
    with pytest.raises(NanLoss, match="Gradients are larger than fp16 can hold") as caught:
        guard.after_step(trainer, window, 21, 1.5, math.inf)
    assert "0.0625" in caught.value.cause
    assert caught.value.patch == {"training.precision": "fp32"}
    assert codes(report) == []


def test_a_scaler_that_finds_its_factor_begins_anew(
    models: Models, chats: Path, report: Heard
) -> None:
    guard, trainer = guard_of(models, chats, report, Scaler(1024.0))
    window = Window(batches=[], tokens=3, targets=2, cursor=1, epoch=0.1, rows=[0])
    for step in range(1, 100):
        norm = 1.0 if step % 15 == 0 else math.inf
        guard.after_step(trainer, window, step, 1.5, norm)
    assert codes(report) == []


# ---------------------------------------------------------------- spikes and noise


def test_a_row_of_rubbish_is_named_when_the_loss_jumps(
    learnt: Path, chats: Path, tmp_path: Path, report: Heard
) -> None:
    rows = json.loads(chats.read_text())
    rows[41]["output"] = "0x9F ~~ Qq##;{]%% JZ!! " * 3
    data = tmp_path / "rubbish.json"
    data.write_text(json.dumps(rows))
    spec = plain(learnt, data, max_steps=60, learning_rate=1e-4, save_steps=0, seed=5)
    assert run_here(tmp_path / "run", spec, report).outcome == "finished"
    found = [f for f in report.of(Finding) if f.code == "loss_spike"]
    assert found, [step.loss for step in report.of(Step)]
    assert "It comes from row 42 (line 1) of rubbish.json alone" in found[0].cause
    assert found[0].patch == {}


@pytest.mark.parametrize("changes", [{}, {"packing": True, "max_length": 48}])
def test_a_healthy_noisy_run_says_nothing(
    changes: dict[str, Any], learnt: Path, chats: Path, tmp_path: Path, report: Heard
) -> None:
    """Batches of one, unequal lengths, dropout, a high rate that is still a good one."""
    spec = plain(learnt, chats, max_steps=80, per_device_train_batch_size=1,
                 learning_rate=2e-3, save_steps=30, eval_steps=20, **changes)  # fmt: skip
    spec["lora"]["lora_dropout"] = 0.1
    assert run_here(tmp_path / "run", spec, report).outcome == "finished"
    assert codes(report) == []


def test_the_numbers_are_read_once_a_step(models: Models, chats: Path, report: Heard) -> None:
    loss, norm = torch.tensor(1.25), torch.tensor(0.5)
    assert numeric_guard.numbers(loss, norm) == (1.25, 0.5)
    assert numeric_guard.numbers(loss, 0.75) == (1.25, 0.75)
    assert numeric_guard.numbers(loss, None) == (1.25, None)


def test_sound_weights_may_be_saved() -> None:
    model = torch.nn.Linear(3, 3)
    args = SimpleNamespace(learning_rate=1e-3)
    trainer = SimpleNamespace(trained=Trained(model), args=args)
    refuse_poisoned(trainer, 4)
    model.bias.data[1] = math.nan
    with pytest.raises(NanLoss, match="bias"):
        refuse_poisoned(trainer, 4)
    model.bias.requires_grad_(False)
    refuse_poisoned(SimpleNamespace(trained=Trained(model), args=args), 4)
