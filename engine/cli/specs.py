"""``fettle spec``: what a spec can hold, a check of a file, or an import of one."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

import msgspec

from engine import paths
from engine.cli import settings
from engine.cli.output import Exit, Output
from engine.client import Refused
from engine.contract import toml
from engine.methods.registry import METHODS
from engine.planning import catalogue, hardware
from engine.planning.conflicts import asked
from engine.planning.figures import gib
from engine.planning.recipe_draft import read_recipe
from engine.planning.recipe_import import import_recipe, to_toml


def spec(arguments: Namespace, output: Output) -> Exit:
    """Print what was asked for."""
    checked = arguments.check or arguments.file
    if arguments.settings and not checked:
        raise Refused("--set changes a file that is checked, and none is. Write --check FILE.")
    if checked:
        _check(Path(checked), arguments.settings, output)
    elif arguments.schema:
        indent = None if output.as_json else 2
        output.print_raw(json.dumps(toml.json_schema(), indent=indent) + "\n")
    elif arguments.example:
        _example(output)
    elif arguments.methods:
        _methods(output)
    elif arguments.models:
        _models(output)
    elif arguments.profiles:
        _profiles(output)
    else:
        _import(Path(arguments.recipe), output)
    return Exit.FINISHED


def _example(output: Output) -> None:
    if output.as_json:
        output.emit(toml.to_raw(toml.EXAMPLE))
    else:
        output.print_raw(toml.example())


def _methods(output: Output) -> None:
    for method in METHODS.values():
        output.emit(msgspec.to_builtins(method))
        if not output.as_json:
            output.say(f'method = "{method.name}": {method.title}')
            output.say(f"  {method.description}")
            output.say(f"  Data: {', '.join(method.formats)}.")


def _models(output: Output) -> None:
    width = max(len(model.id) for model in catalogue.load())
    for model in catalogue.load():
        output.emit({"type": "model", **msgspec.to_builtins(model)})
        if not output.as_json:
            size = f"{model.parameters / 1e9:5.2f} B parameters"
            terms = ", sign in first" if model.gated else ""
            output.say(f"{model.id:<{width}}  {size}  {model.licence}{terms}")


def _profiles(output: Output) -> None:
    for profile in hardware.profiles():
        output.emit({"type": "profile", **msgspec.to_builtins(profile)})
        if not output.as_json:
            memory = gib(profile.memory_bytes) if profile.memory_bytes else "the computer's memory"
            each = " each" if profile.card_count > 1 else ""
            output.say(f"{profile.id:<16} {profile.name}, {memory}{each}")


def _check(path: Path, changes: list[str], output: Output) -> None:
    """Raises :class:`engine.client.Refused` with all that is wrong."""
    from engine.host.checks import look_over  # Heavy beside the other words of this command.

    raw, found = settings.load(path, changes)
    # All that a start would look at, on this machine.
    looked = look_over(raw, paths.store())
    if looked.complaints:
        raise settings.refusal(looked.complaints)
    warnings = msgspec.to_builtins(looked.warnings)
    output.emit({"type": "checked", "file": str(path), "spec": raw, "conflicts": warnings})
    if not output.as_json:
        kind = f"{found.method}, {found.kind}."
        but = f"can be trained: {kind} Not all is as it may be meant:"
        output.say(f"{path} {but if warnings else f'is sound: {kind}'}")
        for warning in looked.warnings:
            output.say(f"{warning.title} {warning.reason} {asked(warning)}".rstrip())


def _import(path: Path, output: Output) -> None:
    """Raises :class:`engine.client.Refused` if the file cannot be read."""
    recipe, complaints = read_recipe(path)
    if complaints:
        raise Refused("This is no recipe.", complaints)
    imported = import_recipe(recipe, path.stem)
    output.emit({"type": "imported", "file": str(path), **msgspec.to_builtins(imported)})
    if not output.as_json:
        output.print_raw(to_toml(imported))
