"""Looks at a model's folder without loading it: is it whole, how large is it, what is it.

Reads ``config.json``, the shard index and the headers of safetensors files, never weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "tekken.json")
_HEADER_LIMIT = 100 << 20
_json: msgspec.json.Decoder[Any] = msgspec.json.Decoder()


class Problem(ValueError):
    """Why a folder is no model that can be trained, and what to do."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem} {remedy}")
        self.problem = problem
        self.remedy = remedy


class NoModel(Problem):
    """The folder holds something else."""


def config_of(folder: Path) -> dict[str, Any]:
    """The model's config. Raises Problem if there is none or it is broken."""
    place = folder / CONFIG
    if not place.is_file():
        raise _no_config(folder)
    config = _read_json(place)
    if not isinstance(config.get("model_type"), str):
        raise Problem(
            f"{place} does not say what kind of model this is (no model_type).",
            "Choose a model in the format of transformers.",
        )
    return config


def weights_of(folder: Path) -> list[Path]:
    """The model's weight files, all there and none cut short. Raises Problem."""
    files = _listed(folder)
    missing = [path.name for path in files if not path.is_file()]
    if missing:
        raise Problem(
            f"{len(missing)} of {len(files)} weight files are missing in {folder} ({missing[0]}).",
            "Download the model again.",
        )
    for path in files:
        _must_be_whole(path)
    return files


def has_tokenizer(folder: Path) -> bool:
    """Whether the folder holds a tokenizer."""
    return any((folder / name).is_file() for name in TOKENIZERS)


def problems(folder: Path) -> Iterator[Problem]:
    """Everything that keeps the folder from being trained."""
    for look in (config_of, weights_of, _must_have_tokenizer):
        try:
            look(folder)
        except NoModel as problem:
            yield problem
            return  # it is some other folder: more complaints would not help
        except Problem as problem:
            yield problem
        except OSError as error:
            yield Problem(f"{folder} cannot be read: {error.strerror}.", "Check its rights.")
            return


def _no_config(folder: Path) -> NoModel:
    if (folder / "adapter_config.json").is_file():
        return NoModel(
            f"{folder} holds an adapter, not a model.", "Give the model it was trained on."
        )
    inside = sorted(path.parent.name for path in folder.glob(f"*/{CONFIG}"))[:3]
    remedy = (
        f"Did you mean a folder in it: {', '.join(inside)}?"
        if inside
        else ("Choose a folder with config.json, a tokenizer and safetensors files.")
    )
    return NoModel(f"{folder} has no {CONFIG}, so it is no model.", remedy)


def _read_json(place: Path) -> dict[str, Any]:
    try:
        found = _json.decode(place.read_bytes())
    except OSError as error:
        raise Problem(f"{place} cannot be read: {error.strerror}.", "Check its rights.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Problem(f"{place} is not valid JSON.", "Download the model again.") from None
    if not isinstance(found, dict):
        raise Problem(f"{place} holds no settings.", "Download the model again.")
    return found


def _listed(folder: Path) -> list[Path]:
    """The weight files that should be there. Raises Problem if there are none."""
    if (folder / INDEX).is_file():
        shards = _read_json(folder / INDEX).get("weight_map")
        if not isinstance(shards, dict) or not shards:
            raise Problem(f"{folder / INDEX} names no files.", "Download the model again.")
        return [folder / str(name) for name in sorted(set(shards.values()))]
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    raise _no_weights(folder)


def _no_weights(folder: Path) -> Problem:
    endings = {path.suffix for path in folder.iterdir()}
    if endings & {".bin", ".pt", ".pth"}:
        return Problem(
            f"{folder} holds its weights only as pickle files, which can run code when opened.",
            "Convert them to safetensors, or choose a model that has them.",
        )
    if ".gguf" in endings:
        return Problem(
            f"{folder} holds GGUF files, which are made for running, not for training.",
            "Choose the original model with safetensors files.",
        )
    return Problem(f"{folder} holds no weights (safetensors).", "Download the model again.")


def _must_be_whole(path: Path) -> None:
    """A safetensors file says in its header how long it is. Raises Problem if it is not."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = file.read(length) if length <= _HEADER_LIMIT else b""
        tensors = _json.decode(header)
        spans = [t["data_offsets"][1] for name, t in tensors.items() if name != "__metadata__"]
        whole = path.stat().st_size == 8 + length + max(spans, default=0)
    except OSError as error:
        raise Problem(f"{path} cannot be read: {error.strerror}.", "Check its rights.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, AttributeError, LookupError, TypeError):
        whole = False
    if not whole:
        raise Problem(f"{path} is cut short or damaged.", "Download the model again.")


def _must_have_tokenizer(folder: Path) -> None:
    if not has_tokenizer(folder):
        raise Problem(f"{folder} has no tokenizer.", "Copy tokenizer.json into it.")
