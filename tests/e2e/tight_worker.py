"""The real worker, in a process that may take only so much more memory once its imports are done.

python tight_worker.py MIB
"""

from __future__ import annotations

import importlib
import resource
import sys
from pathlib import Path


def _data_bytes() -> int:
    """What the limit counts: private memory that can be written."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmData")


def main() -> int:
    importlib.import_module("engine.worker.late_bitsandbytes").import_peft()
    importlib.import_module("engine.worker.rehearse_job")
    limit = _data_bytes() + (int(sys.argv[1]) << 20)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    return int(importlib.import_module("engine.worker.main").main())


if __name__ == "__main__":
    sys.exit(main())
