"""Looks up what conflict rules want to know besides spec and machine: files and settings only.

Nothing is imported, nothing asked of the network. A few milliseconds.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from engine.contract.spec import Spec
from engine.planning import catalogue, chat_templates, hub_cache, model_folder
from engine.planning.conflict_facts import ALLOCATOR, Known
from engine.planning.inventory import as_path

_SETTINGS = ("BNB_CUDA_VERSION", *ALLOCATOR)
_OPTIONAL = {"flash_attn": "flash-attn", "kernels": "kernels"}
"""Packages that some settings need, by the name that rules use."""
_TYPES = ("auto_mappings.py", "configuration_auto.py")
_TYPE = re.compile(r'^\s+\("([A-Za-z0-9_-]+)", "\w+Config"\)', re.MULTILINE)


def look(
    spec: Spec, *, rows: int | None = None, environ: Mapping[str, str] = os.environ
) -> tuple[dict[str, Any] | None, Known]:
    """The model's config, as far as it is on this machine or in the catalogue, and what else is
    known."""
    place = local_folder(spec)
    known = Known(
        rows=rows,
        is_cached=place is not None if hub_cache.is_hub_id(spec.model.path) else None,
        model_types=model_types(),
        unknown_end=chat_templates.unknown_end(spec.dataset.chat_template, place),
        environ={name: environ[name] for name in _SETTINGS if name in environ},
        packages={name: _version(package) for name, package in _OPTIONAL.items()},
    )
    return _config(place, spec.model.path), known


def local_folder(spec: Spec) -> Path | None:
    """Where the model lies on this machine; None if it would be downloaded."""
    path = as_path(spec.model.path)
    if path is not None and path.is_dir():
        return path
    if not hub_cache.is_hub_id(spec.model.path):
        return None
    place = hub_cache.repository(hub_cache.folder(), spec.model.path)
    return hub_cache.main_snapshot(place, spec.model.revision or "main")


def _config(place: Path | None, path: str) -> dict[str, Any] | None:
    if place is not None:
        with contextlib.suppress(model_folder.Problem, OSError):
            return model_folder.config_of(place)
    return catalogue.config_of(path)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


@cache
def model_types() -> frozenset[str] | None:
    """What the installed transformers can load, read from its own list as text; None if that list
    is not where it used to be."""
    try:
        package = importlib.metadata.distribution("transformers")
        folder = Path(str(package.locate_file("transformers/models/auto")))
        texts = [(folder / name).read_text("utf-8") for name in _TYPES if (folder / name).exists()]
    except (importlib.metadata.PackageNotFoundError, OSError, ValueError):
        return None
    found = frozenset(name for text in texts for name in _TYPE.findall(text))
    # A list that lost its form must not make every model unknown.
    return found if {"llama", "qwen2", "mistral"} <= found else None
