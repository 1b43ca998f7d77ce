"""Builds the model of a layout on the meta device, as the worker would load it for real."""

from __future__ import annotations

import copy
from itertools import chain, cycle, islice
from typing import Any

import msgspec
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedConfig

from engine.contract.spec import LoraSpec
from engine.planning.form import Layout
from engine.worker import target_head
from engine.worker.by_sample import attend_by_sample, would_attend_by_sample
from engine.worker.failures import JobError
from engine.worker.late_bitsandbytes import without_bitsandbytes
from engine.worker.library_names import CHECKPOINTING
from engine.worker.loading import DTYPES, adapt, trainable
from engine.worker.model_settings import name_experts
from engine.worker.trace.ram import checkpoint_to_ram
from engine.worker.trace.sizes import CannotTrace
from engine.worker.trace.stand_ins import Kernels, Linear4bit, Linear8bit

_WINDOW_OR_NONE = ("full_attention", "sliding_attention")


class Built(msgspec.Struct):
    """A model that can be trained on the meta device."""

    model: Any
    """With its adapter, if it has one."""
    base: Any
    layers: list[nn.Module]
    trained: dict[str, nn.Parameter]
    """The weights that are trained, by name."""
    layer_of: dict[int, int]
    """Of weights and buffers, by their ``id``."""
    kernels: Kernels


def period(config: dict[str, Any]) -> int:
    """After how many layers their kinds repeat."""
    kinds = _kinds(config)
    if not kinds:
        return 1
    for length in range(1, len(kinds)):
        if all(kinds[at] == kinds[at % length] for at in range(len(kinds))):
            return length
    return len(kinds)


def mixes_windows(config: dict[str, Any]) -> bool:
    """Whether some of the layers have a sliding window, and all others none."""
    return set(_kinds(config)) == set(_WINDOW_OR_NONE)


def _kinds(config: dict[str, Any]) -> list[str]:
    """Of each layer; none where all are of one."""
    return getattr(_config(config, None), "layer_types", None) or []


def depth(config: dict[str, Any]) -> int:
    """How many layers the model has. Raises CannotTrace."""
    layers = getattr(_config(config, None), "num_hidden_layers", None)
    if not isinstance(layers, int) or layers < 1:
        raise CannotTrace("The model's config does not say how many layers it has.")
    return layers


def window(config: dict[str, Any]) -> int | None:
    """Tokens from which on layers with a sliding window need a mask; None without any."""
    kinds = _kinds(config)
    if kinds and "sliding_attention" not in kinds:
        return None
    size = getattr(_config(config, None), "sliding_window", None)
    return int(size) if size else None


def _config(
    config: dict[str, Any], layers: int | None, *, alternating: bool = False
) -> PreTrainedConfig:
    """The model's config, cut to its first layers; ``alternating``: to as many, every other with a
    window. Raises CannotTrace."""
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        raise CannotTrace(f"transformers has no model of the kind {kind!r}.")
    values = copy.deepcopy(config)
    values.pop("quantization_config", None)
    if layers is not None:
        values["num_hidden_layers"] = layers
        if values.get("layer_types"):
            values["layer_types"] = values["layer_types"][:layers]
        if alternating:
            values["layer_types"] = list(islice(cycle(_WINDOW_OR_NONE), layers))
    found: PreTrainedConfig = CONFIG_MAPPING[kind].from_dict(values)
    name_experts(found)
    if getattr(found, "router_aux_loss_coef", 0.0):
        found.output_router_logits = True  # As TRL's trainer has it.
    return found


def build(layout: Layout, *, layers: int, rank: int, alternating: bool = False) -> Built:
    """The model with its first layers; ``alternating``: with as many, every other with a window.
    Raises CannotTrace."""
    config = _config(layout.config, layers, alternating=alternating)
    compute = DTYPES[layout.precision]
    cast = compute if layout.precision != "fp32" else None
    kernels = Kernels(layout.device, cast)
    dtype = torch.float32 if layout.lora is None else compute
    with torch.device("meta"):
        base = _bare(config, _attention(layout), dtype)
    if line_from(layout) is not None:
        attend_by_sample(base)
    _quantize(base, layout, compute)
    model = base
    if layout.lora is not None:
        model = _adapted(base, layout.lora, rank)
        _as_with_bitsandbytes(model, kernels)
    target_head.add_to(base)
    _checkpoint(model, base, layout, kernels)
    base.forward = kernels.casting(base.forward)
    model.train()
    found = _layers(base, layers)
    layer_of = {
        id(value): number
        for number, layer in enumerate(found)
        for value in chain(layer.parameters(), layer.buffers())
    }
    return Built(
        model=model, base=base, layers=found, trained=trainable(model), layer_of=layer_of,
        kernels=kernels,
    )  # fmt: skip


def line_from(layout: Layout) -> int | None:
    """Rows of a batch from which on they lie one behind the other; None if they never do."""
    wanted = layout.attn_implementation
    if layout.packing and wanted == "flash_attention_2":
        # It attends as SDPA does by sample.
        wanted = "sdpa"
    if not layout.padded or not would_attend_by_sample(layout.config, wanted):
        return None
    return 1 if layout.packing else 2


def _attention(layout: Layout) -> str | None:
    """On a card flash attention takes what SDPA takes without a mask."""
    wanted = layout.attn_implementation
    return {"auto": None, "flash_attention_2": "sdpa"}.get(wanted, wanted)


def _bare(config: PreTrainedConfig, attention: str | None, dtype: torch.dtype) -> Any:
    try:
        return AutoModelForCausalLM.from_config(
            config, trust_remote_code=False, attn_implementation=attention, dtype=dtype
        )
    except ValueError:
        if attention is None:
            raise
        # The model has no such attention; then transformers takes what it has.
        return _bare(config, None, dtype)


def _quantize(base: Any, layout: Layout, compute: torch.dtype) -> None:
    """The head stays as it is, as with transformers."""
    if layout.bits == 16:
        return
    if layout.lora is not None and layout.lora.get("use_dora"):
        raise CannotTrace("DoRA on quantized weights cannot be traced.")
    head = base.get_output_embeddings()
    for name, module in list(base.named_modules()):
        if type(module) is not nn.Linear or module is head:
            continue
        above, _, last = name.rpartition(".")
        packed: nn.Module = (
            Linear4bit(module, double=layout.bnb_4bit_use_double_quant, dtype=compute)
            if layout.bits == 4
            else Linear8bit(module)
        )
        setattr(base.get_submodule(above), last, packed)


def _adapted(base: Any, lora: dict[str, Any], rank: int) -> Any:
    spec = msgspec.convert({**lora, "r": rank}, LoraSpec)
    try:
        # What stands in for its layers is none of them.
        with torch.device("meta"), without_bitsandbytes():
            # Which tokens they are changes nothing.
            adapted = adapt(base, spec, range(len(spec.trainable_tokens)))
    except (ValueError, JobError) as error:
        raise CannotTrace(f"The adapter does not fit the model. {error}") from error
    for parameter in trainable(adapted).values():
        parameter.data = parameter.data.float()
    return adapted


def _as_with_bitsandbytes(model: Any, kernels: Kernels) -> None:
    """PEFT takes the stand-ins for plain layers. On quantized ones it copies the results of 4-bit
    layers, and under a card's autocast it leaves their inputs in their own type."""
    for module in model.modules():
        packed = getattr(module, "base_layer", None)
        if not isinstance(packed, Linear4bit | Linear8bit):
            continue
        if isinstance(packed, Linear4bit):
            packed.is_adapted = True
        module.cast_input_dtype_enabled = not kernels.autocasts_on_card


def _checkpoint(model: Any, base: Any, layout: Layout, kernels: Kernels) -> None:
    if layout.gradient_checkpointing == "none":
        return
    offloads = layout.gradient_checkpointing == "offload" and layout.device == "cuda"
    enable = getattr(model, f"{CHECKPOINTING}_enable")
    enable(**{f"{CHECKPOINTING}_kwargs": {"use_reentrant": False}})
    way = checkpoint_to_ram if offloads else checkpoint

    def checkpointed(function: Any, *args: Any, **kwargs: Any) -> Any:
        # What is computed again is computed under autocast, as the first time.
        return way(kernels.casting(function), *args, use_reentrant=False, **kwargs)

    base._set_gradient_checkpointing(enable=True, gradient_checkpointing_func=checkpointed)


def _layers(base: Any, count: int) -> list[nn.Module]:
    """The decoder's layers. Raises CannotTrace if it is not built of a list of them."""
    lists = [m for m in base.modules() if isinstance(m, nn.ModuleList) and len(m) == count]
    if not lists:
        raise CannotTrace("The model is not built of a list of layers.")
    return list(lists[0])


def matrices(built: Built) -> list[int]:
    """Numbers in each matrix of the base model."""
    found = [value.numel() for value in built.base.parameters()]
    for module in built.base.modules():
        if hasattr(module, "in_features"):
            found.append(module.in_features * module.out_features)
    return found
