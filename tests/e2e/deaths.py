"""Ways in which a worker dies without a word to its host, each as it really happens where that can
be had without a card. Standard library only; :mod:`fake_worker` takes it in its mode ``death``."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import importlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn


class OutOfMemoryError(RuntimeError):
    """Named as torch names its own."""


class SafetensorError(Exception):
    """Named as safetensors names its own."""


class GatedRepoError(OSError):
    """Named as huggingface_hub names its own."""


class LocalEntryNotFoundError(FileNotFoundError):
    """Named as huggingface_hub names its own."""


def die(name: str, log: Path) -> NoReturn:
    """Die in that way, with everything that is printed going to the log, as in a real worker."""
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    faulthandler.enable()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    DEATHS[name]()
    raise AssertionError("it lived on")


def _signalled(number: int) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


def _raising(
    error: BaseException, *before: str, cause: BaseException | None = None
) -> Callable[[], None]:
    def work() -> None:
        for line in before:
            sys.stderr.write(line + "\n")
        raise error from cause

    return work


def _read_nothing() -> None:
    ctypes.string_at(0)


def _fill_disk() -> None:
    with Path("/dev/full").open("w") as file:
        file.write("x" * 100_000)


def _fill_memory() -> None:
    bytearray(1 << 62)


def _import_nothing() -> None:
    importlib.import_module("peft_that_nobody_has")


def _miss_library() -> None:
    ctypes.CDLL("libcublas_of_nobody.so.99")


def _terminate() -> None:
    """As C++ ends where nobody catches."""
    sys.stderr.write("terminate called after throwing an instance of 'std::bad_alloc'\n")
    sys.stderr.write("  what():  std::bad_alloc\n")
    sys.stderr.flush()
    os.abort()


def _handled_first() -> None:
    """An error that was coped with, and then one that was not."""
    with contextlib.suppress(OSError):
        _fill_disk()
    sys.stderr.write("WARNING: CUDA out of memory while probing 64 rows, retrying with 32\n")
    try:
        raise KeyError("x")
    except KeyError:
        raise SafetensorError(
            "Error while deserializing header: incomplete metadata, file not fully covered"
        ) from None


DEATHS: dict[str, Callable[[], None]] = {
    "segfault": _read_nothing,
    "abort": os.abort,
    "sigkill": _signalled(signal.SIGKILL),
    "sigterm": _signalled(signal.SIGTERM),
    "sigbus": _signalled(signal.SIGBUS),
    "exit 137": lambda: os._exit(137),
    "exit 7": lambda: os._exit(7),
    "import": _import_nothing,
    "library": _miss_library,
    "disk full": _fill_disk,
    "ram": _fill_memory,
    "bad model file": _handled_first,
    "cuda oom": _raising(
        OutOfMemoryError("CUDA out of memory. Tried to allocate 1.25 GiB. GPU 0 has a total of 12")
    ),
    "device assert": _raising(
        RuntimeError("CUDA error: device-side assert triggered\nCompile with `TORCH_USE_CUDA_DSA`"),
        "Indexing.cu:1553: block: [2,0,0] Assertion `srcIndex < srcSelectDimSize` failed.",
    ),
    "no kernel": _raising(
        RuntimeError("CUDA error: no kernel image is available for execution on the device")
    ),
    "bitsandbytes": _raising(
        RuntimeError(
            "\n🚨 CUDA SETUP ERROR: Missing dependency: libnvJitLink.so.13 🚨\n\nCUDA 13.x"
        )
    ),
    "loader": _raising(RuntimeError("DataLoader worker (pid(s) 4711) exited unexpectedly")),
    "compiler": _raising(
        RuntimeError("Failed to find C compiler. Please specify via CC environment variable.")
    ),
    "gated": _raising(
        OSError("You are trying to access a gated repo.\nMake sure to have access to it"),
        cause=GatedRepoError("403 Client Error. Cannot access gated repo for url https://x"),
    ),
    "offline": _raising(
        LocalEntryNotFoundError("Cannot find the files, and outgoing traffic has been disabled.")
    ),
    "terminate": _terminate,
    "tells a token": lambda: sys.exit(f"no login with {os.environ.get('HF_TOKEN')}"),
    "nobody knows": _raising(ZeroDivisionError("division by zero")),
}
