"""The bundled list of models that people are likely to start from.

Data is in ``resources/models/*.toml``, configs in ``resources/models/configs/*.json`` (see the
README there); anything else can be given as folder or hub id. Pure apart from reading those files.
"""

from __future__ import annotations

import copy
import difflib
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any, Literal

import msgspec

from engine.paths import RESOURCES

FOLDER = RESOURCES / "models"
CONFIGS = FOLDER / "configs"

Variant = Literal["base", "instruct"]
VARIANTS: tuple[Variant, ...] = ("base", "instruct")

ChatTemplate = Literal[
    "none", "chatml", "gemma", "llama2", "llama3", "mistral", "phi3", "phi4", "solar", "zephyr"
]
"""How the model's tokenizer writes a conversation; ``none``: it does not say."""


_SLIP = 0.9
"""So alike are an id and another that was meant."""


class ModelShape(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes of a decoder model, named as in its ``config.json``."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    vocab_size: int


class ModelEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A model of the catalogue."""

    id: str
    """On the Hugging Face hub; what goes into ``model.path``."""
    name: str
    """For people, with ``Instruct`` where it is that."""
    family: str
    """Name of the file it comes from: ``llama``, ``qwen`` …"""
    model_type: str
    variant: Variant
    parameters: int
    """Weights, shared embeddings counted once."""
    licence: str
    context_length: int
    """Tokens."""
    tie_word_embeddings: bool
    gated: bool
    """The hub may ask to sign in and accept terms first."""
    download_bytes: int
    shape: ModelShape
    config: str
    """Name of the file in ``configs``, which models of the same architecture share."""
    differs: dict[str, Any] = {}
    """What this model's own ``config.json`` says otherwise."""
    chat_template: ChatTemplate = "none"
    aliases: list[str] = []
    """Other ids on the hub that lead to the same model."""


class _Size(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One ``[[model]]`` of a file."""

    name: str
    config: str
    model_type: str
    parameters: int
    licence: str
    context_length: int
    shape: tuple[int, int, int, int, int, int, int]
    tie_word_embeddings: bool = False
    gated: bool = False
    base: dict[str, Any] | None = None
    instruct: dict[str, Any] | None = None


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    model: list[_Size]


@cache
def load() -> tuple[ModelEntry, ...]:
    """All models, smallest first, the base model of a size before its instruct variant."""
    entries = [entry for path in sorted(FOLDER.glob("*.toml")) for entry in read(path)]
    order = {variant: place for place, variant in enumerate(VARIANTS)}
    return tuple(sorted(entries, key=lambda e: (e.parameters, e.name, order[e.variant])))


def read(path: Path) -> list[ModelEntry]:
    """The models of one file. Raises msgspec.ValidationError or tomllib.TOMLDecodeError."""
    sizes = msgspec.convert(tomllib.loads(path.read_text("utf-8")), _File).model
    return [
        _entry(size, variant, given, path.stem)
        for size in sizes
        for variant in VARIANTS
        if (given := getattr(size, variant)) is not None
    ]


def _entry(size: _Size, variant: Variant, given: dict[str, Any], family: str) -> ModelEntry:
    common: dict[str, Any] = {
        "name": size.name + (" Instruct" if variant == "instruct" else ""),
        "family": family,
        "config": size.config,
        "model_type": size.model_type,
        "variant": variant,
        "parameters": size.parameters,
        "licence": size.licence,
        "context_length": size.context_length,
        "tie_word_embeddings": size.tie_word_embeddings,
        "gated": size.gated,
        "download_bytes": 2 * size.parameters,
        "shape": dict(zip(ModelShape.__struct_fields__, size.shape, strict=True)),
    }
    return msgspec.convert(common | given, ModelEntry)


def find(id: str) -> ModelEntry | None:
    """The entry with this hub id, None if the catalogue does not know it."""
    return _by_id().get(id.lower())


@cache
def _by_id() -> dict[str, ModelEntry]:
    return {id.lower(): entry for entry in load() for id in (entry.id, *entry.aliases)}


def near(id: str) -> str:
    """The catalogue's id that this one seems to be a slip of; empty if none. One with other numbers
    is taken for another version or size."""
    digits = re.findall(r"\d+", id)
    alike = difflib.get_close_matches(id.lower(), _by_id(), n=3, cutoff=_SLIP)
    found = (_by_id()[name].id for name in alike)
    return next((name for name in found if re.findall(r"\d+", name) == digits), "")


def instruct_of(id: str) -> ModelEntry | None:
    """The instruct variant of the base model with this hub id, None if there is none."""
    base = find(id)
    if base is None or base.variant != "base":
        return None
    same = (entry for entry in load() if entry.config == base.config)
    return next((entry for entry in same if entry.variant == "instruct"), None)


def config_of(id: str) -> dict[str, Any] | None:
    """The ``config.json`` of the model with this hub id, None if the catalogue does not know it."""
    entry = find(id)
    if entry is None:
        return None
    own = {"max_position_embeddings": entry.context_length, **entry.differs}
    return copy.deepcopy(_config(entry.config) | own)


@cache
def _config(name: str) -> dict[str, Any]:
    return msgspec.json.decode((CONFIGS / f"{name}.json").read_bytes(), type=dict[str, Any])
