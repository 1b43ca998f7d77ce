"""Measures how much memory a process may pin, in a process that is thrown away.

Run as a program it asks CUDA's driver for block after block and writes what it got as JSON; the
blocks go with the process, and so does an error that would stick. torch is not needed.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

import engine
from engine.planning.look import NO_WINDOW
from engine.planning.pinned import CAP_SHARE, Measured, keep

_MIB = 1 << 20
BLOCKS = (256 * _MIB, 64 * _MIB, 16 * _MIB, 4 * _MIB)
"""Tried in this order: some machines refuse large blocks and grant small ones."""
_SECONDS = 0.8
"""How long to go on asking."""
_ANSWER_SECONDS = 1.9
"""How long the process may take in all."""

Allocate = Callable[[int], bool]
"""Pins so many bytes more; False if it is refused."""


def measure(home: Path, key: str, ram_bytes: int | None, available_bytes: int | None) -> Measured:
    """Measure in a process of its own, and keep the result. Never raises."""
    cap = cap_bytes(ram_bytes, available_bytes)
    if not cap:
        return Measured(why="the size of the computer's memory is unknown.")
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "engine.planning.pinned_probe", str(cap)],
            capture_output=True, timeout=_ANSWER_SECONDS, stdin=subprocess.DEVNULL, check=False,
            cwd=Path(engine.__file__).parents[1], creationflags=NO_WINDOW,
        )  # fmt: skip
        found = msgspec.json.decode(ended.stdout, type=Measured)
    except subprocess.TimeoutExpired:
        return Measured(why=f"the driver did not answer within {_ANSWER_SECONDS:g} s.")
    except (OSError, msgspec.MsgspecError):
        return Measured(why="the process that measures it ended without an answer.")
    if found.pinned_bytes is not None:
        _keep(home, key, found)
    return found


def _keep(home: Path, key: str, found: Measured) -> None:
    try:
        keep(home, key, found)
    except OSError:
        # A home that cannot be written is told of elsewhere; then it is measured again.
        return


def cap_bytes(ram_bytes: int | None, available_bytes: int | None) -> int:
    """Where the probe stops: a quarter of the memory, and no more than half of what is free."""
    cap = int(CAP_SHARE * (ram_bytes or 0))
    return cap if available_bytes is None else min(cap, available_bytes // 2)


def fill(allocate: Allocate, cap: int, seconds: float = _SECONDS) -> Measured:
    """Ask for block after block, for smaller ones after a refusal."""
    got, largest, refused = 0, 0, False
    until = time.monotonic() + seconds
    for block in BLOCKS:
        while got + block <= cap and time.monotonic() < until:
            if not allocate(block):
                refused = True
                break
            got, largest = got + block, max(largest, block)
    return Measured(
        pinned_bytes=got,
        cap_bytes=cap if refused else got,
        largest_block_bytes=largest or None,
        why="" if refused or got + BLOCKS[-1] > cap else f"stopped after {seconds:g} s.",
    )


# ---------------------------------------------------------------- the process that is thrown away


def main() -> int:
    """The probe's whole life."""
    allocate, why = _driver()
    cap = int(sys.argv[1])
    found = fill(allocate, cap) if allocate else Measured(why=why)
    sys.stdout.buffer.write(msgspec.json.encode(found))
    sys.stdout.flush()
    return 0


def _driver() -> tuple[Allocate | None, str]:
    """What pins memory, or why nothing can."""
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        cuda = ctypes.CDLL(name)
    except OSError:
        return None, f"CUDA's driver library {name} was not found."
    device, context = ctypes.c_int(), ctypes.c_void_p()
    for call, arguments in (
        ("cuInit", (0,)),
        ("cuDeviceGet", (ctypes.byref(device), 0)),
        ("cuDevicePrimaryCtxRetain", (ctypes.byref(context), device)),
        ("cuCtxSetCurrent", (context,)),
    ):
        code = getattr(cuda, call)(*arguments)
        if code:
            return None, f"CUDA's driver refused {call} with error {code}."

    def allocate(size: int) -> bool:
        place = ctypes.c_void_p()
        return not cuda.cuMemHostAlloc(ctypes.byref(place), ctypes.c_size_t(size), 0)

    return allocate, ""


if __name__ == "__main__":
    sys.exit(main())
