"""The forward pass that was made at the save and again after the resume: is its loss equal?"""

from __future__ import annotations

from engine.contract.messages import CertificateLine, Matters
from engine.diagnosis.certificate.facts import Facts

TITLE = "Replayed loss"
TOLERANCES = {"fp32": 1e-5, "fp16": 4e-3, "bf16": 2e-2}
"""Part of a loss that rounding explains, in the number format of the computation. A processor gives
the very same bits, and so do most cards; another card, driver or library need not."""


def replay_line(before: Facts, now: Facts) -> CertificateLine | None:
    """What the replay says; None if nothing was replayed now."""
    if now.replay is None:
        return None
    if before.replay is None:
        text = "The save was made by an older Fettle and does not tell."
        if before.settings is not None:
            text = "This save holds no loss to compare with: it came too soon after another one."
        return _line("unknown", "no", "", "", text)
    old, new = before.replay.loss, now.replay.loss
    if old == new:
        text = f"{_figure(old)} for the next {now.replay.tokens} tokens, as at the save: "
        return _line("same", "no", "", "", text + "equal to the last bit.")
    matters: Matters = "last_digits" if is_rounding(old, new, _tolerance(before, now)) else "yes"
    text = (
        f"No further apart than rounding explains ({100 * _tolerance(before, now):g} %)."
        if matters == "last_digits"
        else "The model does not compute what it computed at the save."
    )
    return _line("differs", matters, _figure(old), _figure(new), text)


def is_rounding(old: float | None, new: float | None, tolerance: float) -> bool:
    """Whether two losses are no further apart than this part of them."""
    if old is None or new is None:
        return False
    return abs(new - old) <= tolerance * max(abs(old), 1e-3)


def _tolerance(before: Facts, now: Facts) -> float:
    known = (facts.compute.precision for facts in (before, now) if facts.compute)
    return max((TOLERANCES.get(precision, 0.0) for precision in known), default=0.0)


def _figure(loss: float | None) -> str:
    return "no number" if loss is None else f"{loss:.9g}"


def _line(standing: str, matters: Matters, before: str, now: str, text: str) -> CertificateLine:
    return CertificateLine(
        subject="replay", title=TITLE, standing=standing, matters=matters,  # type: ignore[arg-type]
        before=before, now=now, sentence=text,
    )  # fmt: skip
