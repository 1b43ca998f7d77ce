"""All benchmarks, one command: ``python tests/bench/run.py [NAME …] [--out FILE]``.

NAME: paint, frames, big_run, warm_start, step_time. Figures go to stdout as one JSON object, and to
FILE. Exit code 1 if a limit is not held.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from measure import ROOT, machine

NAMES = ("paint", "frames", "big_run", "warm_start", "step_time")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="; ".join(NAMES))
    parser.add_argument("--out", type=Path)
    wanted = parser.parse_args()
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    os.environ["QT_QPA_PLATFORM"] = "offscreen"
    report: dict[str, object] = {"taken_at": time.strftime("%Y-%m-%d"), "machine": machine()}
    for name in wanted.names or NAMES:
        print(f"{name} …", file=sys.stderr, flush=True)
        report[name] = importlib.import_module(name).run()
        print(json.dumps(report[name], indent=1), file=sys.stderr, flush=True)
    text = json.dumps(report, indent=1)
    print(text)
    if wanted.out:
        wanted.out.write_text(text + "\n", encoding="utf-8")
    return 0 if '"passed": false' not in text else 1


if __name__ == "__main__":
    sys.exit(main())
