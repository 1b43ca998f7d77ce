"""What the figures and findings of a dataset cost once its tokens are there, by part.

    python tests/bench/after_tokens.py FILE --model FOLDER [--home FOLDER] [--out FILE]

The tokens are made if they are not in ``--home`` yet; what is measured is CPU seconds of one
process, so that others on the machine matter little, and the most memory it takes. Near copies are
looked for anew each time. ``big_data.py`` does the same with the data that it generates.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

GB = 10**9
PARTS: dict[str, tuple[str, ...]] = {
    "near copies": ("worker.inspection.near_of",),
    "copies": ("worker.preflight.first_copies",),
    "targets": ("methods.sft.train.without_idle",),
    "special tokens": ("worker.inspect_job._strange",),
    "languages": ("worker.inspection.mix_of",),
    "batches": ("worker.inspection.padded", "worker.inspection.packed"),
    "rows to look at": ("worker.inspection.picks",),
    "findings": ("worker.inspection.findings_of",),
}
"""Functions of the worker, where they are called."""


class Clock:
    """CPU seconds of functions that do not call each other."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def watch(self, module: Any, name: str, part: str) -> None:
        """Measure a function of a module from now on."""
        inner: Callable[..., Any] = getattr(module, name)

        def measured(*given: Any, **named: Any) -> Any:
            began = time.process_time()
            try:
                return inner(*given, **named)
            finally:
                used = time.process_time() - began
                self.seconds[part] = self.seconds.get(part, 0.0) + used

        setattr(module, name, measured)


def measured(path: Path, model: Path) -> dict[str, Any]:
    """In this process; the worker's modules stay measured."""
    from engine.worker import main

    main.prepare_environment()
    main.import_libraries()
    from engine.contract.messages import Job
    from engine.store import encoded
    from engine.worker import inspect_job

    spec = {
        "name": "data", "method": "sft", "model": {"path": str(model.absolute())},
        "dataset": {"path": str(path.absolute())}, "lora": {"r": 8},
        "training": {"max_length": 1024},
    }  # fmt: skip
    clock, base = Clock(), _rss_mb()
    for part, names in PARTS.items():
        for name in names:
            module, function = name.rsplit(".", 1)
            clock.watch(importlib.import_module(f"engine.{module}"), function, part)
    began = [0.0, 0.0]
    tokens = inspect_job.encoding_of

    def made(*given: Any) -> Any:
        found = tokens(*given)
        (found.folder / encoded.NEAR).unlink(missing_ok=True)
        began[:] = time.process_time(), time.monotonic()
        return found

    inspect_job.encoding_of = made
    answer = inspect_job.answer(Job(kind="inspect", spec=spec), _Silent())
    seconds, wall = time.process_time() - began[0], time.monotonic() - began[1]
    if answer.report is None:
        raise SystemExit(f"There is nothing to measure. {answer.complaint}")
    size = path.stat().st_size
    parts = {**clock.seconds, "the rest": seconds - sum(clock.seconds.values())}
    return {
        "rows": answer.report.rows, "tokens": answer.report.tokens, "megabytes": size // 10**6,
        "near_duplicates": answer.report.near_duplicates,
        "cpu_seconds": round(seconds, 2), "wall_seconds": round(wall, 2),
        "mb_per_cpu_second": round(size / 1e6 / seconds, 1),
        "seconds_a_gb": round(seconds * GB / size, 2),
        "seconds_a_gb_by_part": {
            part: round(used * GB / size, 2)
            for part, used in sorted(parts.items(), key=lambda each: -each[1])
        },
        "rss_mb": _most_mb(), "rss_before_mb": base,
    }  # fmt: skip


class _Silent:
    """A report to nobody."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *given, **named: None


def _rss_mb() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() >> 20


def _most_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def after_tokens(path: Path, model: Path, home: Path) -> dict[str, Any]:
    """The same in a process of its own, where nothing else was done before."""
    done = subprocess.run(
        [sys.executable, __file__, str(path), "--model", str(model), "--home", str(home)],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--out", type=Path)
    wanted = parser.parse_args()
    if wanted.home:
        os.environ["FETTLE_HOME"] = str(wanted.home.absolute())
    told = json.dumps(measured(wanted.file, wanted.model), indent=1)
    if wanted.out:
        wanted.out.write_text(told + "\n", encoding="utf-8")
    print(told)
    return 0


if __name__ == "__main__":
    sys.exit(main())
