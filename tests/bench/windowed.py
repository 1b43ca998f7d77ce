"""The real window in this process, driven by the benchmarks; runs to look at."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measure import PYTHON, ROOT

FAKE_WORKER = ROOT / "tests" / "e2e" / "fake_worker.py"


class Opened:
    """A window of the app and what keeps it alive."""

    def __init__(self, app: Any, qt: Any) -> None:
        self.app, self.qt = app, qt

    def run_page(self) -> Any:
        return self.app.window.page("run")

    def close(self) -> None:
        self.app.window.close()
        self.app.link.close()
        spin(0.1)


def use_fake_worker(mode: str, **options: Any) -> None:
    """From now on a host started here launches the fake worker."""
    words = [f"{name}={value}" for name, value in options.items()]
    os.environ["FETTLE_WORKER_COMMAND"] = json.dumps([PYTHON, str(FAKE_WORKER), mode, *words])


def spec(home: Path, **training: Any) -> dict[str, Any]:
    """A spec the host accepts, with files for it; for the fake worker."""
    model = home / "model"
    if not model.exists():
        import numpy as np
        from safetensors.numpy import save_file

        model.mkdir()
        (model / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
        (model / "tokenizer.json").write_text("{}", encoding="utf-8")
        save_file({"x": np.zeros(1, dtype=np.float32)}, model / "model.safetensors")
    rows = home / "rows.jsonl"
    row = {"instruction": "Say yes.", "input": "", "output": "Yes."}
    rows.write_text("".join(json.dumps(row) + "\n" for _ in range(40)), encoding="utf-8")
    return {
        "name": "bench",
        "model": {"path": str(model)},
        "lora": {},
        "dataset": {"path": str(rows)},
        "training": training,
    }


def start_run(home: Path, **training: Any) -> str:
    """Start a run through the host; gives its name."""
    from engine import client
    from engine.contract.messages import Start

    with client.connect() as host:
        return str(host.request(Start(id=0, spec=spec(home, **training)))["run"])


def open_window(run: str | None) -> Opened:
    """The real window, connected, showing a run."""
    from PySide6.QtWidgets import QApplication

    from app.main import App

    qt = QApplication.instance() or QApplication(["fettle"])
    app = App(qt)
    app.start(run)
    opened = Opened(app, qt)
    wait_for(lambda: app.link.is_connected, 30)
    return opened


def spin(seconds: float) -> None:
    """Let the event loop run."""
    from PySide6.QtCore import QEventLoop, QTimer

    loop = QEventLoop()
    QTimer.singleShot(int(seconds * 1000), loop.quit)
    loop.exec()


def wait_for(condition: Callable[[], bool], seconds: float) -> None:
    """Let the event loop run until the condition holds. Raises TimeoutError."""
    limit = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > limit:
            raise TimeoutError("waited in vain")
        spin(0.005)


class Blocks:
    """Finds the longest time the event loop did not turn."""

    def __init__(self) -> None:
        from PySide6.QtCore import QTimer

        self.longest_ms = 0.0
        self._last = time.perf_counter()
        self._timer = QTimer(interval=1)
        self._timer.timeout.connect(self._on_tick)
        self._timer.start()

    def _on_tick(self) -> None:
        now = time.perf_counter()
        self.longest_ms = max(self.longest_ms, 1000 * (now - self._last))
        self._last = now


sys.path.insert(0, str(ROOT))
