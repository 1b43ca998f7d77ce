"""Soak of the window: real host, fake worker at 50 messages a second, the run page open.

usage: soak.py [--seconds 3600] [--rate 50] [--repaints 10000] [--out FILE]
Exit code 1 if memory grows, references to None drift, or anything is lost.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import psutil
import windowed
from measure import ROOT, machine, private_home

MAX_GROWTH_MIB = 20
MAX_NONE_DRIFT = 200


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--rate", type=float, default=50)
    parser.add_argument("--repaints", type=int, default=10_000)
    parser.add_argument("--out", type=Path)
    wanted = parser.parse_args()
    steps = int(wanted.seconds * wanted.rate * 1.2) + 1000
    with private_home() as home:
        windowed.use_fake_worker("normal", steps=steps, ms=1000 / wanted.rate, save=500)
        report = soak(home, wanted)
    report["machine"] = machine()
    text = json.dumps(report, indent=1)
    print(text)
    if wanted.out:
        wanted.out.write_text(text + "\n", encoding="utf-8")
    return 0 if report["passed"] else 1


def soak(home: Path, wanted: argparse.Namespace) -> dict[str, Any]:
    run = windowed.start_run(home, max_steps=int(wanted.seconds * wanted.rate * 1.2) + 1000)
    window = windowed.open_window(run)
    page = window.run_page()
    windowed.wait_for(lambda: len(page.feed.series.steps) > 50, 60)
    me = psutil.Process()
    repaints = repaint(page, wanted.repaints)
    gc.collect()
    samples = sampled(me, wanted.seconds)
    after_warm_up = [s for s in samples if s[0] >= min(60.0, wanted.seconds / 4)]
    growth = after_warm_up[-1][1] - after_warm_up[0][1]
    drift = after_warm_up[-1][2] - after_warm_up[0][2]
    shown = page.feed.series.steps["step"]
    whole = [int(step) for step in shown] == list(range(1, len(shown) + 1))
    window.close()
    return {
        "seconds": wanted.seconds,
        "messages_a_second": wanted.rate,
        "steps_shown": len(shown),
        "one_point_a_step": whole,
        "rss_growth_mib": round(growth, 2),
        "rss_mib": [round(s[1], 1) for s in after_warm_up[:: max(1, len(after_warm_up) // 20)]],
        "none_references_drift": drift,
        **repaints,
        "passed": bool(growth <= MAX_GROWTH_MIB and abs(drift) <= MAX_NONE_DRIFT and whole),
    }


def sampled(me: psutil.Process, seconds: float) -> list[tuple[float, float, int]]:
    """Time in seconds, resident MiB and references to None, every ten seconds.

    In one single event loop: each ``QEventLoop.exec`` adds four references to None by itself.
    """
    from PySide6.QtCore import QTimer

    samples = []
    begun = time.monotonic()

    def look() -> None:
        passed = time.monotonic() - begun
        samples.append((passed, me.memory_info().rss / 2**20, sys.getrefcount(None)))

    timer = QTimer(interval=int(1000 * min(10.0, seconds / 8)))
    timer.timeout.connect(look)
    timer.start()
    windowed.spin(seconds)
    timer.stop()
    return samples


def repaint(page: Any, count: int) -> dict[str, Any]:
    """Repaint the whole page so often; gives what that did to memory and to None."""
    from PySide6.QtCore import QCoreApplication

    me = psutil.Process()
    for _ in range(100):
        page.body.repaint()
    gc.collect()
    rss, none = me.memory_info().rss, sys.getrefcount(None)
    begun = time.monotonic()
    for number in range(count):
        page.body.repaint()
        if number % 50 == 0:
            QCoreApplication.processEvents()
    gc.collect()
    return {
        "repaints": count,
        "repaint_seconds": round(time.monotonic() - begun, 1),
        "repaint_rss_growth_mib": round((me.memory_info().rss - rss) / 2**20, 2),
        "repaint_none_drift": sys.getrefcount(None) - none,
    }


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
