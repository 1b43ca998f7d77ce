"""Makes a spec of a recipe written for transformers, TRL, PEFT, LLaMA-Factory or Axolotl. Pure.

Old names are taken for what they are called today, contradictions are named, and nothing is passed
over in silence: each option is used, or there is a note on it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from engine.contract.messages import Complaint
from engine.contract.spec import Spec
from engine.contract.toml import write
from engine.contract.validate import check
from engine.planning import conflicts
from engine.planning.conflicts import Conflict
from engine.planning.recipe_draft import Draft, Note, table
from engine.planning.recipe_parts import PARTS, adapter

UNNAMED_MODEL = "fill/in-the-model"
UNNAMED_DATA = "fill-in-the-data.jsonl"
_PROGRAMS = {
    "llama-factory": ("cutoff_len", "finetuning_type", "stage", "lora_target", "dataset_dir"),
    "axolotl": ("base_model", "sequence_len", "micro_batch_size", "val_set_size", "sample_packing"),
    "trl": ("max_length", "max_seq_length", "dataset_text_field", "packing", "completion_only_loss",
            "assistant_only_loss"),
}  # fmt: skip
"""Options that only one of the programs has."""
_TITLES = {"llama-factory": "LLaMA-Factory", "axolotl": "Axolotl", "trl": "TRL",
           "transformers": "transformers"}  # fmt: skip


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a recipe."""

    program: str
    """Whose recipe it seems to be, for people."""
    raw: dict[str, Any]
    """The spec as plain values; it may still want a model or data."""
    notes: list[Note]
    conflicts: list[Conflict]
    """What contradicted itself in the recipe, and how that was settled."""
    complaints: list[Complaint]
    """What is still to be done before it can be trained."""


def import_recipe(recipe: dict[str, Any], name: str) -> Imported:
    """The spec that a recipe comes to, called ``name``."""
    draft = Draft(recipe)
    program = _program(draft)
    for part in PARTS:
        part(draft)
    draft.facts["packing"] = draft.look("packing", draft.look("sample_packing")) is True
    for field, names in table().fields.items():
        draft.take_first(field, names)
    adapter(draft)
    _leave_out(draft)
    found = conflicts.fired(
        {f"recipe.{key}": value for key, value in draft.facts.items()},
        conflicts.load()[conflicts.RECIPES],
    )
    _settle(draft, {conflict.id for conflict in found})
    _add_defaults(draft, program)
    raw = _nested(draft.values, name)
    spec, complaints = check(raw)
    if spec is not None:
        found += conflicts.check(spec)
    return Imported(
        program=_TITLES[program],
        raw=raw,
        notes=draft.notes,
        conflicts=found,
        complaints=complaints + _to_fill_in(raw),
    )


def _program(draft: Draft) -> str:
    counts = {program: sum(draft.has(s) for s in signs) for program, signs in _PROGRAMS.items()}
    best = max(counts, key=lambda program: counts[program])
    return best if counts[best] else "transformers"


def _leave_out(draft: Draft) -> None:
    """A note on every option that was not used."""
    known = table()
    for option in draft.names():
        value = draft.take(option)
        if option in known.lost and value not in (None, False, "none", "", 0, {}, []):
            draft.note("lost", option, known.lost[option])
        elif option in known.own:
            _leave_out_own(draft, option, known.own[option])
        elif option not in known.lost:
            draft.note("unknown", option, "Fettle does not know this option.")


def _leave_out_own(draft: Draft, option: str, why: str) -> None:
    new = table().new_names.get(option)
    draft.note("left_out", option, f"Now called {new}. {why}" if new else why)


def _settle(draft: Draft, found: set[str]) -> None:
    """Take the way out that each contradiction's rule promises."""
    if "bits_without_adapter" in found:
        draft.values["lora.r"] = 16
    if "eval_without_data" in found:
        draft.values["dataset.eval_fraction"] = 0.05


def _add_defaults(draft: Draft, program: str) -> None:
    """What a recipe leaves out means what its own program takes for it, not what Fettle does."""
    tables = {field.split(".")[0] for field in draft.values} | {"training", "dataset"}
    if draft.values.get("quantization.bits") != 4:
        tables.discard("quantization")
    for field, value in table().defaults[program].items():
        if field in draft.values or field.split(".")[0] not in tables:
            continue
        draft.values[field] = value
        text = f"The recipe leaves it out; this is {_TITLES[program]}'s default."
        draft.note("added", field.rpartition(".")[2], text, field)


def _nested(values: dict[str, Any], name: str) -> dict[str, Any]:
    """The spec's tables. Every spec has a model and data, if only to be filled in."""
    raw: dict[str, Any] = {
        "name": _plain(name).strip() or "recipe",
        "model": {"path": UNNAMED_MODEL},
        "dataset": {"path": UNNAMED_DATA},
    }
    for field, value in values.items():
        first, _, key = field.partition(".")
        if key:
            raw.setdefault(first, {})[key] = value
        elif value != {}:
            raw[first] = value
        else:
            raw.setdefault(first, {})
    return raw


def _to_fill_in(raw: dict[str, Any]) -> list[Complaint]:
    found = []
    if raw["model"]["path"] == UNNAMED_MODEL:
        problem = "The recipe names no model."
        found.append(Complaint(field="model.path", problem=problem, remedy="Write its path or id."))
    if raw["dataset"]["path"] == UNNAMED_DATA:
        problem = "The recipe names no data."
        found.append(Complaint(field="dataset.path", problem=problem, remedy="Write its path."))
    return found


# ---------------------------------------------------------------- as text


def to_toml(imported: Imported) -> str:
    """The spec with a comment on everything that was changed. What is not sound is left out, and a
    comment says so."""
    head = [f"# Made from a recipe of {imported.program}.", *_head(imported)]
    body = _commented(write(_sound(imported.raw), comments=False), imported.notes)
    return "\n".join(head) + "\n\n" + body


def _sound(raw: dict[str, Any]) -> Spec:
    """The spec without the settings that are complained of."""
    spec, complaints = check(raw)
    while spec is None:
        fields = [complaint.field for complaint in complaints]
        smaller = _without(raw, fields)
        # Where no single setting is to blame, only what every spec has is left.
        raw = smaller if smaller != raw else _nested({}, "recipe")
        spec, complaints = check(raw)
    return spec


def _head(imported: Imported) -> list[str]:
    sections = {
        "lost": "Has no counterpart, so the result may differ:",
        "unknown": "Not known:",
        "left_out": "Left out:",
    }
    found = []
    if imported.conflicts:
        found += ["#", "# Did not go together:"]
        texts = [f"{c.title} {c.reason} {c.remedy}." for c in imported.conflicts]
        found += [f"#   {_plain(text, 500)}" for text in texts]
    for kind, title in sections.items():
        lines = [
            f"#   {_plain(n.option)}: {_plain(n.text, 300)}"
            for n in imported.notes
            if n.kind == kind
        ]
        found += ["#", f"# {title}", *lines] if lines else []
    todo = [f"# To do: {_plain(str(complaint), 300)}" for complaint in imported.complaints]
    return found + (["#", *todo] if todo else [])


def _commented(text: str, notes: list[Note]) -> str:
    """The TOML with each note above the setting that it is about."""
    said: dict[str, list[str]] = {}
    for note in notes:
        if note.field and note.kind in ("renamed", "changed", "added"):
            said.setdefault(note.field, []).append(
                f"# {_plain(note.option)}: {_plain(note.text, 300)}"
            )
    lines, prefix = [], ""
    for line in text.splitlines():
        if line.startswith("["):
            prefix = line.strip("[]") + "."
        lines += [*said.get(prefix + line.partition(" = ")[0], []), line]
    return "\n".join(lines) + "\n"


def _plain(text: str, longest: int = 80) -> str:
    """Text from a foreign file, fit for a comment line."""
    return "".join(c if c.isprintable() else "?" for c in text[:longest])


def _without(raw: dict[str, Any], fields: list[str]) -> dict[str, Any]:
    changed = {name: dict(v) if isinstance(v, dict) else v for name, v in raw.items()}
    for field in fields:
        first, _, key = field.partition(".")
        inner = changed.get(first)
        if isinstance(inner, dict) and key:
            inner.pop(key, None)
    return changed
