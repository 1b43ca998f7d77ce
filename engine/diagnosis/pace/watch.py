"""Watches the pace of one attempt: records go in, findings come out, each once, and once when it is
over. Pure: the same records give the same findings.
"""

from __future__ import annotations

from typing import Any

from engine.contract.lifecycle import Phase
from engine.contract.messages import Finding, PhaseChanged, Record, Step, Telemetry
from engine.diagnosis.pace.causes import Cause
from engine.diagnosis.pace.creep import MemoryCreep
from engine.diagnosis.pace.readings import Readings
from engine.diagnosis.pace.slowdown import Beat
from engine.diagnosis.pace.standing import Overfull, Waiting
from engine.diagnosis.pace.stride import Stride
from engine.diagnosis.pace.turn import Code, Turn
from engine.diagnosis.pace.words import Machine, finding_of

_MIB = 1 << 20
_TRAINS = frozenset({Phase.FIRST_STEP, Phase.TRAINING})


class PaceWatch:
    """The pace of one attempt. ``spec`` is the raw one, for remedies."""

    def __init__(self, machine: Machine, spec: dict[str, Any]) -> None:
        self._machine = machine
        self._spec = spec
        self._readings = Readings()
        self._stride = Stride(self._readings, machine.platform)
        self._waiting = Waiting()
        self._overfull = Overfull()
        self._ram = MemoryCreep(512 * _MIB, 0.08)
        self._card = MemoryCreep(256 * _MIB, 0.03)
        self._trains = True
        self._is_after_pause = self._was_cold = False
        self._reserved: float | None = None
        self._last: Beat | None = None
        self._begun: dict[Code, tuple[object, Turn]] = {}
        """What was found and is not over, with the part that found it."""

    def note(self, record: Record) -> list[Finding]:
        """Take in the next record of the attempt; gives what is to be told."""
        if isinstance(record, PhaseChanged):
            self._trains = record.phase in _TRAINS
            self._is_after_pause = True
        elif isinstance(record, Telemetry) and self._trains:
            return self._note_sample(record)
        elif isinstance(record, Step):
            return self._note_step(record)
        return []

    def _note_sample(self, sample: Telemetry) -> list[Finding]:
        self._readings.add(sample)
        found = []
        step = self._last.step if self._last else 0
        can_spill = self._machine.platform != "never"
        if can_spill and self._overfull.note(sample, self._reserved, step):
            size = self._overfull.spilled_bytes
            cause = Cause(label="spill", spilled_bytes=size)
            turn = self._turn("spill", over=not self._overfull.is_found, cause=cause)
            found += self._tell(self._overfull, turn, sample.at)
        if self._ram.note(sample.at, sample.ram_used_bytes):
            turn = self._turn("ram_creep", over=not self._ram.growth, growth=self._ram.growth)
            found += self._tell(self._ram, turn, sample.at)
        return found

    def _note_step(self, step: Step) -> list[Finding]:
        # Saves and evaluations end before a step does, whatever the worker calls its phase.
        self._trains = True
        # After a pause caches are cold; where every step is after one, they always are.
        self._was_cold = self._is_after_pause and not self._was_cold
        self._is_after_pause = False
        self._reserved = step.vram_reserved_bytes
        beat = self._last = beat_of(step)
        found = []
        if not self._was_cold:
            for turn in self._stride.note(beat):
                found += self._tell(self._stride, turn, step.at)
        if self._waiting.note(beat):
            over, share = not self._waiting.is_found, self._waiting.share
            turn = self._turn("starved", over=over, wait_share=share)
            found += self._tell(self._waiting, turn, step.at)
        if self._card.note(step.at, step.vram_allocated_bytes):
            turn = self._turn("card_creep", over=not self._card.growth, growth=self._card.growth)
            found += self._tell(self._card, turn, step.at)
        return found

    def _turn(self, code: Code, *, over: bool, **fields: Any) -> Turn:
        step, at = (self._last.step, self._last.at) if self._last else (0, 0.0)
        return Turn(code=code, is_over=over, step=step, at=at, **fields)

    def _tell(self, owner: object, turn: Turn, at: float) -> list[Finding]:
        """The finding of a turn; none where another part has told the same already."""
        known = self._begun.get(turn.code)
        if not turn.is_over:
            if known is not None:
                return []
            self._begun[turn.code] = (owner, turn)
            return [finding_of(turn, self._machine, self._spec, at)]
        if known is None or known[0] is not owner:
            return []
        del self._begun[turn.code]
        return [finding_of(turn, self._machine, self._spec, at, begun=known[1])]


def beat_of(step: Step) -> Beat:
    """The step, as far as it matters for the pace."""
    return Beat(
        step=step.step,
        at=step.at,
        tokens=max(step.padded_tokens or step.tokens, 1),
        seconds=step.step_ms / 1000,
        wait_seconds=None if step.wait_ms is None else step.wait_ms / 1000,
        reserved_bytes=step.vram_reserved_bytes,
    )
