"""Keeps transformers from reading all of its models' files twice, line by line, at its import.

WORKAROUND(https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/utils/import_utils.py):
what it offers is found by looking for ``__all__`` in some 1 600 files. It does that for the package
and again for ``transformers.models``: the answers are remembered, but only 128 of some 550. That
was a fifth of the time until a worker is ready, on a warm disk.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import cache, wraps
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any

_NAME = "transformers.utils.import_utils"
_MARK = "__all__"


def install() -> None:
    """Before transformers is imported; afterwards this does nothing."""
    is_there = any(isinstance(finder, _Finder) for finder in sys.meta_path)
    if "transformers" not in sys.modules and not is_there:
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    """Finds that one module, as Python does."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """None for any other, which Python then looks for itself."""
        if name != _NAME:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


class _Loader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        """The module, with two of its functions made quicker, if they are there."""
        super().exec_module(module)
        found: dict[str, Any] = vars(module)
        read = getattr(found.get("create_import_structure_from_path"), "__wrapped__", None)
        if read is not None:
            found["create_import_structure_from_path"] = cache(read)
        if fetch := found.get("fetch__all__"):
            found["fetch__all__"] = quicker(fetch)


def quicker(fetch: Callable[[str], list[str]]) -> Callable[[str], list[str]]:
    """The same, which begins to look at the last line that it may look for."""

    @wraps(fetch)
    def fetch_from_there(text: str) -> list[str]:
        return fetch(text[text.rfind(f"\n{_MARK}") + 1 :])

    return fetch_from_there
