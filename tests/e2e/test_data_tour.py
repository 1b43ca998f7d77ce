"""A person's whole way with data through the real window: real host, real worker, real run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from engine.store.runs import read_run

write_sample_model = pytest.importorskip("engine.worker.sample_model").write_sample_model

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(sys.platform == "win32", reason="the host's socket is looked for in /tmp"),
]

ROOT = Path(__file__).parents[2]
TOUR = Path(__file__).with_name("data_tour.py")
AT_ONCE_SECONDS = 3.0
"""Mostly a tenth of a second; the machine may be busy."""
_SCREEN = ["xvfb-run", "-a", "-s", "-screen 0 1400x900x24"]


def test_a_file_is_dropped_mapped_looked_at_and_trained_on(fettle_home: Path) -> None:
    model, data = fettle_home / "model", fettle_home / "mine.jsonl"
    write_sample_model(model)
    rows = [
        {"ask": f"Say number {n}, please.", "reply": f"It is {n}, and that is all."}
        for n in range(40)
    ]
    data.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    screen = _SCREEN if shutil.which("xvfb-run") else []
    toured = subprocess.run(
        [*screen, sys.executable, str(TOUR), str(fettle_home), str(model), str(data)],
        cwd=ROOT, capture_output=True, text=True, timeout=500, check=False,
        env={**os.environ, "FETTLE_HOME": str(fettle_home), "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert toured.returncode == 0, toured.stderr
    stops = json.loads((fettle_home / "tour.json").read_text())["stops"]
    rows, shape = stops["rows-at-once"]["seen"]
    assert "Say number 0, please." in rows
    assert shape == "No known format"
    assert stops["rows-at-once"]["seconds"] < AT_ONCE_SECONDS
    assert stops["rows-unsure"]["seen"] == ["ask", "reply"]
    assert "do not look like Messages" in stops["rows-other-format"]["seen"]
    assert stops["dropped"]["seen"] == "Say number 0, please."
    assert stops["unsure"]["seen"] == ["ask", "reply"]
    assert "It is 0, and that is all." in stops["mapped"]["seen"]
    assert stops["edited-template"]["seen"] is True
    assert list(stops)[-1] == "finished"
    (run,) = (fettle_home / "runs").iterdir()
    dataset = read_run(run).spec["dataset"]
    assert dataset["columns"] == {"instruction": "ask", "output": "reply"}
    assert Path(dataset["chat_template"]).read_text().startswith("Tour: ")
    assert (run / "output" / "adapter_model.safetensors").exists()
