"""Live tensor bytes in RAM: every storage counts from the operation that first shows it until it is
freed. Exact where the allocator of the CPU keeps no books."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


class LiveTensors(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts from :meth:`open` to :meth:`close`, in the thread that opened it and its backward
    passes. Costs some microseconds an operation."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._seen: dict[int, weakref.ref[Any]] = {}
        self._is_open = False
        self._most = 0
        self.now = 0
        """Bytes that are alive now."""

    def open(self) -> LiveTensors:
        """Begin to count."""
        self.__enter__()  # type: ignore[no-untyped-call]
        self._is_open = True
        return self

    def close(self) -> None:
        """Count no longer; what is alive may still be freed. May be called twice."""
        if self._is_open:
            self._is_open = False
            self.__exit__(None, None, None)  # type: ignore[no-untyped-call]

    def peak(self) -> int:
        """The most bytes alive since :meth:`reset`."""
        return self._most

    def reset(self) -> None:
        """Begin anew with what is alive now."""
        self._most = self.now

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        for thing in tree_iter((args, kwargs, found)):
            if isinstance(thing, torch.Tensor) and thing.device.type == "cpu":
                self._note(thing.untyped_storage())
        return found

    def _note(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._seen:
            return

        def forget(_: object) -> None:
            self._seen.pop(key, None)
            self.now -= size

        self._seen[key] = weakref.ref(storage, forget)
        self.now += size
        self._most = max(self._most, self.now)
