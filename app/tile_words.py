"""The numbers on top of a run's page, as texts. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from app import words
from engine.contract.lifecycle import LIVE, RESTING, State
from engine.contract.messages import RunSummary

if TYPE_CHECKING:
    # Only for its shape: the list of runs must not pay for numpy.
    from app.series import RunSeries

MINUS = "\N{MINUS SIGN}"


class TileText(msgspec.Struct, frozen=True, kw_only=True):
    """One number on top of a run's page."""

    label: str
    number: str
    small: str = ""
    tip: str = ""
    """Instead of ``small`` where the mouse rests; empty where that says it all."""


def tiles_of(summary: RunSummary, series: RunSeries, now: float) -> list[TileText]:
    """The six numbers on top."""
    return [
        _step_tile(summary, series),
        _time_tile(summary, now),
        _loss_tile(summary, series),
        _speed_tile(summary, series),
        _memory_tile(series),
        _save_tile(summary, series, now),
    ]


def _step_tile(summary: RunSummary, series: RunSeries) -> TileText:
    if not summary.max_steps:
        number, parts = words.count(summary.step) if summary.step else words.NONE, []
    else:
        number = f"{words.count(summary.step)} / {words.count(summary.max_steps)}"
        parts = [f"{100 * summary.step // summary.max_steps} %"]
    epoch = series.steps.last("epoch")
    if epoch is not None:
        parts.append(f"epoch {epoch:.2f}")
    return TileText(label="Step", number=number, small=" · ".join(parts))


_WAITS = {
    State.QUEUED: "not started yet", State.PAUSED: "paused", State.RECOVERING: "goes on soon"
}  # fmt: skip


def _time_tile(summary: RunSummary, now: float) -> TileText:
    if summary.state in RESTING:
        ended = f"ended {words.when(summary.ended_at, now)}" if summary.ended_at else ""
        number = words.taken(summary.train_seconds)
        return TileText(label="Time taken", number=number, small=ended)
    eta = summary.eta_seconds
    if eta is None:
        small = "after the first steps" if summary.state in LIVE else _WAITS.get(summary.state, "")
        return TileText(label="Time left", number=words.NONE, small=small)
    return TileText(
        label="Time left", number=words.span(eta), small=f"ends {words.when(now + eta, now)}"
    )


def _loss_tile(summary: RunSummary, series: RunSeries) -> TileText:
    """The loss of the newest step, as the list and the terminal have it."""
    smoothed, trend = series.steps.last("smoothed"), series.loss_trend()
    small = f"smoothed {words.loss(smoothed)}" if smoothed is not None else ""
    tip = small
    if trend is not None:
        change = f"{MINUS if trend < 0 else '+'}{abs(trend):.3f}"
        small, tip = f"{small}, {change}", f"{small}, {change} over 50 steps"
    if summary.eval_loss is not None:
        tip += f"\nevaluated {words.loss(summary.eval_loss)}"
    return TileText(label="Loss", number=words.loss(summary.loss), small=small, tip=tip.strip())


def _speed_tile(summary: RunSummary, series: RunSeries) -> TileText:
    """The speed of now; of a run at rest that of all its steps."""
    is_over = summary.state in RESTING
    tokens_a_second, step_seconds = series.mean_speed() if is_over else series.speed()
    if tokens_a_second is None:
        return TileText(label="Throughput", number=words.NONE)
    return TileText(
        label="Throughput",
        number=f"{words.count(tokens_a_second)} tok/s",
        small=f"{words.seconds(step_seconds)} / step" + (" on average" if is_over else ""),
    )


def _memory_tile(series: RunSeries) -> TileText:
    if series.has_gpu:
        peak = series.telemetry.peak("vram_used_bytes")
        total = series.telemetry.last("vram_total_bytes")
        left = f"{words.size(total - peak)} never used" if peak and total else "of the card"
        return TileText(label="VRAM peak", number=words.size_of(peak, total), small=left)
    peak = series.telemetry.peak("ram_used_bytes")
    small = "of the process, no GPU" if peak is not None else ""
    return TileText(label="RAM peak", number=words.size(peak), small=small)


def _save_tile(summary: RunSummary, series: RunSeries, now: float) -> TileText:
    save = series.last_save()
    if save is None:
        small = "the first is on its way" if summary.state in LIVE else ""
        return TileText(label="Last save", number="none yet", small=small)
    age = now - save.at
    when = words.ago(age) if age < 86400 else words.when(save.at, now)
    return TileText(
        label="Last save", number=f"step {words.count(save.step)}", small=f"{when} · verified"
    )
