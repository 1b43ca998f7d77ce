"""The certificate: all lines, and what they come to."""

from __future__ import annotations

from typing import Literal

from engine.contract.messages import CertificateLine, ResumeCertificate
from engine.diagnosis.certificate.compare import lines_of
from engine.diagnosis.certificate.facts import Facts
from engine.planning.figures import count, gib

Verdict = Literal["same", "last_digits", "other", "unknown", "refused"]
_TITLES: dict[Verdict, str] = {
    "same": "Resumed, and it is the same run",
    "last_digits": "Resumed: the same but for rounding",
    "other": "Resumed, with another result",
    "unknown": "Resumed: not all can be compared",
    "refused": "Not resumed: the run is another",
}


def certify(
    before: Facts, now: Facts, *, at: float, step: int, files: int, size_bytes: int,
    is_refused: bool = False, seconds: float = 0.0,
) -> ResumeCertificate:  # fmt: skip
    """Compare a run with itself at a save of ``files`` that were found to be as they were
    written. ``at``: UNIX time, seconds; ``is_refused``: the run cannot go on like this."""
    lines = [_files(files, size_bytes), *lines_of(before, now)]
    verdict: Verdict = "refused" if is_refused else verdict_of(lines)
    return ResumeCertificate(
        at=at, step=step, verdict=verdict, title=_TITLES[verdict], lines=lines,
        loss=now.replay.loss if now.replay else None,
        loss_before=before.replay.loss if before.replay else None,
        seconds=seconds,
    )  # fmt: skip


def verdict_of(lines: list[CertificateLine]) -> Verdict:
    """By what matters most."""
    matters = {line.matters for line in lines if line.standing == "differs"}
    if "yes" in matters:
        return "other"
    if "last_digits" in matters:
        return "last_digits"
    # Not every save has a replay; all that it shows is compared by other lines too.
    unknown = any(line.standing == "unknown" and line.subject != "replay" for line in lines)
    return "unknown" if unknown else "same"


def _files(number: int, size_bytes: int) -> CertificateLine:
    names = "1 file" if number == 1 else f"{count(number)} files"
    text = f"{names}, {gib(size_bytes)}: read again, and every byte is as it was written."
    return CertificateLine(subject="files", title="Save", standing="same", sentence=text)
