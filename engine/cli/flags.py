"""Changes of a spec as what is typed behind ``fettle data`` or another command. Pure."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from engine.client import Refused
from engine.contract.messages import Complaint

_OWN = {
    "method": "--method",
    "model.path": "--model",
    "dataset.format": "--format",
    "dataset.chat_template": "--chat-template",
    "dataset.loss_on": "--loss-on",
    "dataset.max_samples": "--max-samples",
    "training.max_length": "--max-length",
}
"""Settings for which ``fettle data`` has an option."""
_TABLES = {"dataset.columns": "--columns", "dataset.roles": "--roles"}


def of_data(patch: Mapping[str, Any]) -> str:
    """``--format preference --set 'dataset.fixes=["drop_empty"]'``; empty where something is to be
    taken out, for which there is no option."""
    if any(value is None for value in patch.values()):
        return ""
    return " ".join(word for path, value in patch.items() for word in _words(path, value))


def of_spec(patch: Mapping[str, Any]) -> str:
    """The same for a command that reads a spec: ``--set dataset.format=preference``."""
    if any(value is None for value in patch.values()):
        return ""
    return " ".join(_set(path, value) for path, value in patch.items())


def advised(refused: Refused) -> Refused:
    """The same with what to type behind a command that reads a spec, where that does it."""
    complaints = [with_typed(each, of_spec(each.patch)) for each in refused.complaints]
    return Refused(refused.sentence, complaints, refused.code)


def with_typed(complaint: Complaint, typed: str) -> Complaint:
    """The complaint with that behind what to do; the same where there is nothing to type, or it
    stands there."""
    if not typed or typed in complaint.remedy:
        return complaint
    return msgspec.structs.replace(complaint, remedy=f"{complaint.remedy} Here: {typed}".lstrip())


def _words(path: str, value: Any) -> Iterator[str]:
    table, _, name = path.rpartition(".")
    if path in _OWN:
        yield f"{_OWN[path]} {quoted(str(value))}"
    elif path in _TABLES and isinstance(value, dict):
        yield from (f"{_TABLES[path]} {quoted(f'{n}={v}')}" for n, v in value.items())
    elif table in _TABLES:
        yield f"{_TABLES[table]} {quoted(f'{name}={value}')}"
    else:
        yield _set(path, value)


def _set(path: str, value: Any) -> str:
    if isinstance(value, dict):  # JSON is no TOML there.
        return " ".join(_set(f"{path}.{name}", each) for name, each in value.items())
    is_word = isinstance(value, str) and value.replace("_", "").replace("-", "").isalpha()
    said = value if is_word else json.dumps(value, ensure_ascii=False)
    return f"--set {quoted(f'{path}={said}')}"


def quoted(word: str) -> str:
    """The word as the shell of this system takes it for one."""
    if sys.platform == "win32":
        found = subprocess.list2cmdline([word])
        # Of what else cmd.exe makes something, it makes nothing between quotes.
        return f'"{word}"' if found == word and set(word) & set("&|<>^()") else found
    return shlex.quote(word)
