"""The methods of transformers and TRL that the bridge replaces or calls: a new version either has
them as they were, or this names the one that moved."""

from __future__ import annotations

import inspect
import itertools
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import PreTrainedModel, Trainer, TrainerState
from trl import SFTTrainer
from trl.kernels import chunked_logprob
from trl.trainer import utils as trl_utils

from engine.worker import target_head
from engine.worker.bridge import Bridge

ROOT = Path(__file__).parents[2]

REPLACED = {
    "get_train_dataloader": [],
    "_get_num_items_in_batch": ["batch_samples", "device"],
    "_init_training_state": [
        "max_steps", "num_update_steps_per_epoch", "num_train_epochs", "resume_from_checkpoint",
        "trial",
    ],
    "_prepare_for_training": ["max_steps", "train_dataloader", "resume_from_checkpoint"],
    "create_optimizer": ["model"],
    "training_step": ["model", "inputs", "num_items_in_batch"],
    "compute_loss": ["model", "inputs", "return_outputs", "num_items_in_batch"],
    "floating_point_ops": ["inputs"],
    "_get_grad_norm": ["model", "grad_norm"],
    "_maybe_log_save_evaluate": [
        "tr_loss", "grad_norm", "model", "trial", "epoch", "ignore_keys_for_eval", "start_time",
        "learning_rate",
    ],
}  # fmt: skip

CALLED = {
    "compute_loss_context_manager": [],
    "_prepare_inputs": ["inputs"],
    "remove_callback": ["callback"],
}


@pytest.mark.parametrize(("name", "arguments"), [*REPLACED.items(), *CALLED.items()])
def test_the_seam_is_where_it_was(name: str, arguments: list[str]) -> None:
    found = list(inspect.signature(getattr(Trainer, name)).parameters)[1:]
    assert found == arguments


def test_the_bridge_replaces_nothing_else() -> None:
    own = {name for name, value in vars(Bridge).items() if callable(value) and name != "__class__"}
    trainer_has = {name for name in own if hasattr(SFTTrainer, name)}
    assert trainer_has == set(REPLACED)


def test_the_bridge_takes_the_same_arguments() -> None:
    for name, arguments in REPLACED.items():
        parameters = inspect.signature(getattr(Bridge, name)).parameters
        if "args" not in parameters:
            assert list(parameters)[1:] == arguments, name


def test_trl_computes_the_loss_as_it_did() -> None:
    arguments = list(inspect.signature(SFTTrainer.compute_loss).parameters)[1:]
    assert arguments == REPLACED["compute_loss"]
    source = inspect.getsource(SFTTrainer.compute_loss)
    for part in (
        "per_token_loss.sum() / torch.as_tensor(num_tokens).clamp(min=1)",
        "self.router_aux_loss_coef * outputs.aux_loss", "weighted_aux_loss / steps",
    ):  # fmt: skip
        assert part in source


def test_trl_asks_for_triton_only_to_pick_targets() -> None:
    source = inspect.getsource(trl_utils.add_fused_lm_head)
    assert source.count("_use_triton(") == source.count("compact = _use_triton(") == 1
    assert "_ChunkedLogProbFunction.apply(" in source
    assert chunked_logprob._use_triton is trl_utils._use_triton
    with target_head.at_targets():
        assert chunked_logprob._use_triton is not trl_utils._use_triton


def test_the_trainer_asks_for_a_window_a_step_and_then_tells() -> None:
    source = inspect.getsource(Trainer._run_epoch)
    order = [
        "self.get_batch_samples(", "self.training_step(", "self._get_grad_norm(",
        "self.optimizer.step()",
        "self.state.global_step += 1", "self._maybe_log_save_evaluate(", "should_training_stop",
    ]  # fmt: skip
    places = [source.index(part) for part in order]
    assert places == sorted(places)


def test_the_loss_flag_and_the_model_hook_exist() -> None:
    assert "self.model_accepts_loss_kwargs" in inspect.getsource(Trainer.training_step)
    assert list(inspect.signature(PreTrainedModel._set_gradient_checkpointing).parameters)[:3] == [
        "self", "enable", "gradient_checkpointing_func"
    ]  # fmt: skip
    assert "global_step" in inspect.signature(TrainerState).parameters


BITSANDBYTES_LATER = """
import sys
from engine.worker.late_bitsandbytes import import_peft
import_peft()
import engine.worker.train_job
from engine.planning import catalogue
from engine.planning.form import Layout
from engine.worker.trace import trace
config = catalogue.config_of("HuggingFaceTB/SmolLM2-135M")
trace(Layout(config=config, device="cuda", precision="bf16", bits=4, lora={}))
assert "peft" in sys.modules and "bitsandbytes" not in sys.modules
from peft.import_utils import is_bnb_4bit_available
from transformers.utils import is_bitsandbytes_available
assert is_bnb_4bit_available() and is_bitsandbytes_available()
"""


def test_what_starts_cuda_is_imported_by_the_run_that_needs_it() -> None:
    pytest.importorskip("bitsandbytes")
    subprocess.run([sys.executable, "-c", BITSANDBYTES_LATER], cwd=ROOT, check=True)


def test_a_file_of_tensors_is_written_without_pythons_lock(tmp_path: Path) -> None:
    """A worker beats meanwhile: the watch takes one that does not for frozen."""
    # The best of three counts: other work on this machine holds things up too.
    shares = [_longest_silence(tmp_path / "large.safetensors") for _ in range(3)]
    assert min(shares) < 0.5


def _longest_silence(path: Path) -> float:
    """Of a thread that ticks while a file is written, as a share of the time for that."""
    tensors = {"weights": torch.zeros(64, 1024, 1024)}
    moments: list[float] = []
    is_over = threading.Event()

    def tick() -> None:
        while not is_over.wait(0.002):
            moments.append(time.monotonic())

    ticking = threading.Thread(target=tick)
    ticking.start()
    began = time.monotonic()
    save_file(tensors, path)
    ended = time.monotonic()
    is_over.set()
    ticking.join()
    beside = [began, *(moment for moment in moments if began < moment < ended), ended]
    return max(b - a for a, b in itertools.pairwise(beside)) / (ended - began)
