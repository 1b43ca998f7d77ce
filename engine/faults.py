"""What can befall a process, done to this one. Only for tests; see :mod:`engine.failpoints`."""

from __future__ import annotations

import ctypes
import errno
import itertools
import logging
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, NoReturn

log = logging.getLogger(__name__)

_EVER_SECONDS = 1e8
_PIPE_BYTES = 1 << 22


class Fault(NamedTuple):
    """One kind of trouble."""

    happen: Callable[[str, str], None]
    """Takes the argument and the place where it happens."""
    complaint: Callable[[str], str]
    """What is wrong with an argument, as the end of a sentence; empty if nothing is."""


def strike(fault: str, argument: str, place: str) -> None:
    """Let it happen here and now. Raises what the fault raises; many do not come back."""
    log.warning("Failpoint %s: %s %s", place, fault, argument)
    FAULTS[fault].happen(argument, place)


# ---------------------------------------------------------------- not going on


def _hang(argument: str, place: str) -> None:
    while True:
        time.sleep(_EVER_SECONDS)


def _hang_gil(argument: str, place: str) -> None:
    # All of it is one call into C, which never lets go of the interpreter.
    deque(itertools.repeat(None), maxlen=0)


def _deadlock(argument: str, place: str) -> None:
    lock = threading.Lock()
    with lock:
        lock.acquire()


def _block(argument: str, place: str) -> None:
    """A pipe that nobody reads. A signal, such as the one that asks for the stacks, ends a write
    half done; whoever has something to say then writes on."""
    _, write_end = os.pipe()
    while True:
        os.write(write_end, bytes(_PIPE_BYTES))


def _stop(argument: str, place: str) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def _sleep(argument: str, place: str) -> None:
    time.sleep(float(argument))


# ---------------------------------------------------------------- ending


def _kill(argument: str, place: str) -> None:
    # Windows knows no SIGKILL; there the other one ends a process as surely.
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))


def _segfault(argument: str, place: str) -> None:
    ctypes.string_at(0)


def _abort(argument: str, place: str) -> None:
    os.abort()


def _exit(argument: str, place: str) -> None:
    os._exit(int(argument or 1))


# ---------------------------------------------------------------- errors


def _raises(number: int) -> Callable[[str, str], NoReturn]:
    def happen(argument: str, place: str) -> NoReturn:
        raise OSError(number, os.strerror(number))

    return happen


def _error(argument: str, place: str) -> NoReturn:
    raise RuntimeError(argument or f"The failpoint {place} was reached.")


def _oom(argument: str, place: str) -> NoReturn:
    raise _SHORTAGES[argument or "vram"]()


def _no_vram() -> BaseException:
    return _of_torch("OutOfMemoryError")(
        "CUDA out of memory. Tried to allocate 1.07 GiB. GPU 0 has a total capacity of 23.64 GiB "
        "of which 512.00 MiB is free. Including non-PyTorch memory, this process has 23.12 GiB "
        "memory in use. Of the allocated memory 22.10 GiB is allocated by PyTorch, and 602.51 MiB "
        "is reserved by PyTorch but unallocated."
    )


def _no_driver_memory() -> BaseException:
    return _of_torch("AcceleratorError")("CUDA error: out of memory")


def _no_ram() -> BaseException:
    return RuntimeError(
        "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: "
        "you tried to allocate 1050673152 bytes. Error code 12 (Cannot allocate memory)"
    )


def _of_torch(name: str) -> type[BaseException]:
    """The class as the worker meets it; this module itself is light."""
    found: type[BaseException] = getattr(sys.modules.get("torch"), name, RuntimeError)
    return found


_SHORTAGES: dict[str, Callable[[], BaseException]] = {
    "vram": _no_vram,
    "driver": _no_driver_memory,
    "ram": _no_ram,
    "python": MemoryError,
}


# ---------------------------------------------------------------- arguments


def _none(argument: str) -> str:
    return "takes nothing in brackets" if argument else ""


def _seconds(argument: str) -> str:
    try:
        return "" if float(argument) >= 0 else "cannot take less than no time"
    except ValueError:
        return "needs seconds in brackets, such as sleep(2.5)"


def _code(argument: str) -> str:
    is_code = not argument or (argument.isascii() and argument.isdigit())
    return "" if is_code else "takes an exit code in brackets, such as exit(3)"


def _pool(argument: str) -> str:
    pools = ", ".join(_SHORTAGES)
    return "" if not argument or argument in _SHORTAGES else f"takes one of {pools} in brackets"


def _only_posix(argument: str) -> str:
    return "is not to be had on Windows" if sys.platform == "win32" else _none(argument)


def _anything(argument: str) -> str:
    return ""


FAULTS: dict[str, Fault] = {
    "hang": Fault(_hang, _none),
    "hang_gil": Fault(_hang_gil, _none),
    "deadlock": Fault(_deadlock, _none),
    "block": Fault(_block, _none),
    "stop": Fault(_stop, _only_posix),
    "sleep": Fault(_sleep, _seconds),
    "kill": Fault(_kill, _none),
    "segfault": Fault(_segfault, _none),
    "abort": Fault(_abort, _none),
    "exit": Fault(_exit, _code),
    "enospc": Fault(_raises(errno.ENOSPC), _none),
    "edquot": Fault(_raises(getattr(errno, "EDQUOT", errno.ENOSPC)), _none),
    "eio": Fault(_raises(errno.EIO), _none),
    "oom": Fault(_oom, _pool),
    "error": Fault(_error, _anything),
}
