"""What the time of a step goes into, for people."""

from __future__ import annotations

from typing import Any

import msgspec

from engine.cli.output import Output
from engine.diagnosis.pace.shares import QUESTION, Pace, Share
from engine.planning.figures import percent

_BAR = 20
_ADVISED = 0.05
"""Advice on a smaller part would only be in the way."""


def say(raw: dict[str, Any], output: Output) -> None:
    """Tell the ``pace`` of a run; nothing before its first steps."""
    if not raw:
        return
    pace = msgspec.convert(raw, Pace)
    output.say()
    output.say(output.paint(QUESTION, "bold"))
    output.say(pace.sentence)
    for share in pace.shares:
        output.say(f"  {_bar(share)} {percent(share.share):>5}  {share.name}")
        if share.advice and share.share >= _ADVISED and share.part != "computing":
            output.say(output.paint(f"  {'':{_BAR}}        {share.advice}", "dim"))
    for sentence in pace.unknown:
        output.say(output.paint(sentence, "dim"))


def _bar(share: Share) -> str:
    return ("█" * round(_BAR * share.share)).ljust(_BAR, "·")
