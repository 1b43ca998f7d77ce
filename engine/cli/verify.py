"""``fettle verify``: reads every byte of a run's saves again."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import msgspec

from engine.cli import words
from engine.cli.listing import limit_of
from engine.cli.output import Exit, Output
from engine.client import connect
from engine.contract.lifecycle import State
from engine.contract.messages import VerifySaves
from engine.store.soundness import SaveChecked, Verdict, in_words, is_well, resumes_from, standing

_COLOURS: dict[Verdict, str] = {
    "sound": "green",
    "damaged": "red",
    "unreadable": "red",
    "unfinished": "yellow",
    "newer": "yellow",
}


def verify(arguments: Namespace, output: Output) -> Exit:
    """A line for each save, and what it means for a resume."""
    with connect() as client:
        reply = client.request(VerifySaves(id=0, run=arguments.run))
    saves = msgspec.convert(reply["saves"], list[SaveChecked])
    sentence = in_words(saves, is_finished=reply.get("state") == State.FINISHED)
    besides = words.kept_besides(len(standing(saves)), limit_of(reply.get("spec", {})))
    sentence = f"{sentence} {besides}".rstrip()
    for save in saves:
        output.emit({"type": "save", **msgspec.to_builtins(save)})
        if not output.as_json:
            for line in _lines(save, output):
                output.say(line)
    output.emit(_closing(reply, saves, sentence))
    if not output.as_json:
        output.say(sentence)
    return Exit.FINISHED if is_well(saves) else Exit.DAMAGED


def _closing(reply: dict[str, Any], saves: list[SaveChecked], sentence: str) -> dict[str, Any]:
    """The last object: all of it in figures, and ``resumes_from`` (a step; null: no resume)."""
    there = standing(saves)
    sound = [each.step for each in there if each.verdict == "sound"]
    is_over = reply.get("state") == State.FINISHED
    return {
        "type": "verified", "is_well": is_well(saves), "saves": len(there), "sound": len(sound),
        "damaged": sum(each.verdict == "damaged" for each in there),
        "set_aside": sum(each.is_set_aside for each in saves),
        "resumes_from": None if is_over else resumes_from(saves), "sentence": sentence,
    }  # fmt: skip


def _lines(save: SaveChecked, output: Output) -> list[str]:
    verdict = output.paint(save.verdict, _COLOURS[save.verdict])
    aside = ", set aside" if save.is_set_aside else ""
    size = f"  {words.size(save.bytes)}" if save.bytes else ""
    return [f"step {save.step}  {verdict}{aside}{size}", *(f"  {text}" for text in save.problems)]
