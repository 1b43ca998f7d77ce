"""Which checkpoints go when a newer one has come. By step, never by file times, which copying
changes."""

from __future__ import annotations

from collections.abc import Callable, Container
from pathlib import Path

from engine.failpoints import reach
from engine.store.checkpoints import published
from engine.store.files import remove_tree
from engine.store.manifest import read_manifest, verify, verify_sizes

KEPT_AT_LEAST = 2
"""Rotation never goes below so many verified checkpoints."""
EVAL_LOSS = "eval_loss"
"""Field of a manifest: the newest loss on the held-back rows when it was saved, or none."""


def rotate(run_folder: Path, keep: int, *, verified: Container[int] = ()) -> list[int]:
    """Remove the oldest checkpoints but ``keep``; gives the steps removed.

    The newest :data:`KEPT_AT_LEAST` sound ones and the best always stay; so do unsound ones that
    are newer than these, for somebody to look at. Of the steps ``verified``, which
    :func:`engine.store.staging.publish` has read a short while ago, only manifest and sizes are
    looked at again. Raises ``OSError``.
    """
    found = list(reversed(published(run_folder)))
    if len(found) <= max(keep, KEPT_AT_LEAST):
        return []
    protected = {best(found)}
    sound = 0
    for step, folder in found:
        if sound >= KEPT_AT_LEAST:
            break
        protected.add(step)
        sound += _is_sound(folder, verify_sizes if step in verified else verify)
    removed = [step for step, _ in found[max(keep, KEPT_AT_LEAST) :] if step not in protected]
    for step, folder in found:
        if step in removed:
            reach("save.rotate")
            remove_tree(folder)
    return removed


def _is_sound(folder: Path, look: Callable[[Path], list[str]]) -> bool:
    try:
        return not look(folder)
    except OSError:
        return False  # What cannot be read counts for nothing, and stays.


def best(found: list[tuple[int, Path]]) -> int | None:
    """Of these checkpoints the step with the lowest loss on the held-back rows, the first of
    several; None if no loss is known."""
    losses = {step: loss for step, folder in found if (loss := _eval_loss(folder)) is not None}
    return min(losses, key=lambda step: (losses[step], step), default=None)


def _eval_loss(folder: Path) -> float | None:
    try:
        loss = read_manifest(folder).fields.get(EVAL_LOSS)
    except ValueError:
        return None
    return float(loss) if isinstance(loss, int | float) else None
