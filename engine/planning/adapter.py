"""What an adapter trains and how large its file will be, from the model's config. Pure.

Follows what :func:`engine.worker.loading.add_adapter` and :mod:`engine.worker.output` do: PEFT's
own choice of layers, everything trained in fp32, saved as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

import msgspec

from engine.contract.spec import LoraSpec
from engine.planning.architecture import (
    EMBEDDING,
    HEAD,
    Module,
    Shape,
    is_tied,
    modules_of,
    numbers,
    parameters_of,
)

ALL_LINEAR = "all-linear"
BYTES = 4
"""Of a trained number: they are kept and saved in fp32."""
_FILE_PREFIX = "base_model.model."
_LENGTH_FIELD = 8


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """What comes out of a run."""

    trainable: int
    """Numbers that are trained; shared ones count once."""
    file_bytes: int
    """Of ``adapter_model.safetensors``, or of the model where all weights train."""
    in_full: int
    """Numbers of them in layers that are trained in full (``modules_to_save``)."""


def forecast(config: dict[str, Any], lora: LoraSpec | None) -> Forecast | None:
    """What training a model of this config comes to; None for a family that is not known.

    Without ``lora`` all weights train. Raises KeyError if the config lacks a size.
    """
    return _forecast(msgspec.json.encode(config), msgspec.json.encode(lora))


@lru_cache(maxsize=256)
def _forecast(config_text: bytes, lora_text: bytes) -> Forecast | None:
    # A ladder asks for the same few again and again while a slider moves.
    config: dict[str, Any] = msgspec.json.decode(config_text)
    lora = msgspec.json.decode(lora_text, type=LoraSpec | None)
    modules = modules_of(config)
    if modules is None:
        return None
    if lora is None:
        return _whole_model(config, modules)
    in_full = [m for m in modules if is_saved(m.name, lora)]
    tensors = [t for m in modules if is_adapted(m, lora) for t in _lora_tensors(m, lora)]
    tensors += [tensor for module in in_full for tensor in _own_tensors(module)]
    tensors += _token_tensors(config, lora)
    again = _shared(config, in_full)
    return Forecast(
        trainable=sum(numbers(shape) for _, shape in tensors) - again,
        file_bytes=file_bytes((_FILE_PREFIX + name, shape) for name, shape in tensors),
        in_full=sum(m.parameters for m in in_full) - again,
    )


def is_adapted(module: Module, lora: LoraSpec) -> bool:
    """Whether the module gets an adapter, by PEFT's rules."""
    if module.kind == "norm" or is_saved(module.name, lora):
        return False
    targets = lora.target_modules
    if targets == ALL_LINEAR:
        return module.kind == "linear" and module.name != HEAD
    if isinstance(targets, str):
        return re.fullmatch(targets, module.name) is not None
    return any(module.name == name or module.name.endswith(f".{name}") for name in targets)


def is_saved(name: str, lora: LoraSpec) -> bool:
    """Whether a module is trained in full, by itself or with a module that it is a part of."""
    parts = name.split(".")
    wholes = (".".join(parts[: i + 1]) for i in range(len(parts)))
    ends = tuple(lora.modules_to_save)
    return bool(ends) and any(whole.endswith(ends) for whole in wholes)


def _lora_tensors(module: Module, lora: LoraSpec) -> Iterator[tuple[str, Shape]]:
    rows, columns = module.weight
    if module.kind == "embedding":
        yield f"{module.name}.lora_embedding_A", (lora.r, rows)
        yield f"{module.name}.lora_embedding_B", (columns, lora.r)
    else:
        yield f"{module.name}.lora_A.weight", (lora.r, columns)
        yield f"{module.name}.lora_B.weight", (rows, lora.r)
    if lora.use_dora:
        size = columns if module.kind == "embedding" else rows
        yield f"{module.name}.lora_magnitude_vector", (size,)


def _own_tensors(module: Module) -> Iterator[tuple[str, Shape]]:
    yield f"{module.name}.weight", module.weight
    if module.bias:
        yield f"{module.name}.bias", (module.weight[0],)


def _token_tensors(config: dict[str, Any], lora: LoraSpec) -> list[tuple[str, Shape]]:
    """Rows of single tokens; where the embeddings are tied, one row does for both."""
    if not lora.trainable_tokens:
        return []
    shape = (len(set(lora.trainable_tokens)), config["hidden_size"])
    names = [EMBEDDING] if is_tied(config) else [EMBEDDING, HEAD]
    return [(f"{name}.token_adapter.trainable_tokens_delta", shape) for name in names]


def _shared(config: dict[str, Any], in_full: list[Module]) -> int:
    """Numbers counted twice: tied embeddings that are both trained stay one matrix, although the
    file holds both."""
    both = {EMBEDDING, HEAD} <= {module.name for module in in_full}
    return numbers(in_full[0].weight) if both and is_tied(config) else 0


def _whole_model(config: dict[str, Any], modules: list[Module]) -> Forecast:
    total = parameters_of(config) or 0
    kept = [m for m in modules if m.name != HEAD or not is_tied(config)]
    size = file_bytes(tensor for module in kept for tensor in _own_tensors(module))
    return Forecast(trainable=total, file_bytes=size, in_full=total)


def file_bytes(tensors: Iterable[tuple[str, Shape]]) -> int:
    """Size of a safetensors file with these tensors in fp32, its header included."""
    header, offset = len('{"__metadata__":{"format":"pt"}}'), 0
    for name, shape in sorted(tensors):
        end = offset + BYTES * numbers(shape)
        sizes = ",".join(map(str, shape))
        header += len(
            f',"{name}":{{"dtype":"F32","shape":[{sizes}],"data_offsets":[{offset},{end}]}}'
        )
        offset = end
    return _LENGTH_FIELD + -(-header // 8) * 8 + offset
