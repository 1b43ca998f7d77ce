"""Takes down what a run is at each save, and says at a resume whether it still is.

    witness.json      in each checkpoint: :class:`engine.diagnosis.certificate.Facts`

What the manifest tells already (package versions) is taken from there.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import logging
import platform
import time
from collections.abc import Iterable
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import msgspec
import torch

from engine import own_secrets
from engine.contract.masking import masked
from engine.contract.messages import ResumeCertificate
from engine.contract.spec import Spec
from engine.diagnosis.certificate import (
    Facts,
    OtherData,
    OtherWeights,
    certify,
    why_other_data,
    why_other_weights,
)
from engine.diagnosis.certificate.facts import (
    ComputeFacts,
    DataFacts,
    OptimizerFacts,
    OrderFacts,
    Place,
    ReplayFacts,
    ScheduleFacts,
    Tensors,
    flattened,
)
from engine.formats.example import DatasetError
from engine.planning import chat_templates
from engine.store.manifest import read_manifest
from engine.worker import large, optimizer_state, rng
from engine.worker.batches import Batch, Collator, Rows, first_tokens
from engine.worker.encoding_key import prints_of
from engine.worker.optimizer_state import bare
from engine.worker.schedule import Schedule, permutation
from engine.worker.state_files import Position, SavedState
from engine.worker.trained import Trained

FILE = "witness.json"
REPLAYED_TOKENS = 32
"""Enough to pass through every weight, few enough to cost next to nothing."""
REPLAYS_AT_MOST = 1 / 500
"""Part of the time that may go into replays. Where saves come too often for that, not each has
one; the save that a run ends with always has."""

log = logging.getLogger(__name__)


class Witness:
    """Knows one run, or one attempt of it."""

    def __init__(
        self, spec: Spec, train: Rows, schedule: Schedule, collator: Collator, *, digest: str
    ) -> None:
        self._train = train
        self._schedule = schedule
        self._collator = collator
        self._early = early_facts(spec, train, digest)
        self._next_replay_at = 0.0
        """Monotonic time, seconds."""

    def files(self, trainer: Any, position: Position, is_last: bool) -> dict[str, bytes]:
        """What goes into a checkpoint beside the state; ``is_last``: the run ends with it."""
        facts = self._facts(trainer, position)
        began = time.monotonic()
        if is_last or began >= self._next_replay_at:
            facts = msgspec.structs.replace(facts, replay=self._replay(trainer, position.cursor))
            ended = time.monotonic()
            self._next_replay_at = ended + (ended - began) / REPLAYS_AT_MOST
        return {FILE: msgspec.json.encode(facts)}

    def certificate(
        self, trainer: Any, position: Position, folder: Path, state: SavedState
    ) -> ResumeCertificate:
        """Compare the run, with everything put back, with its save in this folder."""
        began = time.monotonic()
        now = msgspec.structs.replace(
            self._facts(trainer, position),
            versions=self._early.versions,
            replay=self._replay(trainer, position.cursor),
        )
        return _certify(now, folder, state, began)

    def refusal(
        self, folder: Path, state: SavedState
    ) -> tuple[ResumeCertificate, OtherWeights | None]:
        """What differs, as far as it is known, where the save cannot be taken up; and the settings
        that made its weights others, if any did."""
        why = why_other_weights(_facts_of(folder, state), self._early)
        return _certify(self._early, folder, state, time.monotonic(), is_refused=True), why

    def _facts(self, trainer: Any, position: Position) -> Facts:
        optimizer = bare(trainer.optimizer)
        trained: Trained = trainer.trained
        return msgspec.structs.replace(
            self._early,
            # The manifest of a checkpoint has them.
            versions=None,
            compute=_compute(trainer),
            order=self._order(position.cursor),
            place=Place(step=position.step, cursor=position.cursor),
            random=_digest_of_random_state(),
            optimizer=_optimizer(optimizer, trained),
            schedule=_schedule(trainer, optimizer),
            trained=_tensors(trained.parameters.items()),
        )

    def _order(self, cursor: int) -> OrderFacts:
        seed, rows = self._schedule.seed, self._schedule.row_count
        epoch = cursor // rows
        digest = _digest_of_order(rows, seed, epoch)
        return OrderFacts(seed=seed, rows=rows, epoch=epoch, digest=digest)

    def _replay(self, trainer: Any, cursor: int) -> ReplayFacts | None:
        """A forward pass as the next step would begin, and not a trace of it afterwards."""
        batch = self._first_tokens(next(self._schedule.turns(cursor)).rows[0])
        try:
            with rng.undisturbed():
                loss = trainer.replayed_loss(batch)
        except torch.OutOfMemoryError as error:
            log.warning("There was no memory to replay a step: %s", error)
            return None
        is_number = loss - loss == 0
        return ReplayFacts(loss=loss if is_number else None, tokens=batch["input_ids"].shape[1])

    def _first_tokens(self, row: int) -> Batch:
        batch = first_tokens(self._collator([row]), REPLAYED_TOKENS)
        return {**batch, "labels": batch["input_ids"]}


def early_facts(spec: Spec, train: Rows, digest: str) -> Facts:
    """What is known as soon as the data is there."""
    data = DataFacts(
        digest=digest, samples=len(train.samples), tokens=int(train.samples.lengths.sum()),
        sources=_sources(spec),
    )  # fmt: skip
    return Facts(settings=_settings(spec), versions=versions(), data=data, template=_template(spec))


def _template(spec: Spec) -> str | None:
    try:
        text = chat_templates.read(spec.dataset.chat_template)
    except chat_templates.TemplateProblem:
        return None
    return hashlib.sha256(text.encode()).hexdigest() if text is not None else ""


def _sources(spec: Spec) -> dict[str, str] | None:
    secrets = own_secrets.known()
    try:
        found = prints_of(spec.dataset)
    except DatasetError:  # It went after it was read.
        return None
    paths = [masked(entry.path, secrets) for entry in spec.dataset.entries]
    return dict(zip(paths, found, strict=True))


def refuse_other_data(
    spec: Spec, train: Rows, digest: str, folder: Path, state: SavedState
) -> tuple[ResumeCertificate, OtherData]:
    """What differs, and why, where the data is another: with it the run cannot go on."""
    began = time.monotonic()
    now = early_facts(spec, train, digest)
    why = why_other_data(_facts_of(folder, state), now)
    return _certify(now, folder, state, began, is_refused=True), why


def _certify(
    now: Facts, folder: Path, state: SavedState, began: float, *, is_refused: bool = False
) -> ResumeCertificate:
    manifest = read_manifest(folder)
    before = msgspec.structs.replace(
        _facts_of(folder, state), versions=manifest.fields.get("versions")
    )
    return certify(
        before, now,
        at=time.time(), step=state.position.step, files=len(manifest.files),
        size_bytes=manifest.bytes, is_refused=is_refused, seconds=time.monotonic() - began,
    )  # fmt: skip


def _facts_of(folder: Path, state: SavedState) -> Facts:
    """The facts of a save; of one by an older Fettle only what its state tells."""
    path = folder / FILE
    if path.exists():
        return msgspec.json.decode(path.read_bytes(), type=Facts)
    place = Place(step=state.position.step, cursor=state.position.cursor)
    return Facts(data=DataFacts(digest=state.data), place=place)


# ---------------------------------------------------------------- single facts

SAVED_VERSIONS = ("torch", "transformers", "peft", "trl", "bitsandbytes", "numpy")


@cache
def versions() -> dict[str, str]:
    """Version of each package that the result depends on."""
    return {name: importlib.metadata.version(name) for name in SAVED_VERSIONS}


def _settings(spec: Spec) -> dict[str, Any]:
    """By dotted field; masked, since a path may hold a token."""
    secrets = own_secrets.known()
    found = flattened(msgspec.to_builtins(spec))
    unused = {name for name in _OF_DATA if not found.get(name)}
    return {
        field: masked(value, secrets) if isinstance(value, str) else value
        for field, value in found.items()
        if field not in unused
    }


_OF_DATA = ("dataset.path", "dataset.sources", "dataset.skip_samples", "dataset.max_samples")
"""Left out where they say nothing: older saves do not know them."""


def saved_rows(folder: Path, state: SavedState) -> int | None:
    """How many rows an epoch had at the save in this folder; None if it does not tell."""
    order = _facts_of(folder, state).order
    return order.rows if order else None


def _compute(trainer: Any) -> ComputeFacts:
    args = trainer.args
    precision = "bf16" if args.bf16 else "fp16" if args.fp16 else "fp32"
    loss = "fused" if trainer.head_fits else "own"
    if args.use_cpu or not torch.cuda.is_available():
        return ComputeFacts(
            device="cpu", name=_processor(), precision=precision, loss=loss,
            threads=torch.get_num_threads(),
        )  # fmt: skip
    return ComputeFacts(
        device="cuda", name=torch.cuda.get_device_name(), precision=precision, loss=loss,
        driver=_driver(),
    )  # fmt: skip


@lru_cache(maxsize=1)
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


@lru_cache(maxsize=1)
def _driver() -> str:
    """Of the card; empty where NVML does not answer."""
    import pynvml

    try:
        pynvml.nvmlInit()
        return str(pynvml.nvmlSystemGetDriverVersion())
    except pynvml.NVMLError:
        return ""


@lru_cache(maxsize=2)
def _digest_of_order(rows: int, seed: int, epoch: int) -> str:
    order, found = permutation(rows, seed, epoch), hashlib.sha256()
    for part in large.parts(order):
        found.update(order[part].tobytes())
    return found.hexdigest()


def _digest_of_random_state() -> str:
    state = rng.take()
    found = hashlib.sha256(msgspec.json.encode([state.python, state.numpy]))
    for name, tensor in sorted(state.tensors.items()):
        found.update(name.encode())
        found.update(tensor.numpy().tobytes())
    return found.hexdigest()


def _optimizer(optimizer: torch.optim.Optimizer, trained: Trained) -> OptimizerFacts:
    described, tensors = optimizer_state.describe(optimizer, trained.names)
    return OptimizerFacts(
        kind=type(optimizer).__name__,
        tensors=_tensors(tensors.items()),
        updates=_updates(described.scalars, tensors),
    )


def _updates(scalars: dict[str, dict[str, Any]], tensors: dict[str, torch.Tensor]) -> int | None:
    """As the first weight's own count has it."""
    for name, values in scalars.items():
        step = tensors.get(f"{name}//step", values.get("step"))
        return None if step is None else int(step)
    return None


def _schedule(trainer: Any, optimizer: torch.optim.Optimizer) -> ScheduleFacts:
    scheduler = getattr(trainer.lr_scheduler, "scheduler", trainer.lr_scheduler)
    pairs = zip(scheduler.base_lrs, scheduler.lr_lambdas, strict=True)
    return ScheduleFacts(
        rates=[float(group["lr"]) for group in optimizer.param_groups],
        scheduled=[rate * factor(scheduler.last_epoch) for rate, factor in pairs],
    )


def _tensors(tensors: Iterable[tuple[str, torch.Tensor]]) -> Tensors:
    found, count, numbers = hashlib.sha256(), 0, 0
    for name, tensor in sorted(tensors, key=lambda pair: pair[0]):
        found.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        count, numbers = count + 1, numbers + tensor.numel()
    return Tensors(digest=found.hexdigest(), count=count, numbers=numbers)
