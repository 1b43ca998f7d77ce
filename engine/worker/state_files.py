"""What a checkpoint holds, and how it comes back.

    adapter_model.safetensors + adapter_config.json   what PEFT itself reads; or model.safetensors
    optimizer.safetensors                             moments, of whatever kind the optimizer keeps
    rng.safetensors                                   torch's and the cards' random state
    state.json                                        all the rest

No pickle. Everything a step depends on is here or follows from the spec.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import torch
from peft import set_peft_model_state_dict

from engine.store.staging import write_file
from engine.worker import optimizer_state, rng, tensor_files
from engine.worker.failures import JobError
from engine.worker.optimizer_state import OptimizerState, OtherOptimizer, StateMismatch, bare
from engine.worker.snapshot import Content
from engine.worker.tensor_files import Chunk
from engine.worker.trained import Trained

FORMAT = 1
ADAPTER = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
MODEL = "model.safetensors"
OPTIMIZER = "optimizer.safetensors"
RNG = "rng.safetensors"
STATE = "state.json"


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """Where a run stands, between two steps."""

    step: int = 0
    cursor: int = 0
    """Rows trained on so far."""
    epoch: float = 0.0


class SavedState(msgspec.Struct, frozen=True, kw_only=True):
    """What ``state.json`` holds."""

    format: int
    position: Position
    data: str
    """Digest of the tokenised training data; see :meth:`Samples.digest`."""
    optimizer: OptimizerState
    scheduler: dict[str, Any]
    scaler: dict[str, Any] | None
    python_random: list[Any]
    numpy_random: list[Any]
    best_eval_loss: float | None = None


def collect(
    trainer: Any, position: Position, *, data: str, best_eval_loss: float | None
) -> dict[str, Content]:
    """Every file of the checkpoint by name. The tensors are those of the training, not copies."""
    trained: Trained = trainer.trained
    described, moments = optimizer_state.describe(bare(trainer.optimizer), trained.names)
    random_state = rng.take()
    state = SavedState(
        format=FORMAT,
        position=position,
        data=data,
        optimizer=described,
        scheduler=_plain(trainer.lr_scheduler.state_dict()),
        scaler=_scaler_state(trainer),
        python_random=random_state.python,
        numpy_random=random_state.numpy,
        best_eval_loss=best_eval_loss,
    )
    return _weights(trained) | {
        OPTIMIZER: moments,
        RNG: random_state.tensors,
        STATE: msgspec.json.encode(state),
    }


def _weights(trained: Trained) -> dict[str, Content]:
    if trained.adapter is None:
        return {MODEL: trained.weights()}
    config = trained.adapter.peft_config["default"].to_dict() | {"inference_mode": True}
    text = json.dumps(config, indent=1, sort_keys=True, default=_as_text).encode()
    return {ADAPTER: trained.weights(), ADAPTER_CONFIG: text}


def write(folder: Path, files: Mapping[str, Iterable[Chunk]]) -> dict[str, str]:
    """Write the files into a staged folder; gives the sha256 that each must have.

    Raises :class:`engine.store.staging.CheckpointError`.
    """
    return {name: write_file(folder / name, chunks) for name, chunks in files.items()}


def read_state(folder: Path) -> SavedState:
    """The state of a verified checkpoint. Raises JobError if a newer Fettle wrote it."""
    data = (folder / STATE).read_bytes()
    if msgspec.json.decode(data).get("format", 0) > FORMAT:
        raise JobError(
            "newer_format",
            "The save was made by a newer Fettle.",
            remedy="Update Fettle, then resume.",
        )
    return msgspec.json.decode(data, type=SavedState)


def restore_weights(folder: Path, model: torch.nn.Module) -> None:
    """Put trained weights back. Raises JobError if they are not those of this model."""
    trained = Trained(model)
    places = trained.weights()
    path = folder / (MODEL if trained.adapter is None else ADAPTER)
    if trained.are_saved_as_they_are:
        _pour(path, places)
        return
    # PEFT saves something that it computes: only it knows the way back.
    saved = dict(tensor_files.read(path))
    _must_match(_shapes(saved), _shapes(places))
    set_peft_model_state_dict(model, saved)


def _pour(path: Path, places: Mapping[str, torch.Tensor]) -> None:
    """Put each tensor of the file where it lives, one after the other."""
    found = {}
    with torch.no_grad():
        for name, tensor in tensor_files.read(path):
            found[name] = tuple(tensor.shape)
            if name in places and places[name].shape == tensor.shape:
                places[name].copy_(tensor)
    _must_match(found, _shapes(places))


def restore_training(folder: Path, state: SavedState, trainer: Any) -> None:
    """Put optimizer, schedule and scaler back. Raises JobError if they belong elsewhere.

    Where the schedule stands comes from the save; its rates are those of the spec, which may have
    been changed since.
    """
    tensors = tensor_files.read(folder / OPTIMIZER)
    wanted = _Wanted(trainer)
    try:
        optimizer_state.restore(
            bare(trainer.optimizer), state.optimizer, tensors, trainer.trained.parameters
        )
    except OtherOptimizer as error:
        raise _other_optimizer(error.saved) from error
    except (StateMismatch, KeyError) as error:
        raise _other_model() from error
    trainer.lr_scheduler.load_state_dict(_as_scheduler_state(state.scheduler))
    wanted.put_back()
    if state.scaler is not None and trainer.accelerator.scaler is not None:
        trainer.accelerator.scaler.load_state_dict(state.scaler)


class _Wanted:
    """What a spec says of optimizer and schedule, before a save is read into them."""

    def __init__(self, trainer: Any) -> None:
        self._scheduler = getattr(trainer.lr_scheduler, "scheduler", trainer.lr_scheduler)
        self._groups = bare(trainer.optimizer).param_groups
        self._rates = list(self._scheduler.base_lrs)
        self._decays = [group["weight_decay"] for group in self._groups]

    def put_back(self) -> None:
        """Go on with that. For an unchanged spec these are the very numbers of the save."""
        scheduler = self._scheduler
        scheduler.base_lrs = self._rates
        factors = [factor(scheduler.last_epoch) for factor in scheduler.lr_lambdas]
        now = [rate * factor for rate, factor in zip(self._rates, factors, strict=True)]
        for group, rate, decay, lr in zip(
            self._groups, self._rates, self._decays, now, strict=True
        ):
            group |= {"initial_lr": rate, "weight_decay": decay, "lr": lr}
        scheduler._last_lr = now


def restore_random(folder: Path, state: SavedState) -> None:
    """Put the random state back, as the last thing before the next step."""
    tensors = dict(tensor_files.read(folder / RNG))
    rng.put_back(
        rng.RandomState(python=state.python_random, numpy=state.numpy_random, tensors=tensors)
    )


def _scaler_state(trainer: Any) -> dict[str, Any] | None:
    scaler = trainer.accelerator.scaler
    return _plain(scaler.state_dict()) if scaler is not None else None


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Without what JSON cannot hold: functions, whose place the spec takes."""
    return {key: value for key, value in values.items() if key != "lr_lambdas"}


def _as_scheduler_state(values: dict[str, Any]) -> dict[str, Any]:
    return {**values, "lr_lambdas": [None] * len(values.get("base_lrs", []))}


def _as_text(value: object) -> object:
    return sorted(value) if isinstance(value, set) else str(value)


def _shapes(tensors: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _must_match(saved: dict[str, tuple[int, ...]], wanted: dict[str, tuple[int, ...]]) -> None:
    if saved != wanted:
        raise _other_model()


def _other_optimizer(saved: str) -> JobError:
    """Dropping what it remembers would be another run, which nobody asked for."""
    return JobError(
        "checkpoint_mismatch",
        "The save holds the memory of another optimizer.",
        cause=f"It was made with training.optim = {saved}, and no other can take that up.",
        remedy=f"Go on with training.optim = {saved}, or start a new run.",
        patch={"training.optim": saved},
    )


def _other_model() -> JobError:
    return JobError(
        "checkpoint_mismatch",
        "The save does not belong to this model and adapter.",
        cause="Its weights have other names or sizes.",
        remedy="Was the model's folder replaced? Put it back, or start a new run.",
    )
