"""How long ``fettle plan`` takes for every model of the catalogue, with a warm worker.

    python tests/bench/plan_times.py [--only NAME,NAME] [--profile rtx-4090] [--out FILE]

Each model is planned with 4 bits and an adapter, which takes the longest to trace. What a client
waits for is measured: from the command's start to its last line. Plans are not kept between the
models: each has a config of its own. Exit code 1 if one takes longer than two seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from measure import PYTHON, ROOT, machine, percentile, private_home

from engine.planning import catalogue

LIMIT_S = 2.0
_SPEC = """name = "p"
[model]
path = "{id}"
[quantization]
bits = 4
[lora]
r = 16
[dataset]
path = "{data}"
[training]
max_length = 2048
"""


def plan(spec: Path, profile: str) -> dict[str, Any]:
    """One plan, and how long it took."""
    began = time.perf_counter()
    command = [PYTHON, "-m", "engine.cli", "plan", str(spec), "--profile", profile, "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - began
    if done.returncode not in (0, 3):
        return {"seconds": round(seconds, 3), "code": done.returncode, "error": done.stderr[-300:]}
    told = json.loads(done.stdout.splitlines()[-1])
    return {"seconds": round(seconds, 3), "verdict": told["verdict"]}


def run(only: set[str], profile: str) -> dict[str, Any]:
    """Figures of all models."""
    found: dict[str, dict[str, Any]] = {}
    # An installed program does not compile its modules each time that it starts.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with private_home() as home:
        spec, data = home / "spec.toml", home / "data.jsonl"
        data.write_text('{"prompt": "a", "completion": "b"}\n', encoding="utf-8")
        entries = [each for each in catalogue.load() if not only or each.name in only]
        for number, entry in enumerate(entries):
            text = _SPEC.format(id=entry.id, data=data)
            spec.write_text(text, encoding="utf-8")
            if not number:  # The worker is warm afterwards.
                plan(spec, profile)
                spec.write_text(text.replace("max_length = 2048", "max_length = 1024"))
            load = os.getloadavg()[0]
            found[entry.name] = {**plan(spec, profile), "load": load}
            print(entry.name, json.dumps(found[entry.name]), flush=True)
    seconds = [row["seconds"] for row in found.values()]
    return {
        "profile": profile, "machine": machine(), "limit_s": LIMIT_S,
        "median_seconds": percentile(seconds, 0.5), "largest_seconds": max(seconds),
        "over": [name for name, row in found.items() if row["seconds"] > LIMIT_S],
        "failed": [name for name, row in found.items() if "error" in row],
        "models": found,
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="names of models, with commas")
    parser.add_argument("--profile", default="rtx-4090")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    figures = run(set(arguments.only.split(",")) - {""}, arguments.profile)
    text = json.dumps(figures, indent=1)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")
    print({name: figures[name] for name in ("median_seconds", "largest_seconds", "over", "failed")})
    return 1 if figures["over"] or figures["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
