"""Whether a resumed run is the run that was saved, in plain words. Pure."""

from __future__ import annotations

from app import words
from engine.contract.messages import CertificateLine, Matters, ResumeCertificate

VERDICT_TONES = {
    "same": "good",
    "last_digits": "good",
    "other": "warning",
    "unknown": "info",
    "refused": "danger",
}
MEANINGS: dict[Matters, tuple[str, str]] = {
    "no": ("info", ""),
    "last_digits": ("info", "May change the last digits."),
    "yes": ("warning", "Changes the result."),
}
"""Tone and words of what a difference means."""


def what_differs(certificate: ResumeCertificate) -> str:
    """All of it in a line of the activity list."""
    differing = [line for line in certificate.lines if line.standing == "differs"]
    same = sum(line.standing == "same" for line in certificate.lines)
    if not differing:
        return f"{words.counted(same, 'check')} before the first new step found no difference."
    changes = ", ".join(f"{line.title} {line.before} → {line.now}" for line in differing)
    return f"{changes}. {words.counted(same, 'other check')} found no difference."


def check_text(check: CertificateLine) -> str:
    """What a line of a certificate says below its title."""
    if check.standing != "differs":
        return check.sentence
    change = f"{check.before} → {check.now}."
    return " ".join(filter(None, (change, MEANINGS[check.matters][1], check.sentence)))


def tone_of(check: CertificateLine) -> str:
    """The colour of a line, by what it means for the result."""
    if check.standing == "same":
        return "good"
    return MEANINGS[check.matters][0] if check.standing == "differs" else ""
