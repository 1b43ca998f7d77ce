"""Frame time of the run page's graphs with a million points in each of four curves."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from measure import percentile, private_home

POINTS = 1_000_000
FRAMES = 200


def fill(series: Any, count: int) -> None:
    """Give a series ``count`` steps and as many telemetry samples."""
    at = 1.7e9 + np.arange(count, dtype=np.float64)
    noise = np.random.default_rng(0).normal(size=count)
    steps = {name: np.full(count, np.nan) for name in series.steps.columns if name != "smoothed"}
    steps |= {"at": at, "seq": 2 * np.arange(count) + 1.0, "attempt": np.ones(count)}
    steps |= {"step": np.arange(count) + 1.0, "loss": 2 + noise / 9, "step_ms": 900 + 9 * noise}
    steps |= {"learning_rate": np.linspace(2e-4, 0, count), "grad_norm": 1 + noise**2}
    series._add_rows(series.steps, steps)
    samples = {name: np.full(count, np.nan) for name in series.telemetry.columns}
    samples |= {"at": at, "seq": 2 * np.arange(count) + 2.0, "attempt": np.ones(count)}
    samples |= {"ram_used_bytes": 8e9 + 1e8 * noise, "cpu_percent": 90 + noise}
    series._add_rows(series.telemetry, samples)


def run() -> dict[str, Any]:
    from PySide6.QtWidgets import QApplication

    with private_home():
        from app.series import RunSeries
        from app.theme import Theme
        from app.widgets.graph_board import GraphBoard

        qt = QApplication.instance() or QApplication(["bench"])
        theme = Theme(qt, "dark")
        report = {}
        for name, points in (("thousand", 1000), ("million", POINTS)):
            board = GraphBoard(theme.tokens)
            board.resize(820, 780)
            board.set_compact(True)
            board.show()
            series = RunSeries()
            fill(series, points)
            board.show_series(series)
            qt.processEvents()
            report[name] = frame_times(board, points)
            board.close()
    p95 = report["million"]["p95_ms"]
    report["flat_in_points"] = round(p95 / report["thousand"]["p95_ms"], 2)
    report |= {"limit_p95_ms": 8.0, "passed": p95 <= 8.0}
    return report


def frame_times(board: Any, points: int) -> dict[str, Any]:
    """Each frame shows another stretch, as when somebody drags; four graphs, drawn and painted."""
    from app.widgets.graph_marks import marks_of

    times = []
    for frame in range(FRAMES):
        share = 0.2 + 0.8 * frame / FRAMES
        board.stretch.x0, board.stretch.x1 = 0.0, share * points
        board.stretch.is_following = False
        marks = marks_of(board._series, board.axis, board.stretch)
        begun = time.perf_counter()
        for graph in board.graphs[:4]:
            graph.refresh(board._series, board.axis, board.stretch.x0, board.stretch.x1, marks)
            graph.repaint()
        times.append(1000 * (time.perf_counter() - begun))
    return {
        "curves": sum(len(graph.spec.curves) for graph in board.graphs[:4]),
        "points_a_curve": points,
        "median_ms": round(percentile(times, 0.5), 2),
        "p95_ms": round(percentile(times, 0.95), 2),
    }
