"""Imports PEFT without bitsandbytes, which is then imported by the run that needs it.

WORKAROUND(https://github.com/huggingface/peft/blob/v0.21.2/src/peft/helpers.py): peft.helpers
imports bitsandbytes wherever it is installed, for a function that is not used here. That import
asks every card what it can do, which starts CUDA, and from then on ``CUDA_VISIBLE_DEVICES`` counts
for nothing: a warm worker could not be given its card any more. It also takes a second.
"""

from __future__ import annotations

import sys
from typing import Any

_NAME = "bitsandbytes"


def import_peft() -> None:
    """Import PEFT; bitsandbytes can be imported afterwards as ever. Raises ImportError."""
    modules: dict[str, Any] = sys.modules
    if _NAME in modules or "peft" in modules:
        return
    modules[_NAME] = None  # Python's own way of saying that there is no such module.
    try:
        import peft  # noqa: F401
    finally:
        del modules[_NAME]
