"""The chat templates that a run can be given: bundled ones, and files. Light: text, never rendered.

Rendering one, and saying what is wrong in what it does, is the worker's work.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from functools import cache
from pathlib import Path

import msgspec

from engine import paths
from engine.contract.messages import Complaint
from engine.contract.template_names import BUNDLED, is_auto, is_file
from engine.planning import template_syntax
from engine.store.files import write_atomic

FOLDER = paths.RESOURCES / "templates"
FIELD = "dataset.chat_template"
TOKENIZER = "tokenizer.json"
MOST_BYTES = 256 << 10
"""Of a template; the longest of a known model has 20 KB."""


class Bundled(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What has to be known of one of ours."""

    name: str
    title: str
    models: str
    """For which it is, for people."""
    end_of_turn: str
    """What ends an answer; empty: the model's own end token."""
    aliases: list[str] = []
    """What other programs call it, small letters and digits only."""


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    template: list[Bundled]


class TemplateProblem(Exception):
    """Why a template cannot be had; the text names the file."""

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(f"{problem} {remedy}".rstrip())
        self.problem = problem
        self.remedy = remedy


@cache
def bundled() -> tuple[Bundled, ...]:
    """All of ours, in reading order."""
    text = (FOLDER / "templates.toml").read_text(encoding="utf-8")
    return tuple(msgspec.convert(tomllib.loads(text), _File).template)


@cache
def text_of(name: str) -> str:
    """A bundled one. Raises KeyError if there is none of that name."""
    if name not in BUNDLED:
        raise KeyError(name)
    return (FOLDER / f"{name}.jinja").read_text(encoding="utf-8")


def known_as(foreign: str) -> str:
    """Ours that another program calls so; empty if it is none."""
    bare = re.sub(r"[^a-z0-9]", "", foreign.lower())
    for template in bundled():
        names = [template.name, *template.aliases]
        if bare in (re.sub(r"[^a-z0-9]", "", name) for name in names):
            return template.name
    return ""


def read(chosen: str) -> str | None:
    """The text of what ``dataset.chat_template`` says; None for the model's own. Raises
    :class:`TemplateProblem`."""
    if is_auto(chosen):
        return None
    if chosen in BUNDLED:
        return text_of(chosen)
    if not is_file(chosen):
        raise TemplateProblem(
            f"There is no bundled chat template called {chosen[:60]!r}.",
            f"Write auto, one of {', '.join(BUNDLED)}, or the path of a .jinja file.",
        )
    return _file(Path(chosen))


def _file(path: Path) -> str:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise TemplateProblem(
                f"{path} has more than {MOST_BYTES >> 10} KiB.", "A chat template is far shorter."
            )
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise TemplateProblem(
            f"There is no file {path}.", "Write the path of a .jinja file, or auto."
        ) from None
    except (OSError, ValueError) as error:
        # ValueError: no UTF-8, or a path that no file can have.
        why = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise TemplateProblem(f"{path} cannot be read: {why}.", "Choose another file.") from error
    if not text.strip():
        raise TemplateProblem(f"{path} is empty.", "Write a template into it, or choose auto.")
    return text


def unknown_end(chosen: str, model: Path | None) -> str | None:
    """What a bundled template ends turns with, if the model in this folder does not know it as one
    token; empty if it does, None if nobody can say without loading it. Milliseconds."""
    facts = next((each for each in bundled() if each.name == chosen), None)
    if facts is None or model is None:
        return None
    if not facts.end_of_turn:
        return ""
    try:
        # A vocabulary has megabytes, of which only this is of interest.
        known = json.dumps(facts.end_of_turn).encode() in (model / TOKENIZER).read_bytes()
    except OSError:
        return None
    return "" if known else facts.end_of_turn


def complaints(chosen: str) -> list[Complaint]:
    """Why what ``dataset.chat_template`` says cannot be had on this machine; empty if it can."""
    if is_file(chosen) and not Path(chosen).is_absolute():
        return [
            Complaint(
                field=FIELD,
                problem=f"{chosen} does not say which folder it is in.",
                remedy="Write the whole path.",
            )
        ]
    try:
        text = read(chosen)
    except TemplateProblem as problem:
        return [Complaint(field=FIELD, problem=problem.problem, remedy=problem.remedy)]
    if text and is_file(chosen) and (mistake := template_syntax.mistake_in(text)):
        told = f"{chosen}: {mistake}"
        return [Complaint(field=FIELD, problem=told, remedy=template_syntax.REMEDY)]
    return []


def keep(text: str, name: str) -> Path:
    """Write a template that somebody made into Fettle's folder; gives its path.

    What it holds is in its name, so a file there is never changed: a run that uses one can be
    resumed whatever is edited later. Raises ``OSError``.
    """
    digest = hashlib.sha256(text.encode()).hexdigest()[:10]
    stem = re.sub(r"-[0-9a-f]{10}$", "", Path(name).stem)
    bare = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-.")[:40] or "template"
    folder = paths.make_home() / "templates"
    folder.mkdir(exist_ok=True)
    path = folder / f"{bare}-{digest}.jinja"
    if not path.exists():
        write_atomic(path, text.encode())
    return path
