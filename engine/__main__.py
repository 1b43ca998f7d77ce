"""``python -m engine host | work | tokenise | attach``: the processes of the engine.

Each is imported by name when it is wanted: the host must not load what the worker needs, and a
worker claims its pipes before anything heavy is imported.
"""

from __future__ import annotations

import importlib
import sys

_MAINS = {
    "host": "engine.host.main",
    "work": "engine.worker.main",
    "tokenise": "engine.worker.helper",
    "attach": "engine.attach",
}
_USAGE = "Usage: python -m engine host | work | tokenise | attach\n"


def main() -> int:
    """Run one of the processes; gives its exit code, 2 for an unknown name."""
    if len(sys.argv) != 2 or sys.argv[1] not in _MAINS:
        sys.stderr.write(_USAGE)
        return 2
    code: int = importlib.import_module(_MAINS[sys.argv[1]]).main()
    return code


if __name__ == "__main__":
    sys.exit(main())
