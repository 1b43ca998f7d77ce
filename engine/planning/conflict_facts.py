"""What conflict rules can speak of: spec, model, card, machine and packages as one flat table.

Every name is in :data:`NAMES`, but for ``config.*`` (the model's own config), ``package.*`` and
``recipe.*``. What is not known is not in the table. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import msgspec

from engine.contract.spec import (
    DatasetSpec,
    HardwareSpec,
    LoraSpec,
    ModelSpec,
    QuantizationSpec,
    Spec,
    TrainingSpec,
)
from engine.planning import adapter, catalogue, hub_cache
from engine.planning.facts import PACKAGES, GpuFacts, MachineFacts
from engine.planning.hardware import Machine
from engine.planning.model_facts import config_facts, linear_names
from engine.planning.rules import version

MachineLike: TypeAlias = MachineFacts | Machine | dict[str, Any] | None
Table = dict[str, Any]

ALLOCATOR = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")
_GIB = 2**30
_MOMENT_BYTES = {"adamw_8bit": 2.03, "paged_adamw_8bit": 2.03, "sgd": 0.0, "adafactor": 0.1}
"""Of optimizer state in a checkpoint for each trained number; 8 for those not named."""
_LEARNERS_OF_BNB = ("adamw_8bit", "paged_adamw_8bit")


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What is known besides spec, machine, config and packages; None is unknown."""

    rows: int | None = None
    """Of the dataset."""
    is_cached: bool | None = None
    """The model of a hub id is on this disk."""
    model_types: frozenset[str] | None = None
    """What the installed transformers can load."""
    environ: Mapping[str, str] = {}
    """Settings of the engine's process that matter here."""
    packages: Mapping[str, str] = {}
    """More versions; an empty one was looked for and is not there."""


def facts_of(
    spec: Spec,
    machine: MachineLike,
    config: dict[str, Any] | None,
    packages: Mapping[str, str] | None,
    known: Known,
) -> Table:
    """All that is known, by name."""
    if isinstance(machine, dict):
        machine = msgspec.convert(machine, MachineFacts)
    installed = packages if packages is not None else machine.packages if machine else {}
    table = {
        **_spec_facts(spec),
        **_machine_facts(machine, spec),
        **package_facts({**installed, **known.packages}, machine),
        **(config_facts(config) if config else {}),
    }
    table |= _run_facts(spec, table, config, known)
    table |= _model_facts(spec, config, known)
    table |= _environ_facts(known.environ)
    return {name: value for name, value in table.items() if value is not None}


# ---------------------------------------------------------------- spec

_TABLES = {
    "model": ModelSpec, "quantization": QuantizationSpec, "lora": LoraSpec,
    "dataset": DatasetSpec, "training": TrainingSpec, "hardware": HardwareSpec,
}  # fmt: skip


def _spec_facts(spec: Spec) -> Table:
    return {
        f"{name}.{field}": getattr(table, field)
        for name in _TABLES
        if (table := getattr(spec, name))
        for field in table.__struct_fields__
    }


def _run_facts(spec: Spec, table: Table, config: dict[str, Any] | None, known: Known) -> Table:
    training = spec.training
    batch = training.per_device_train_batch_size * training.gradient_accumulation_steps
    learnt = None
    if known.rows is not None:
        learnt = max(math.floor(known.rows * (1 - spec.dataset.eval_fraction)), 1)
    return {
        "run.method": spec.method,
        "run.bits": spec.bits,
        "run.kind": "lora" if spec.lora else "full",
        "run.precision": _precision(spec, table),
        "run.attention": _attention(spec),
        "run.needs_bitsandbytes": spec.bits != 16 or training.optim in _LEARNERS_OF_BNB,
        "run.effective_batch": batch,
        "run.rows": learnt,
        **_steps(spec, batch, learnt),
        **_adapter_facts(spec, table, config),
        **_checkpoint_facts(spec, config),
    }


def _precision(spec: Spec, table: Table) -> str | None:
    """What the worker computes in; None if the card is not known."""
    wanted = spec.training.precision
    if wanted != "auto":
        return wanted
    if table.get("gpu.is_there") is False:
        return "fp32"
    capability = table.get("gpu.capability")
    return None if capability is None else "bf16" if capability >= (8, 0) else "fp16"


def _attention(spec: Spec) -> str:
    wanted = spec.model.attn_implementation
    return "sdpa" if wanted == "auto" else wanted


def _steps(spec: Spec, batch: int, rows: int | None) -> Table:
    """Steps and passes over the data, as far as the rows are known."""
    training = spec.training
    an_epoch = None if rows is None else math.ceil(rows / batch)
    limited = training.max_steps if training.max_steps > 0 else None
    steps = limited
    if steps is None and an_epoch is not None and not training.packing:
        steps = max(1, math.ceil(training.num_train_epochs * an_epoch))
    passes = None if limited else training.num_train_epochs
    if limited and an_epoch is not None and not training.packing:
        passes = limited / an_epoch
    return {
        "run.steps": steps,
        "run.passes": passes,
        "run.fitting_batch": None if rows is None else min(rows, _batch(spec)),
        "run.fitting_accumulation": None if rows is None else max(rows // _batch(spec), 1),
    }


def _batch(spec: Spec) -> int:
    return spec.training.per_device_train_batch_size


def _adapter_facts(spec: Spec, table: Table, config: dict[str, Any] | None) -> Table:
    lora = spec.lora
    rate = spec.training.learning_rate
    found: Table = {
        "run.tenth_of_rate": float(f"{rate / 10:.3g}"),
        "run.embedding_rate": spec.training.embedding_learning_rate or 0.0,
    }
    if not lora:
        return found
    targets = lora.target_modules if isinstance(lora.target_modules, list) else []
    kept = [name for name in targets if _last(name) != "lm_head"]
    linear = linear_names(config) if config else None
    saved = [name for name in lora.modules_to_save if linear and _last(name) in linear]
    scale = lora.lora_alpha / (math.sqrt(lora.r) if lora.use_rslora else lora.r)
    return found | {
        "run.adapter_scale": scale,
        "run.twice_rank": 2.0 * lora.r,
        "run.targets": [_last(name) for name in targets],
        "run.saved": [_last(name) for name in lora.modules_to_save],
        "run.targets_without_head": kept or "all-linear",
        "run.saved_with_head": [*lora.modules_to_save, "lm_head"],
        "run.saved_with_embeddings": sorted({*lora.modules_to_save, "embed_tokens", "lm_head"}),
        "run.saved_linear": saved if linear else None,
        "run.saved_linear_count": len(saved) if linear else None,
        "run.saved_without_linear": [n for n in lora.modules_to_save if n not in saved],
        "run.matching_targets": _matching(targets, linear),
        "run.model_layers": sorted(linear) if linear else None,
    }


def _matching(targets: list[str], linear: frozenset[str] | None) -> int | None:
    """How many of the named layers the model has; None if its layers are not known."""
    if linear is None or not targets:
        return None
    return sum(_last(name) in linear | {"embed_tokens", "lm_head"} for name in targets)


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _checkpoint_facts(spec: Spec, config: dict[str, Any] | None) -> Table:
    if not config:
        return {}
    try:
        forecast = adapter.forecast(config, spec.lora or None)
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return {}  # a config that lacks a size, or has it as a text
    if forecast is None:
        return {}
    each = 4 + _MOMENT_BYTES.get(spec.training.optim, 8.0)
    size = forecast.trainable * each / _GIB
    saves = size * (spec.training.save_total_limit + 1)
    return {"run.checkpoint_gib": size, "run.saves_gib": saves}


# ---------------------------------------------------------------- model


def _model_facts(spec: Spec, config: dict[str, Any] | None, known: Known) -> Table:
    path = spec.model.path
    entry = catalogue.find(path)
    is_id = hub_cache.is_hub_id(path) and (known.is_cached is not None or entry is not None)
    kind = config.get("model_type") if config else None
    return {
        "hub.is_cached": known.is_cached,
        "model.is_hub_id": is_id,
        "model.is_gated": entry.gated if entry else None,
        "model.download_gib": entry.download_bytes / _GIB if entry else None,
        "model.is_on_windows_drive": path.startswith("/mnt/") and path[6:7] == "/",
        "model.is_known": None if known.model_types is None or kind is None
        else kind in known.model_types,
    }  # fmt: skip


# ---------------------------------------------------------------- machine


def _machine_facts(machine: MachineFacts | Machine | None, spec: Spec) -> Table:
    if isinstance(machine, Machine):
        return _planned(machine)
    if machine is None:
        return {}
    card = chosen_card(machine, spec.hardware.gpu)
    return {
        "machine.platform": _platform(machine),
        "machine.ram_gib": _gib(machine.ram_total_bytes),
        "gpu.is_there": _has_card(machine),
        "gpu.count": len(machine.gpus) or None,
        "gpu.number": spec.hardware.gpu,
        **(_card_facts(card) if card else {}),
        "torch.cuda": version(machine.torch_cuda) if machine.torch_cuda else None,
        "store.path": machine.store,
        "store.file_system": machine.store_filesystem,
        "store.free_gib": _gib(machine.store_free_bytes),
        "hub.file_system": machine.cache_filesystem,
        "hub.free_gib": _gib(machine.cache_free_bytes),
        "hub.path": machine.cache,
        "hub.has_token": machine.has_hub_token,
        "hub.is_offline": machine.is_offline,
    }


def _planned(machine: Machine) -> Table:
    capability = machine.profile.compute_capability
    return {
        "machine.platform": machine.platform,
        "machine.ram_gib": _gib(machine.ram_bytes),
        "gpu.is_there": capability is not None,
        "gpu.name": machine.profile.name,
        "gpu.capability": capability,
        "gpu.memory_gib": _gib(machine.profile.memory_bytes),
    }


def chosen_card(machine: MachineFacts, number: int) -> GpuFacts | None:
    """The card that the run gets; None if there is none, or it cannot be told which."""
    cards = machine.gpus
    if machine.visible_devices is not None:
        shown = [text.strip() for text in machine.visible_devices.split(",")]
        wanted = shown[number] if number < len(shown) else ""
        return next((c for c in cards if wanted and wanted in (str(c.index), c.uuid)), None)
    return next((card for card in cards if card.index == number), None)


def _has_card(machine: MachineFacts) -> bool | None:
    if machine.visible_devices is not None and machine.visible_devices.strip() in ("", "-1"):
        return False
    if machine.gpus:
        return True
    return False if machine.gpu_trouble in ("no_card", "no_driver") else None


def _card_facts(card: GpuFacts) -> Table:
    return {
        "gpu.name": card.name or "the card",
        "gpu.capability": card.compute_capability,
        "gpu.memory_gib": _gib(card.vram_total_bytes),
        "gpu.driver": version(card.driver) if card.driver else None,
        "gpu.cuda": version(card.cuda) if card.cuda else None,
        "gpu.cuda_major": _major(card.cuda),
    }


def _platform(machine: MachineFacts) -> str:
    if machine.is_wsl:
        return "wsl"
    return {"win32": "windows"}.get(machine.platform, machine.platform)


def _gib(size: int | None) -> float | None:
    return None if size is None else size / _GIB


def _major(text: str | None) -> int | None:
    found = version(text) if text else None
    return found[0] if found else None


def _environ_facts(environ: Mapping[str, str]) -> Table:
    forced = environ.get("BNB_CUDA_VERSION", "")
    allocator = [environ.get(name, "") for name in ALLOCATOR]
    return {
        "env.bnb_cuda_version": version(f"{forced[:-1]}.{forced[-1]}") if forced[1:] else None,
        "env.has_expandable_segments": "expandable_segments:True" in "".join(allocator),
    }


# ---------------------------------------------------------------- packages


def package_facts(packages: Mapping[str, str], machine: MachineFacts | Machine | None) -> Table:
    """Versions, what is missing, and what torch is built for."""
    if not packages:
        return {}
    looked_for = {*PACKAGES, *packages}
    table: Table = {
        f"package.{name}": version(packages[name]) for name in packages if packages[name]
    }
    table |= {f"package.{name}.is_there": bool(packages.get(name)) for name in looked_for}
    needed = ("torch", "transformers", "trl", "peft", "accelerate")
    missing = [name for name in needed if not packages.get(name)]
    table |= {"package.missing": missing, "package.missing_count": len(missing)}
    return table | _torch_facts(packages.get("torch", ""), machine)


def _torch_facts(torch: str, machine: MachineFacts | Machine | None) -> Table:
    """What torch's version says of its build: ``+cpu``, ``+cu128``."""
    tag = torch.partition("+")[2]
    known = machine.torch_cuda if isinstance(machine, MachineFacts) else None
    if tag.startswith("cu") and tag[2:].isdigit():
        known = f"{tag[2:-1]}.{tag[-1]}"
    cuda = version(known) if known else None
    return {
        "torch.build": "cpu" if tag == "cpu" else "cuda" if cuda else None,
        **({"torch.cuda": cuda, "torch.cuda_major": cuda[0]} if cuda else {}),
    }


# ---------------------------------------------------------------- names

_OPEN = ("config.", "package.", "recipe.", "env.")
_OTHERS = """
run.method run.bits run.kind run.precision run.attention run.needs_bitsandbytes run.effective_batch
run.rows run.steps run.passes run.fitting_batch run.fitting_accumulation run.tenth_of_rate
run.embedding_rate run.adapter_scale run.twice_rank run.targets run.saved run.targets_without_head
run.saved_with_head run.saved_with_embeddings run.saved_linear run.saved_linear_count
run.saved_without_linear run.matching_targets run.model_layers run.checkpoint_gib run.saves_gib
model.is_hub_id model.is_gated model.download_gib model.is_on_windows_drive model.is_known
machine.platform machine.ram_gib gpu.is_there gpu.count gpu.number gpu.name gpu.capability
gpu.memory_gib gpu.driver gpu.cuda gpu.cuda_major torch.cuda torch.cuda_major torch.build
store.path store.file_system store.free_gib hub.file_system hub.free_gib hub.path hub.has_token
hub.is_offline hub.is_cached
"""


def _names() -> Iterator[str]:
    yield from _OTHERS.split()
    for name, table in _TABLES.items():
        yield from (f"{name}.{field}" for field in table.__struct_fields__)


NAMES = frozenset(_names())
"""All facts there are, apart from the open tables."""


def is_fact(name: str) -> bool:
    """Whether a rule may speak of it."""
    return name in NAMES or name.startswith(_OPEN)
