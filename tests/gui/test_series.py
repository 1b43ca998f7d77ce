"""What a run measured: one point a step, one axis for everything, whatever the order of arrival."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.pyramid import Pyramid
from app.series import STEP_FIELDS, TELEMETRY_FIELDS, RunSeries
from app.series_time import SMOOTHING
from engine.contract.messages import CheckpointSaved, Columns, Evaluated, Record, Step, Telemetry

RUN = "r"


def step(number: int, *, seq: int, at: float, attempt: int = 1, loss: float | None = None) -> Step:
    value = float(100 * attempt + number) if loss is None else loss
    return Step(run=RUN, seq=seq, at=at, attempt=attempt, step=number, loss=value,
                learning_rate=1e-4, step_ms=500.0, tokens=1000)  # fmt: skip


def telemetry(*, seq: int, at: float, attempt: int = 1, ram: int = 5) -> Telemetry:
    return Telemetry(run=RUN, seq=seq, at=at, attempt=attempt, ram_used_bytes=ram)


def as_columns(records: list[Record]) -> list[Columns]:
    """What the host makes of the past: pieces of steps, then pieces of telemetry."""
    pieces = []
    for kind, record_type, fields in (
        ("step", Step, STEP_FIELDS),
        ("telemetry", Telemetry, TELEMETRY_FIELDS),
    ):
        rows = [record for record in records if isinstance(record, record_type)]
        for begin in range(0, len(rows), 7):
            piece = rows[begin : begin + 7]
            data = {}
            for name in ("seq", *fields):
                column = [getattr(r, name) for r in piece]
                if any(v is not None for v in column):
                    packed = np.array([np.nan if v is None else v for v in column], dtype="<f8")
                    data[name] = base64.b64encode(packed.tobytes()).decode()
            pieces.append(Columns(run=RUN, kind=kind, data=data))  # type: ignore[arg-type]
    return pieces


def resumed_run() -> list[Record]:
    """Steps 1 to 30, one a second; a night later again from step 21 on, to 40."""
    records: list[Record] = []
    for attempt, steps, start in ((1, range(1, 31), 1000.0), (2, range(21, 41), 90_000.0)):
        for n, number in enumerate(steps):
            at = start + n
            records.append(telemetry(seq=len(records) + 1, at=at, attempt=attempt))
            records.append(step(number, seq=len(records) + 1, at=at + 0.5, attempt=attempt))
    return records


def fed(records: list[Record]) -> RunSeries:
    series = RunSeries()
    for record in records:
        series.add(record)
    return series


# ---------------------------------------------------------------- one point a step


def test_a_step_done_again_replaces_the_older_one() -> None:
    series = fed(resumed_run())
    assert series.steps["step"].tolist() == list(range(1, 41))
    assert series.steps["loss"].tolist() == [100 + n for n in range(1, 21)] + [
        200 + n for n in range(21, 41)
    ]


def test_steps_behind_the_point_of_resume_are_gone_at_once() -> None:
    series = fed(resumed_run()[:60])
    assert series.steps["step"][-1] == 30
    series.add(step(21, seq=61, at=90_000, attempt=2))
    assert series.steps["step"][-1] == 21


def test_columns_give_what_records_give() -> None:
    records = resumed_run()
    by_record, by_column = fed(records), RunSeries()
    for piece in as_columns(records):
        by_column.add_columns(piece)
    for axis in ("time", "step"):
        for table in ("steps", "telemetry"):
            one, other = getattr(by_record, table), getattr(by_column, table)
            assert by_record.axis(one, axis) == pytest.approx(by_column.axis(other, axis))
    for name in ("step", "loss", "smoothed", "step_ms", "grad_norm"):
        assert by_record.steps[name] == pytest.approx(by_column.steps[name], nan_ok=True)


def test_what_was_seen_already_changes_nothing() -> None:
    records = resumed_run()
    series = fed(records)
    before = series.steps["loss"].copy()
    for piece in as_columns(records):
        series.add_columns(piece)
    assert not any(series.add(record) for record in records)
    assert series.steps["loss"].tolist() == before.tolist()
    assert len(series.telemetry) == 50


def test_a_piece_that_overlaps_adds_only_what_is_new() -> None:
    records = resumed_run()
    series = fed(records[:20])
    for piece in as_columns(records):
        series.add_columns(piece)
    assert series.steps["step"].tolist() == list(range(1, 41))


def test_a_loss_that_is_no_number_is_a_gap() -> None:
    series = fed([step(1, seq=1, at=1.0, loss=2.0)])
    series.add(Step(run=RUN, seq=2, at=2.0, step=2, loss=None, learning_rate=1e-4, step_ms=1.0))
    series.add(step(3, seq=3, at=3.0, loss=1.0))
    assert np.isnan(series.steps["loss"][1])
    assert np.isfinite(series.steps["smoothed"]).all()


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(1, 15), st.integers(0, 12)), min_size=1, max_size=8))
def test_whatever_the_resumes_each_step_has_one_point(attempts: list[tuple[int, int]]) -> None:
    """Each attempt goes back by some steps and trains some."""
    series, expected, seq, at = RunSeries(), {}, 0, 0.0
    done = 0
    for attempt, (trains, goes_back) in enumerate(attempts, start=1):
        done = max(0, done - goes_back)
        expected = {n: loss for n, loss in expected.items() if n <= done}
        for number in range(done + 1, done + trains + 1):
            seq, at = seq + 1, at + 1
            series.add(step(number, seq=seq, at=at, attempt=attempt))
            expected[number] = 100.0 * attempt + number
        done += trains
    assert dict(zip(series.steps["step"].tolist(), series.steps["loss"].tolist(), strict=True)) == (
        expected
    )


# ---------------------------------------------------------------- smoothing


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.one_of(st.floats(-10, 10), st.none()), min_size=1, max_size=900),
    st.integers(1, 400),
)
def test_smoothing_by_pieces_is_smoothing_at_once(losses: list[float | None], piece: int) -> None:
    records: list[Record] = [
        Step(run=RUN, seq=n, at=float(n), step=n, loss=loss, learning_rate=1e-4, step_ms=1.0)
        for n, loss in enumerate(losses, start=1)
    ]
    whole = fed(records)
    pieces = RunSeries()
    for begin in range(0, len(records), piece):
        for columns in as_columns(records[begin : begin + piece]):
            pieces.add_columns(columns)
    assert whole.steps["smoothed"] == pytest.approx(pieces.steps["smoothed"], nan_ok=True, abs=1e-5)


def test_smoothing_is_the_average_it_says() -> None:
    losses = np.random.default_rng(0).normal(2, 0.3, 700)
    series = fed([step(n, seq=n, at=n, loss=v) for n, v in enumerate(losses.tolist(), start=1)])
    value = losses[0]
    for n, loss in enumerate(losses[1:], start=2):
        value += max(1 - SMOOTHING, 1 / n) * (loss - value)
    assert series.steps["smoothed"][-1] == pytest.approx(value)


# ---------------------------------------------------------------- the axes


def test_the_night_between_attempts_takes_no_room() -> None:
    series = fed(resumed_run())
    elapsed = series.axis(series.telemetry, "time")
    assert elapsed[0] == 0
    assert elapsed[29] == 29
    assert elapsed[30] == pytest.approx(29.5)
    assert series.end("time") == pytest.approx(49.0)


def test_telemetry_has_a_place_among_the_steps() -> None:
    series = fed([step(1, seq=1, at=10.0), telemetry(seq=2, at=15.0), step(2, seq=3, at=20.0)])
    assert series.axis(series.telemetry, "step").tolist() == [1.5]


def test_the_place_of_the_newest_telemetry_moves_until_the_next_step_is_done() -> None:
    series = fed([step(1, seq=1, at=10.0), telemetry(seq=2, at=15.0)])
    assert series.axis(series.telemetry, "step").tolist() == [1.0]
    series.add(step(2, seq=3, at=20.0))
    assert series.axis(series.telemetry, "step").tolist() == [1.5]


def test_what_was_measured_before_the_first_step_is_not_drawn_over_steps() -> None:
    before = [telemetry(seq=n, at=float(n)) for n in range(1, 9)]
    series = fed(list(before))
    assert len(series.view("ram_used_bytes", "step", 0, 1)[0]) == 0
    for record in (step(1, seq=9, at=10.0), telemetry(seq=10, at=15.0), step(2, seq=11, at=20.0)):
        series.add(record)
    for most in (4, 2000):
        assert series.view("ram_used_bytes", "step", 0, 2, most)[0].tolist() == [1.5]
    assert len(series.view("ram_used_bytes", "time", 0, 20)[0]) == 9


def test_a_clock_that_was_set_back_does_not_turn_a_curve_round() -> None:
    series = fed([step(1, seq=1, at=100.0), step(2, seq=2, at=50.0), step(3, seq=3, at=160.0)])
    assert (np.diff(series.axis(series.steps, "time")) >= 0).all()


def test_both_axes_ascend_after_a_resume() -> None:
    series = fed(resumed_run())
    for axis in ("time", "step"):
        for table in (series.steps, series.telemetry):
            assert (np.diff(series.axis(table, axis)) >= 0).all()


def test_a_view_has_the_curve_between_two_places() -> None:
    series = fed(resumed_run())
    xs, ys = series.view("loss", "step", 5, 8)
    assert xs.tolist() == [4, 5, 6, 7, 8, 9]
    assert ys.tolist() == [104, 105, 106, 107, 108, 109]
    assert series.value_at("loss", "step", 6.6) == 107
    assert RunSeries().value_at("loss", "step", 1) is None


# ---------------------------------------------------------------- events


def saved(number: int, *, seq: int, at: float, attempt: int = 1) -> CheckpointSaved:
    return CheckpointSaved(run=RUN, seq=seq, at=at, attempt=attempt, step=number, folder="c",
                           bytes=1, seconds=1.0, reason="time")  # fmt: skip


def evaluated(number: int, *, seq: int, attempt: int = 1) -> Evaluated:
    return Evaluated(
        run=RUN, seq=seq, at=1000.0 + number, attempt=attempt, step=number,
        eval_loss=float(attempt), seconds=1.0,
    )  # fmt: skip


def test_evaluations_of_steps_that_were_undone_do_not_count() -> None:
    series = fed(resumed_run()[:60])
    series.add(evaluated(20, seq=61))
    series.add(evaluated(28, seq=62))
    assert series.evaluation_places("step")[0].tolist() == [20, 28]
    series.add(step(21, seq=63, at=90_000.0, attempt=2))
    assert series.evaluation_places("step")[0].tolist() == [20]
    series.add(evaluated(28, seq=64, attempt=2))
    places, losses = series.evaluation_places("step")
    assert list(zip(places, losses, strict=True)) == [(20, 1.0), (28, 2.0)]


def test_events_have_their_place_on_both_axes() -> None:
    series = fed(resumed_run())
    save = saved(25, seq=200, at=90_004.5, attempt=2)
    series.add(save)
    assert series.save_places("step").tolist() == [25]
    assert series.save_places("time") == pytest.approx([29.5 + 4.5])
    series.add(saved(26, seq=201, at=99_999.0, attempt=3))
    assert series.save_places("time")[1] == pytest.approx(series.end("time")), "not begun yet"
    series.events.pop()
    assert series.last_save() is save
    assert series.resumes("time") == [pytest.approx(29.5)]


def test_speed_and_trend_need_steps() -> None:
    assert RunSeries().speed() == (None, None)
    assert RunSeries().loss_trend() is None
    series = fed([step(n, seq=n, at=n, loss=3 - n / 100) for n in range(1, 101)])
    assert series.speed() == (pytest.approx(2000.0), pytest.approx(0.5))
    assert series.loss_trend() == pytest.approx(-0.5, abs=0.02)
    assert not series.has_gpu


# ---------------------------------------------------------------- a long past


def test_a_long_past_leaves_little_for_the_first_drawing() -> None:
    """Blocks and places are made while the pieces come in, not all at once when they are drawn."""
    count, piece = 200_000, 7_500
    rows = np.arange(1.0, count + 1)
    data = {"seq": rows, "at": rows, "attempt": np.ones(count), "step": rows, "loss": rows % 7}
    series = RunSeries()
    for begin in range(0, count, piece):
        series.add_columns(
            Columns(
                run=RUN,
                kind="step",
                left=max(0, count - begin - piece),
                data={
                    name: base64.b64encode(values[begin : begin + piece].tobytes()).decode()
                    for name, values in data.items()
                },
            )
        )
    assert all(pyramid.arrears < 40_000 for pyramid in _drawn(series))
    assert len(series._clock._places[id(series.steps)].elapsed) == count
    xs, ys = series.view("loss", "time", 0.0, count)
    assert (ys.min(), ys.max(), len(xs) <= 2000) == (0.0, 6.0, True)


def _drawn(series: RunSeries) -> list[Pyramid]:
    pyramids = series.steps.pyramids
    return [pyramids[name] for name in pyramids if not series.steps.columns[name].is_void]


def test_what_was_never_measured_takes_no_memory_and_draws_nothing() -> None:
    series = fed([Step(run=RUN, seq=n, at=float(n), step=n, loss=1.0, learning_rate=1e-4,
                       step_ms=1.0) for n in range(1, 50)])  # fmt: skip
    column = series.steps.columns["vram_reserved_bytes"]
    assert column.is_void
    assert len(column._room) == 0
    assert len(series.view("vram_reserved_bytes", "step", 0, 99)[0]) == 0
    assert series.steps.peak("vram_reserved_bytes") is None
    series.add(Step(run=RUN, seq=50, at=50.0, step=50, loss=1.0, learning_rate=1e-4, step_ms=1.0,
                    vram_reserved_bytes=3))  # fmt: skip
    values = series.steps["vram_reserved_bytes"]
    assert np.isnan(values[:-1]).all()
    assert values[-1] == 3
