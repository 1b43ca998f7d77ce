"""Makes the heavy packages unimportable in this interpreter.

With this folder on ``PYTHONPATH`` every Python started from a test lacks them too, just as on a
machine where torch is missing or broken.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

HEAVY = frozenset(
    {"torch", "transformers", "peft", "trl", "bitsandbytes", "datasets", "accelerate"}
)


class _Refuser:
    @staticmethod
    def find_spec(
        fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        top = fullname.partition(".")[0]
        if top in HEAVY:
            raise ModuleNotFoundError(f"No module named {top!r} (blocked by --no-torch)", name=top)
        return None


sys.meta_path.insert(0, _Refuser)
