"""Keeps what a run was changed to for want of memory, and begins the next such run with it."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

from engine.contract import effects
from engine.contract.messages import Decision, MemoryPool
from engine.contract.patching import Patch, changes, patched
from engine.contract.validate import check
from engine.paths import home
from engine.planning import facts, remembered
from engine.planning.remembered import POOL_WORDS, Entry
from engine.store import options
from engine.store.runs import read_run
from engine.store.upgrade import StoreError

log = logging.getLogger(__name__)


def keep(folder: Path, earlier: list[Patch], patch: Patch, pool: MemoryPool) -> None:
    """Remember what the run in the folder is changed to, if nothing else of its spec was changed
    since its start. A failure is only logged; slow."""
    try:
        content = read_run(folder)
        key = remembered.key_of(content.spec, facts.gather(folder.parent))
        known = remembered.recall(home(), key)
        expected = patched(content.spec, [known.patch] if known else [])
        if patched(content.spec, earlier) == expected:
            entry = Entry(patch=patch, pool=pool, run=folder.name, at=time.time())
            remembered.remember(home(), key, entry)
    except (StoreError, OSError) as error:
        log.warning("%s: what helped it is not remembered: %s", folder.name, error)


def begins_with(raw: dict[str, Any], store: Path) -> Decision | None:
    """What a new run with this spec begins with instead; None if nothing is known of it. Slow."""
    if not options.read(home()).remember_memory:
        return None
    known = remembered.recall(home(), remembered.key_of(raw, facts.gather(store)))
    if known is None or not (changed := changes(raw, known.patch)):
        return None
    if check(patched(raw, [known.patch]))[0] is None:
        return None
    day = time.strftime("%d %b %Y", time.localtime(known.at))
    return Decision(
        at=time.time(),
        title=f"Begins with {listed(changed)}",
        reason=f"With what the spec says, {POOL_WORDS.get(known.pool, 'memory ran out')} here on "
        f"{day}, in {known.run}. {effects.sentence_of(known.patch, raw)} `fettle options "
        "remember_memory=off` takes it as it is written.",
        cost=remembered.cost_of(known.patch),
        patch=known.patch,
    )


def listed(changed: list[str]) -> str:
    """Changes of :func:`engine.contract.patching.changes` as they are told."""
    return ", ".join(each.removeprefix("training.") for each in changed)
