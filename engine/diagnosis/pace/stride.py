"""How long steps take, from the first to the last of an attempt: changes and creeps, each with its
cause."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median

from engine.diagnosis.pace.causes import Case, Cause, Platform, explain
from engine.diagnosis.pace.creep import SlowCreep
from engine.diagnosis.pace.readings import Level, Readings, Span
from engine.diagnosis.pace.robust import line_through, misfit
from engine.diagnosis.pace.slowdown import Beat, Slowdown
from engine.diagnosis.pace.turn import Code, Turn

_LOOK_SECONDS = 2.0
_LEAST_SAMPLES = 5
_LEAST_SECONDS = 8.0
"""So much must have been measured of a slow time before its cause is looked for."""
_PATIENCE_SECONDS = 240.0
"""A slow time without a known cause is often somebody at the computer, and over soon."""
_BEFORE_SECONDS = 600.0
_LEAST_FACTOR = 1.2
"""Less, and without a cause, nobody can do anything about."""
_RAMP_STEPS = 200
_GROUP = 8


class Stride:
    """Fed with steps; looks for causes in the readings, which others fill."""

    def __init__(self, readings: Readings, platform: Platform) -> None:
        self._readings = readings
        self._platform: Platform = platform
        self._slowdown = Slowdown()
        self._slow_code: Code | None = None
        self._creep: SlowCreep | None = None
        self._creep_code: Code | None = None
        self._looked_at = 0.0
        self._first = Level()
        self._first_span = Span()

    def note(self, beat: Beat) -> list[Turn]:
        """Take in a step."""
        slowdown = self._slowdown
        was = slowdown.state
        if slowdown.note(beat):
            return self._end_slowdown(beat)
        if was == "learning" and slowdown.state == "ordinary":
            self._begin_creep(beat)
        if slowdown.state == "suspected" and beat.at - self._looked_at >= _LOOK_SECONDS:
            self._looked_at = beat.at
            return self._judge(beat)
        return self._note_creep(beat) if slowdown.state == "ordinary" else []

    # ------------------------------------------------------------ changes

    def _judge(self, beat: Beat) -> list[Turn]:
        """Look for the cause of what seems to be slow."""
        self._slowdown.sharpen()
        since = self._slowdown.since
        assert since is not None
        begin = since.at - since.seconds
        after = self._readings.level(begin + 1.0, beat.at)
        if beat.at - begin < _LEAST_SECONDS or 0 < after.samples < _LEAST_SAMPLES:
            return []
        before = self._readings.level(begin - _BEFORE_SECONDS, begin - 1.0)
        case = self._case(before, after, span_of(self._slowdown.before), self._slowdown.factor)
        cause = explain(case)
        if not cause.is_certain and beat.at - begin < _PATIENCE_SECONDS:
            return []
        if not cause.is_certain and case.factor < _LEAST_FACTOR:
            self._slowdown.accept()
            return []
        is_ramp = not cause.is_certain and self._is_ramp()
        self._slowdown.confirm()
        self._slow_code = "slow_creep" if is_ramp else cause.label
        return [
            Turn(code=self._slow_code, step=since.step, at=since.at, case=case, cause=cause)
        ]  # fmt: skip

    def _case(self, before: Level, after: Level, span: Span, factor: float) -> Case:
        recent = self._slowdown.apart or self._slowdown.before
        return Case(
            before=before,
            after=after,
            span_before=span,
            span_after=span_of(recent),
            factor=factor,
            platform=self._platform,
        )

    def _is_ramp(self) -> bool:
        """Whether it came little by little: a line fits the steps better than a jump does."""
        before, after = (
            [self._slowdown.tempo.excess(beat.tokens, beat.seconds) for beat in beats]
            for beats in (self._slowdown.before, self._slowdown.apart)
        )
        before, after = before[-_RAMP_STEPS:], after[:_RAMP_STEPS]
        if min(len(before), len(after)) < 2 * _GROUP:
            return False
        jump = misfit(before, [median(before)] * len(before))
        jump += misfit(after, [median(after)] * len(after))
        both = [*before, *after]
        return misfit(both, line_through(both, _GROUP)) < 0.95 * jump

    def _end_slowdown(self, beat: Beat) -> list[Turn]:
        code, self._slow_code = self._slow_code, None
        lost = self._slowdown.lost_seconds
        return [_over(code, beat, lost)] if code else []

    # ------------------------------------------------------------ creeps

    def _begin_creep(self, beat: Beat) -> None:
        self._creep = SlowCreep(self._slowdown.tempo.frozen())
        self._first = self._readings.level(0.0, beat.at)
        self._first_span = span_of(self._slowdown.before)

    def _note_creep(self, beat: Beat) -> list[Turn]:
        creep = self._creep
        if creep is None or not creep.note(beat):
            return []
        if not creep.is_found:
            code, self._creep_code = self._creep_code, None
            return [_over(code, beat, 0.0)] if code else []
        after = self._readings.level(beat.at - _BEFORE_SECONDS, beat.at)
        case = self._case(self._first, after, self._first_span, creep.factor)
        cause = explain(case)
        if not cause.is_certain:
            cause = Cause(label="slower")
        self._creep_code = cause.label if cause.is_certain else "slow_creep"
        first = creep.first or beat
        return [Turn(code=self._creep_code, step=first.step, at=first.at, case=case, cause=cause)]


def _over(code: Code, beat: Beat, lost_seconds: float) -> Turn:
    return Turn(code=code, is_over=True, step=beat.step, at=beat.at, lost_seconds=lost_seconds)


def span_of(beats: Iterable[Beat]) -> Span:
    """The middle of these steps."""
    some = list(beats)[-100:]
    waits = [beat.wait_seconds for beat in some if beat.wait_seconds is not None]
    reserved = [beat.reserved_bytes for beat in some if beat.reserved_bytes is not None]
    return Span(
        steps=len(some),
        seconds=median(beat.seconds for beat in some) if some else 0.0,
        wait_seconds=median(waits) if waits else None,
        reserved_bytes=median(reserved) if reserved else None,
    )
