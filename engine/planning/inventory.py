"""The models on this machine: what can be picked, and whether what was picked can be trained.

Light: folders and headers are looked at, nothing is loaded and nothing is asked of the network.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from engine import hugging_face
from engine.contract.messages import Complaint
from engine.planning import catalogue, hub_cache, model_folder
from engine.planning.model_folder import Problem

FIELD = "model.path"
MAX_FOLDERS = 2000
"""Folders looked at below one that the user named, so that a whole disk does not stall the list."""
_LEARNERS = ("ForCausalLM", "ForConditionalGeneration")


def list_models(folders: Iterable[str] = ()) -> list[dict[str, Any]]:
    """What :class:`engine.contract.messages.ListModels` answers: whole models only, by name.

    Looks into the Hugging Face cache and into each of ``folders``, two levels deep.
    """
    found = list(_cached(hub_cache.folder()))
    seen: set[Path] = set()
    for folder in folders:
        for place in _model_folders(Path(folder).expanduser()):
            real = place.resolve()
            if real not in seen and (model := _described(place, str(place), place.name, "folder")):
                found.append(model)
            seen.add(real)
    return sorted(found, key=lambda model: (model["name"].lower(), model["path"]))


def check_model(path: str, revision: str | None = None) -> list[Complaint]:
    """Why ``model.path`` of a spec cannot be trained; empty if nothing speaks against it.

    A folder is looked through; of a hub id only its form is checked, and that it is in the cache
    where the network may not be used.
    """
    place = as_path(path)
    if place is not None and place.is_dir():
        return [_complaint(problem) for problem in model_folder.problems(place)]
    if place is not None and place.exists():
        return [_complaint(_no_folder(place))]
    if not hub_cache.is_hub_id(path):
        return [_complaint(_nothing_there(path))]
    if hugging_face.is_offline("transformers"):
        return [_complaint(problem) for problem in _offline_problems(path, revision or "main")]
    return []


def _complaint(problem: Problem) -> Complaint:
    return Complaint(field=FIELD, problem=problem.problem, remedy=problem.remedy)


# ---------------------------------------------------------------- listing


def _cached(cache: Path) -> Iterator[dict[str, Any]]:
    """Models in the cache by their id; one whose main revision is not whole by its snapshot."""
    for id, place in hub_cache.repositories(cache):
        main = hub_cache.main_snapshot(place)
        model = _described(main, id, id, "cache") if main else None
        if model is None:
            others = (_described(s, str(s), id, "cache") for s in hub_cache.snapshots(place))
            model = next((other for other in others if other), None)
        if model is not None:
            yield model


def _model_folders(top: Path) -> Iterator[Path]:
    """Folders with a config, at ``top`` and up to two levels below it."""
    level, left = [top], MAX_FOLDERS
    for _ in range(3):
        below: list[Path] = []
        for place in level[:left]:
            inside = _entries(place)
            if any(entry.name == model_folder.CONFIG for entry in inside):
                yield place
            else:
                below += [entry for entry in inside if _is_open_folder(entry)]
        left -= len(level)
        if left <= 0:
            return
        level = below


def _entries(place: Path) -> list[Path]:
    """What lies in a folder; nothing if it may not be read."""
    try:
        return sorted(place.iterdir())
    except OSError:
        return []


def _is_open_folder(place: Path) -> bool:
    try:
        return not place.name.startswith(".") and place.is_dir()
    except OSError:
        return False


def _described(place: Path, path: str, name: str, source: str) -> dict[str, Any] | None:
    """The model in a folder, or None if it is not whole or learns no text."""
    try:
        config = model_folder.config_of(place)
        files = model_folder.weights_of(place)
    except (Problem, OSError):
        return None
    kinds = config.get("architectures")
    if isinstance(kinds, list) and kinds and not str(kinds[0]).endswith(_LEARNERS):
        return None
    return {
        "path": path,
        "name": name,
        "source": source,
        "bytes": sum(file.stat().st_size for file in files),
        "family": config["model_type"],
    }


# ---------------------------------------------------------------- checking


def as_path(path: str) -> Path | None:
    """The text as a path, None where it cannot be one."""
    try:
        place = Path(path).expanduser()
        place.exists()
    except (OSError, ValueError, RuntimeError):
        return None
    return place


def _no_folder(place: Path) -> Problem:
    if place.suffix == ".gguf":
        return Problem(
            f"{place} is a GGUF file, which is made for running, not for training.",
            "Choose the original model with safetensors files.",
        )
    return Problem(f"{place} is a file, not a model's folder.", "Choose the folder it lies in.")


def _nothing_there(path: str) -> Problem:
    shown = path if len(path) <= 200 else path[:199] + "…"
    ids = {entry.id.lower(): entry.id for entry in catalogue.load()}
    names = {id.rpartition("/")[2]: proper for id, proper in ids.items()}
    near = difflib.get_close_matches(path.lower(), [*ids, *names], n=1, cutoff=0.8)
    remedy = (
        f"Did you mean {(ids | names)[near[0]]}?"
        if near
        else "Write the path of a folder, or an id such as Qwen/Qwen2.5-0.5B."
    )
    return Problem(f"{shown!r} is no folder here and no hub id (org/name).", remedy)


def _offline_problems(id: str, revision: str) -> Iterator[Problem]:
    place = hub_cache.repository(hub_cache.folder(), id)
    snapshot = hub_cache.main_snapshot(place, revision)
    if snapshot is None:
        yield Problem(
            f"{id} is not in the Hugging Face cache, and HF_HUB_OFFLINE forbids downloading it.",
            "Unset HF_HUB_OFFLINE, or choose a model that is on this machine.",
        )
        return
    for problem in model_folder.problems(snapshot):
        yield Problem(
            problem.problem, "The download is not complete: unset HF_HUB_OFFLINE to finish it."
        )
