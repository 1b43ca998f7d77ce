"""What the benchmarks share: interleaved rounds, ratios with their spread, facts of the machine.

Figures on shared machines are noisy, so two ways of doing a thing are measured in turn (A-B-A-B) in
one run, and the ratio of their medians is what counts.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PYTHON = sys.executable


def alternate(
    a: Callable[[], list[float]], b: Callable[[], list[float]], rounds: int
) -> dict[str, Any]:
    """Run ``a`` and ``b`` in turn; gives both medians and b / a, with the range over rounds."""
    rows = [(statistics.median(a()), statistics.median(b())) for _ in range(rounds)]
    first, second = ([row[i] for row in rows] for i in (0, 1))
    ratios = [after / before for before, after in rows]
    return {
        "a_median": round(statistics.median(first), 4),
        "b_median": round(statistics.median(second), 4),
        "ratio": round(statistics.median(second) / statistics.median(first), 4),
        "ratio_of_rounds": [round(ratio, 4) for ratio in ratios],
        "noise_of_a": round((max(first) - min(first)) / statistics.median(first), 4),
        "rounds": rounds,
    }


def percentile(values: list[float], share: float) -> float:
    """The value below which ``share`` (0 to 1) of ``values`` lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@contextmanager
def private_home() -> Iterator[Path]:
    """A home of its own for everything started inside; its host is asked to leave at the end."""
    with tempfile.TemporaryDirectory(prefix="fettle-bench-") as folder:
        before = os.environ.get("FETTLE_HOME")
        os.environ["FETTLE_HOME"] = folder
        os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
        try:
            yield Path(folder)
        finally:
            end_processes_of(Path(folder))
            if before is None:
                del os.environ["FETTLE_HOME"]
            else:
                os.environ["FETTLE_HOME"] = before


def end_processes_of(home: Path) -> None:
    """End whatever still runs with this home."""
    import psutil

    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("FETTLE_HOME") == str(home) and process.pid != os.getpid():
                process.kill()
                found.append(process)
        except psutil.Error:
            continue
    psutil.wait_procs(found, timeout=10)


def fettle(*arguments: str, timeout: float = 600) -> str:
    """Run the command line; gives its stdout. Raises if it fails."""
    done = subprocess.run(
        [PYTHON, "-m", "engine.cli", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"fettle {' '.join(arguments)}: {done.returncode}\n{done.stderr}")
    return done.stdout


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    names = ("torch", "transformers", "trl", "peft", "PySide6-Essentials", "pyqtgraph", "numpy")
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "versions": {name: metadata.version(name) for name in names},
    }
