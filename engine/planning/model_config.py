"""A model's ``config.json`` without a network, and what a spec makes of it. Light."""

from __future__ import annotations

import contextlib
import sys
from typing import Any, Literal

import msgspec

from engine.contract.spec import Spec
from engine.planning import catalogue, hub_cache, model_folder
from engine.planning.form import DeviceKind, Layout, Precision
from engine.planning.inventory import as_path

Source = Literal["folder", "cache", "catalogue", "hub"]

_NOT_STRUCTURE = {"r", "lora_alpha", "use_rslora"}
"""Fields of an adapter that change sizes only, or numbers only."""


def config_of(path: str, revision: str | None = None) -> tuple[dict[str, Any], Source] | None:
    """The config of a folder or hub id, and where it was found; None if only the hub can have it.

    Raises :class:`engine.planning.model_folder.Problem` for a folder that holds no model.
    """
    folder = as_path(path)
    if folder is not None and folder.is_dir():
        return model_folder.config_of(folder), "folder"
    if not hub_cache.is_hub_id(path):
        raise model_folder.Problem(
            f"There is no model {path}.", "Give a folder with a config.json, or a Hugging Face id."
        )
    place = hub_cache.repository(hub_cache.folder(), path)
    snapshot = hub_cache.main_snapshot(place, revision or "main")
    if snapshot is not None:
        # A download that was broken off may have left a snapshot without a config.
        with contextlib.suppress(model_folder.Problem, OSError):
            return model_folder.config_of(snapshot), "cache"
    bundled = catalogue.config_of(path)
    return None if bundled is None else (bundled, "catalogue")


def layout_key(spec: Spec, device: DeviceKind, precision: Precision) -> str:
    """The same for specs that one form serves for, if it holds for their rows, without a look at
    the model's config."""
    model = {
        "path": spec.model.path,
        "revision": spec.model.revision,
        "trust_remote_code": spec.model.trust_remote_code,
    }
    layout = layout_of(spec, model, device, precision)
    return msgspec.json.encode(layout, order="deterministic").decode()


def layout_of(
    spec: Spec, config: dict[str, Any], device: DeviceKind, precision: Precision
) -> Layout:
    """Everything of a spec that decides which tensors a step makes."""
    lora = None
    if spec.lora:
        fields = msgspec.to_builtins(spec.lora)
        lora = {name: value for name, value in fields.items() if name not in _NOT_STRUCTURE}
    quantization: dict[str, Any] = {}
    if spec.quantization and spec.bits < 16:
        quantization = {
            "bits": spec.bits,
            "bnb_4bit_quant_type": spec.quantization.bnb_4bit_quant_type,
            "bnb_4bit_use_double_quant": spec.quantization.bnb_4bit_use_double_quant,
        }
    return Layout(
        config=config,
        device=device,
        precision=precision,
        lora=lora,
        optim=spec.training.optim,
        gradient_checkpointing=spec.training.gradient_checkpointing,
        attn_implementation=spec.model.attn_implementation,
        packing=spec.packs_rows,
        padded=spec.method != "pretrain",
        triton=sys.platform == "linux",
        **quantization,
    )
