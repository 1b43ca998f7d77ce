"""What conflict rules can speak of: spec, model, card, machine and packages as one flat table.

Every name is in :data:`NAMES`, but for ``config.*`` (the model's own config), ``package.*`` and
``recipe.*``. What is not known is not in the table. Pure.
"""

from __future__ import annotations

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
from engine.planning import catalogue, hub_cache
from engine.planning.conflict_machine import machine_facts
from engine.planning.conflict_run import run_facts
from engine.planning.facts import PACKAGES, MachineFacts
from engine.planning.hardware import Machine
from engine.planning.model_facts import config_facts
from engine.planning.rules import version

MachineLike: TypeAlias = MachineFacts | Machine | dict[str, Any] | None
Table = dict[str, Any]

ALLOCATOR = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")
_GIB = 2**30
_NEEDED = ("torch", "transformers", "trl", "peft", "accelerate")


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What is known besides spec, machine, config and packages; None is unknown."""

    rows: int | None = None
    """Of the dataset."""
    is_cached: bool | None = None
    """The model of a hub id is on this disk."""
    model_types: frozenset[str] | None = None
    """What the installed transformers can load."""
    unknown_end: str | None = None
    """What the chosen chat template ends turns with and the model does not know; empty: it does."""
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
    installed = _installed(machine) if packages is None else packages
    table = {
        **_spec_facts(spec),
        **machine_facts(machine, spec.hardware.gpu),
        **package_facts(installed, known.packages, machine),
        **(config_facts(config) if config else {}),
    }
    table |= run_facts(spec, table, config, known.rows)
    table |= _model_facts(spec, config, known)
    table |= _environ_facts(known.environ)
    return {name: value for name, value in table.items() if value is not None}


def _installed(machine: MachineFacts | Machine | None) -> Mapping[str, str]:
    """What is installed here says nothing of a machine that is somewhere else."""
    if machine is None or (isinstance(machine, Machine) and not machine.is_detected):
        return {}
    return machine.packages


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


# ---------------------------------------------------------------- model


def _model_facts(spec: Spec, config: dict[str, Any] | None, known: Known) -> Table:
    path = spec.model.path
    entry = catalogue.find(path)
    is_id = hub_cache.is_hub_id(path) and (known.is_cached is not None or entry is not None)
    kind = str(config.get("model_type")) if config else None
    is_strange = is_id and entry is None and known.is_cached is False
    near = catalogue.near(path) if is_strange else ""
    return {
        "hub.is_cached": known.is_cached,
        "model.is_hub_id": is_id,
        "model.near_id": near or None,
        "model.has_near_id": bool(near),
        "model.is_gated": entry.gated if entry else None,
        "model.download_gib": entry.download_bytes / _GIB if entry else None,
        "template.unknown_end": known.unknown_end or None,
        "template.has_unknown_end": bool(known.unknown_end),
        "model.is_on_windows_drive": path.startswith("/mnt/") and path[6:7] == "/",
        "model.is_known": None if known.model_types is None or kind is None
        else kind in known.model_types,
    }  # fmt: skip


def _environ_facts(environ: Mapping[str, str]) -> Table:
    forced = environ.get("BNB_CUDA_VERSION", "")
    allocator = [environ.get(name, "") for name in ALLOCATOR]
    return {
        "env.bnb_cuda_version": version(f"{forced[:-1]}.{forced[-1]}") if forced[1:] else None,
        "env.has_expandable_segments": "expandable_segments:True" in "".join(allocator),
    }


# ---------------------------------------------------------------- packages


def package_facts(
    installed: Mapping[str, str],
    more: Mapping[str, str],
    machine: MachineFacts | Machine | None,
) -> Table:
    """Versions, what is missing, and what torch is built for. Where nothing at all is installed,
    nobody has looked."""
    looked_for = {*more, *((*PACKAGES, *installed) if installed else ())}
    versions = {**installed, **more}
    table: Table = {f"package.{name}": version(text) for name, text in versions.items() if text}
    table |= {f"package.{name}.is_there": bool(versions.get(name)) for name in looked_for}
    if not installed:
        return table
    missing = [name for name in _NEEDED if not installed.get(name)]
    table |= {"package.missing": missing, "package.missing_count": len(missing)}
    return table | _torch_facts(installed.get("torch", ""), machine)


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
run.targets_without_embeddings run.saved_with_head run.saved_with_embeddings run.saved_linear
run.saved_linear_count
run.saved_without_linear run.matching_targets run.named_targets run.unknown_targets
run.unknown_targets_count run.targets_mended run.targets_hint run.unknown_saved
run.unknown_saved_count run.saved_mended run.saved_hint run.model_layers
run.checkpoint_gib run.saves_gib
model.is_hub_id model.near_id model.has_near_id model.is_gated model.download_gib
model.is_on_windows_drive model.is_known template.unknown_end template.has_unknown_end
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
