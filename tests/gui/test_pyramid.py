"""The pyramid against looking at every value."""

from __future__ import annotations

import time
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.pyramid import MAX_POINTS, Column, Pyramid

values = st.one_of(st.floats(-1e6, 1e6), st.just(float("nan")))
changes = st.lists(
    st.one_of(
        st.tuples(st.just("extend"), st.lists(values, max_size=90)),
        st.tuples(st.just("append"), values),
        st.tuples(st.just("truncate"), st.floats(0, 1)),
        st.tuples(st.just("view"), st.floats(0, 1)),
    ),
    max_size=25,
)


def changed(column: Column, pyramid: Pyramid, what: str, how: object) -> None:
    if what == "extend":
        column.extend(np.array(how, dtype=np.float64))
    elif what == "append":
        column.append(how)  # type: ignore[arg-type]
    elif what == "truncate":
        length = int(how * len(column))  # type: ignore[operator]
        column.truncate(length)
        pyramid.truncate(length)
    else:  # a look in between must not spoil what comes after it
        xs = np.arange(len(column), dtype=np.float64)
        pyramid.view(xs, 0.0, float(how) * len(column), 24)  # type: ignore[arg-type]


@settings(deadline=None, max_examples=150)
@given(changes, st.floats(-5, 500), st.floats(-5, 500), st.sampled_from([20, 24, 50, 200]))
def test_a_view_has_the_extremes_of_what_it_shows(
    steps: list[tuple[str, object]], one: float, other: float, most: int
) -> None:
    column = Column()
    pyramid = Pyramid(column)
    for what, how in steps:
        changed(column, pyramid, what, how)
    xs = np.arange(len(column), dtype=np.float64)
    x0, x1 = min(one, other), max(one, other)
    at, points = pyramid.view(xs, x0, x1, most)

    assert len(at) == len(points) <= most
    assert (np.diff(at) >= 0).all()
    inside = column.values[(xs >= x0) & (xs <= x1)]
    known = inside[np.isfinite(inside)]
    # The first and last point may be the neighbours outside, which lead the line to the edge.
    shown = points[np.isfinite(points)]
    if len(known):
        assert known.min() in shown
        assert known.max() in shown
    assert np.isin(shown, column.values).all(), "a point that was never measured"


def test_a_gap_of_nan_stays_a_gap_and_warns_of_nothing() -> None:
    column = Column()
    column.extend(np.where(np.arange(50_000) // 10_000 == 2, np.nan, np.sin(np.arange(50_000))))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        at, points = Pyramid(column).view(np.arange(50_000.0), 0, 50_000, 400)
    gap = (at > 20_400) & (at < 29_600)
    assert gap.any()
    assert np.isnan(points[gap]).all()
    assert np.isfinite(points[~gap]).sum() > 200


def test_a_line_reaches_the_edges_of_what_is_shown() -> None:
    column = Column()
    column.extend(np.arange(10_000.0))
    at, _ = Pyramid(column).view(np.arange(10_000.0), 2000.5, 8000.5, 100)
    assert at[0] == 2000
    assert at[-1] == 8001


def test_buckets_stay_put_while_the_curve_grows() -> None:
    column, pyramid = Column(), None
    column.extend(np.random.default_rng(1).random(40_000))
    pyramid = Pyramid(column)
    before, _ = pyramid.view(np.arange(40_000.0), 0, 1e9, 400)
    column.append(0.5)
    after, _ = pyramid.view(np.arange(40_001.0), 0, 1e9, 400)
    assert (before[:-3] == after[: len(before) - 3]).all()


@pytest.mark.parametrize("count", [0, 1, 2, MAX_POINTS, MAX_POINTS + 1])
def test_small_and_just_too_large_curves(count: int) -> None:
    column = Column()
    column.extend(np.arange(count, dtype=np.float64))
    at, points = Pyramid(column).view(np.arange(count, dtype=np.float64), -1, count)
    assert len(points) <= MAX_POINTS
    if count <= MAX_POINTS:
        assert (points == np.arange(count)).all()
    assert not count or (at[0], at[-1]) == (0, count - 1)


def test_what_is_handed_out_does_not_change_later() -> None:
    column = Column()
    column.extend(np.arange(10.0))
    _, points = Pyramid(column).view(np.arange(10.0), 0, 9)
    column.truncate(0)
    column.extend(np.zeros(10))
    assert points.sum() == 45


def test_views_cost_what_they_show_not_what_there_is() -> None:
    """CPU time, so that a busy machine does not matter; the bounds are ten times what is usual."""
    column, xs = Column(), np.arange(1_000_000, dtype=np.float64)
    begun = time.process_time()
    column.extend(np.random.default_rng(0).random(1_000_000))
    pyramid = Pyramid(column)
    pyramid.view(xs, 0, 1e6)
    assert time.process_time() - begun < 0.5
    begun = time.process_time()
    for start in range(100):
        pyramid.view(xs, start * 1000.0, 1e6)
    assert (time.process_time() - begun) / 100 < 0.003


def test_growing_by_single_values_is_linear() -> None:
    column = Column()
    begun = time.process_time()
    for value in range(200_000):
        column.append(value)
    assert time.process_time() - begun < 2.0
    assert column.values[123_456] == 123_456
