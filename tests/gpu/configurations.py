"""The configurations of the study of plans: shapes of the catalogue, trained in every way.

Nothing here needs a card: a case names what is trained, and gives spec, config and plan of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from engine.contract.spec import Spec
from engine.contract.validate import check
from engine.planning import catalogue
from engine.planning.form import Layout, Point
from engine.planning.model_config import layout_of

SIZES = ((1, 512), (2, 1024), (4, 2048), (1, 8192))
MEDIUM = SIZES[1]
WORDS = 14_000
"""Of the text that is trained on: enough for the largest batch."""


class Case(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One configuration."""

    shape: str
    """A model of the catalogue, for its config."""
    layers: int | None = None
    """Fewer than the model has."""
    bits: int = 16
    batch: int
    length: int
    lora: dict[str, Any] | None = None
    training: dict[str, Any] = {}
    is_explained: bool = False
    """Whether all that is alive at the peak is written down, with where it was made."""

    @property
    def folder(self) -> str:
        """Name of the model's folder."""
        return f"{self.shape.rpartition('/')[2]}-{self.layers or 'all'}"

    def config(self) -> dict[str, Any]:
        """The model's config."""
        raw = catalogue.config_of(self.shape)
        assert raw is not None, self.shape
        return fewer_layers(raw, self.layers) if self.layers else raw

    def raw_spec(self, base: Path) -> dict[str, Any]:
        """A pretraining spec of a model in ``base``, so that every row has all its tokens."""
        model = base / self.folder
        training = {
            "max_steps": 4,
            "per_device_train_batch_size": self.batch,
            "gradient_accumulation_steps": 2,
            "max_length": self.length,
        }
        return {
            "name": "study",
            "method": "pretrain",
            "model": {"path": str(model)},
            "dataset": {"path": f"{model}.jsonl", "eval_fraction": 0.02},
            **({"quantization": {"bits": self.bits}} if self.bits < 16 else {}),
            **({"lora": self.lora} if self.lora is not None else {}),
            "training": training | self.training,
        }

    def spec(self, base: Path = Path("/study")) -> Spec:
        """The same, checked."""
        spec, complaints = check(self.raw_spec(base))
        assert spec is not None, complaints
        return spec

    def layout(self) -> Layout:
        """What a plan for a card is traced from."""
        return layout_of(self.spec(), self.config(), "cuda", "bf16")

    def point(self) -> Point:
        """The sizes to evaluate it at."""
        rank = self.lora["r"] if self.lora is not None else 0
        return Point(batch=self.batch, length=self.length, rank=rank, accumulates=True)


def fewer_layers(config: dict[str, Any], layers: int) -> dict[str, Any]:
    """The config of the same model with fewer layers."""
    kinds = {"layer_types": config["layer_types"][:layers]} if config.get("layer_types") else {}
    return {**config, "num_hidden_layers": layers, **kinds}


def all_cases() -> list[Case]:
    """Some that are explained, some whole 8B models, and the main ways with each other shape."""
    small = ("meta-llama/Llama-3.2-1B", "Qwen/Qwen2.5-0.5B", "HuggingFaceTB/SmolLM2-360M")
    return [
        *_explained(),
        *_whole(),
        *_ways("meta-llama/Llama-3.1-8B", 8),
        *_ways("google/gemma-2-2b", 10),
        *(case for shape in small for case in [*_ways(shape, None), *_full(shape, None)]),
    ]


def _explained() -> Iterator[Case]:
    llama, gemma = ("meta-llama/Llama-3.1-8B", 4), ("google/gemma-2-2b", 4)
    for shape, layers in (llama, gemma):
        for case in [*_ways(shape, layers), *_full(shape, layers)]:
            if (case.batch, case.length) in (MEDIUM, SIZES[2]):
                yield msgspec.structs.replace(case, is_explained=True)


def _whole() -> Iterator[Case]:
    shape, lora = "meta-llama/Llama-3.1-8B", {"r": 16}
    for bits in (4, 8, 16):
        yield Case(shape=shape, bits=bits, batch=2, length=1024, lora=lora)
        yield Case(shape=shape, bits=bits, batch=4, length=2048, lora=lora)
    yield Case(shape=shape, batch=2, length=1024, lora=lora | {"modules_to_save": ["lm_head"]})
    yield Case(shape=shape, bits=4, batch=1, length=8192, lora=lora)


def _ways(shape: str, layers: int | None) -> Iterator[Case]:
    """The main ways at every size, the others at one."""
    lora = {"r": 16}
    for batch, length in SIZES:
        for bits in (16, 8, 4):
            for mode in ("full", "none") if length <= 1024 else ("full",):
                yield Case(shape=shape, layers=layers, bits=bits, batch=batch, length=length,
                           lora=lora, training={"gradient_checkpointing": mode})  # fmt: skip
    batch, length = MEDIUM
    for adapter, training in (
        ({"r": 128}, {}),
        ({"r": 16, "use_dora": True}, {}),
        ({"r": 16, "modules_to_save": ["lm_head"]}, {}),
        (lora, {"optim": "adamw_8bit"}),
        (lora, {"optim": "adafactor"}),
        (lora, {"gradient_checkpointing": "offload"}),
    ):
        yield Case(shape=shape, layers=layers, batch=batch, length=length, lora=adapter,
                   training=training)  # fmt: skip


def _full(shape: str, layers: int | None) -> Iterator[Case]:
    batch, length = MEDIUM
    for optim in ("adamw_torch", "adamw_8bit"):
        yield Case(shape=shape, layers=layers, batch=batch, length=length,
                   training={"optim": optim})  # fmt: skip


def described(case: Case) -> dict[str, Any]:
    """The case as JSON holds it."""
    found: dict[str, Any] = json.loads(msgspec.json.encode(case))
    return found
