"""What a spec had to be changed to on a machine after it ran out of memory there.

One small JSON file of this home. It is a help and never needed: one that cannot be read counts as
empty.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec

from engine.contract.messages import MemoryPool
from engine.contract.patching import Patch
from engine.contract.validate import check
from engine.planning.facts import MachineFacts
from engine.store.files import write_atomic

FILE = "remembered.json"
FORMAT = 1
KEPT = 200
"""Newest entries that are kept."""
_GIB = 2**30

COSTS = {
    "training.per_device_train_batch_size": "A step takes a little longer.",
    "training.gradient_checkpointing": "A step takes up to a third longer.",
    "hardware.safe_mode": "Copies between card and RAM take a little longer.",
}
"""What a changed setting costs, by its name."""
POOL_WORDS: dict[MemoryPool, str] = {
    "vram": "the card's memory ran out",
    "driver": "the driver had no more pinned memory",
    "shared": "the card's memory spilled into RAM",
    "ram": "the computer's memory (RAM) ran out",
    "disk": "the disk was full",
}


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """What helped one spec on one machine."""

    patch: dict[str, Any]
    pool: MemoryPool = ""
    run: str = ""
    """The run that it was learnt from."""
    at: float = 0.0
    """UNIX time."""


class _File(msgspec.Struct, frozen=True, kw_only=True):
    format: int = FORMAT
    entries: dict[str, Entry] = {}


def key_of(raw: dict[str, Any], machine: MachineFacts) -> str:
    """The same for the same spec, whatever its name, on the same machine."""
    spec, _ = check(raw)
    content = msgspec.to_builtins(spec) if spec else dict(raw)
    number = content.get("hardware", {}).get("gpu", 0)
    cards = [(c.name, c.vram_total_bytes) for c in machine.gpus if c.index == number]
    ram_gib = round((machine.ram_total_bytes or 0) / _GIB)
    whole = {**content, "name": "", "machine": [cards, ram_gib]}
    return hashlib.sha256(msgspec.json.encode(whole, order="sorted")).hexdigest()[:32]


def recall(home: Path, key: str) -> Entry | None:
    """What is known of that spec on that machine."""
    return _load(home / FILE).entries.get(key)


def remember(home: Path, key: str, entry: Entry) -> None:
    """Keep what helped, on top of what did not suffice. Raises ``OSError``."""
    known = _load(home / FILE).entries
    before = known.pop(key, None)
    patch: Patch = {**(before.patch if before else {}), **entry.patch}
    entries = {**known, key: msgspec.structs.replace(entry, patch=patch)}
    newest = dict(list(entries.items())[-KEPT:])
    content = msgspec.json.encode(_File(entries=newest))
    write_atomic(home / FILE, msgspec.json.format(content, indent=1))


def cost_of(patch: Patch) -> str:
    """What the changes cost, in a sentence; empty where that is not known."""
    return " ".join(COSTS[field] for field in COSTS if field in patch)


def sentence_of(pool: MemoryPool) -> str:
    """What happened, as a sentence; empty where no memory ran out."""
    words = POOL_WORDS.get(pool, "")
    return f"{words[:1].upper()}{words[1:]}." if words else ""


def _load(path: Path) -> _File:
    try:
        found = msgspec.json.decode(path.read_bytes(), type=_File)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return _File()
    return found if found.format == FORMAT else _File()
