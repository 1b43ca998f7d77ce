"""Whether a resumed run is the run that was saved, for people."""

from __future__ import annotations

from typing import Any

import msgspec

from engine.cli.output import Output
from engine.contract.messages import CertificateLine, ResumeCertificate

_MATTERS = {
    "no": "",
    "last_digits": " [may change the last digits]",
    "yes": " [changes the result]",
}
_SIGNS = {"same": "✓", "differs": "≠", "unknown": "?"}


def summary_of(certificate: ResumeCertificate) -> str:
    """The verdict, and a line for each thing that differs."""
    differing = [line for line in certificate.lines if line.standing == "differs"]
    same = sum(line.standing == "same" for line in certificate.lines)
    unrecorded = [line.title.lower() for line in certificate.lines if line.standing == "unknown"]
    compared = len(certificate.lines) - len(unrecorded)
    head = f"{certificate.title}: {same} of {compared} checks are the same."
    if unrecorded:
        head += f" Not recorded at the save: {', '.join(unrecorded)}."
    return "\n".join([head, *(f"  {_difference(line)}" for line in differing)])


def say(raw: dict[str, Any] | None, output: Output) -> None:
    """Tell the newest ``certificate`` of a run; nothing for one that was never resumed."""
    if not raw:
        return
    certificate = msgspec.convert(raw, ResumeCertificate)
    output.say()
    title = f"{certificate.title} (attempt {certificate.attempt}, after step {certificate.step})"
    output.say(output.paint(title, "bold"))
    for line in certificate.lines:
        text = _difference(line) if line.standing == "differs" else f"{line.title}: {line.sentence}"
        output.say(output.paint(f"  {_SIGNS[line.standing]} {text}", _colour(line)))


def _difference(line: CertificateLine) -> str:
    change = f"{line.before} → {line.now}"
    return f"{line.title} {change}{_MATTERS[line.matters]}: {line.sentence}"


def _colour(line: CertificateLine) -> str:
    if line.standing == "unknown":
        return "dim"
    if line.standing == "same" or line.matters == "no":
        return "green"
    return "red" if line.matters == "yes" else "yellow"
