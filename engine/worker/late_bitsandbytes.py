"""Keeps bitsandbytes from being imported before the run that needs it.

WORKAROUND(https://github.com/huggingface/peft/blob/v0.21.2/src/peft/helpers.py): peft.helpers
imports bitsandbytes wherever it is installed, for a function that is not used here, and so does
every adapter that is put on a model. That import asks every card what it can do, which starts CUDA,
and from then on ``CUDA_VISIBLE_DEVICES`` counts for nothing: a warm worker could not be given its
card any more. It also takes a second.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

_NAME = "bitsandbytes"


def import_peft() -> None:
    """Import PEFT; bitsandbytes can be imported afterwards as ever. Raises ImportError."""
    if "peft" not in sys.modules:
        with without_bitsandbytes():
            import peft  # noqa: F401


@contextlib.contextmanager
def without_bitsandbytes() -> Iterator[None]:
    """If it is not imported yet, it is not in the block either: whoever asks is told that there is
    no such package."""
    modules: dict[str, Any] = sys.modules
    if _NAME in modules:
        yield
        return
    modules[_NAME] = None  # Python's own way of saying that there is no such module.
    _forget_answers()
    try:
        yield
    finally:
        del modules[_NAME]
        _forget_answers()


def _forget_answers() -> None:
    """PEFT asks once and remembers."""
    if peft := sys.modules.get("peft.import_utils"):
        peft.is_bnb_available.cache_clear()
        peft.is_bnb_4bit_available.cache_clear()
