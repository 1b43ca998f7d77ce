"""``fettle verify``: reads every byte of a run's saves again."""

from __future__ import annotations

from argparse import Namespace

import msgspec

from engine.cli import words
from engine.cli.output import Exit, Output
from engine.client import connect
from engine.contract.messages import VerifySaves
from engine.store.soundness import SaveChecked, Verdict, in_words, is_well

_COLOURS: dict[Verdict, str] = {
    "sound": "green",
    "damaged": "red",
    "unfinished": "yellow",
    "newer": "yellow",
}


def verify(arguments: Namespace, output: Output) -> Exit:
    """A line for each save, and what it means for a resume."""
    with connect() as client:
        reply = client.request(VerifySaves(id=0, run=arguments.run))
    saves = msgspec.convert(reply["saves"], list[SaveChecked])
    for save in saves:
        output.emit(msgspec.to_builtins(save))
        if not output.as_json:
            for line in _lines(save, output):
                output.say(line)
    if not output.as_json:
        output.say(in_words(saves))
    return Exit.FINISHED if is_well(saves) else Exit.DAMAGED


def _lines(save: SaveChecked, output: Output) -> list[str]:
    verdict = output.paint(save.verdict, _COLOURS[save.verdict])
    aside = ", set aside" if save.is_set_aside else ""
    size = f"  {words.size(save.bytes)}" if save.bytes else ""
    return [f"step {save.step}  {verdict}{aside}{size}", *(f"  {text}" for text in save.problems)]
