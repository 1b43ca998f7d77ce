"""Whether the installed torch and bitsandbytes can use a card. Pure.

Which architectures torch's own wheels hold follows from the CUDA they are built with (its build
scripts, 2.8 to 2.13); code for a capability runs on later ones of the same major number.
"""

from __future__ import annotations

import re

import msgspec

BF16 = (8, 0)
"""First compute capability with bf16 in hardware (Ampere). torch also says yes to what it
emulates, which is slower than fp16 and no smaller."""
FLASH_ATTENTION = (8, 0)
FOUR_BIT, INT8 = (6, 0), (7, 5)
"""First compute capabilities that bitsandbytes' 4-bit and 8-bit matrices run on."""
_DRIVER_OF_CUDA = {11: "450", 12: "525", 13: "580"}
"""First driver that runs programs built with a CUDA of this major number."""

Capability = tuple[int, int]


class Support(msgspec.Struct, frozen=True, kw_only=True):
    """What the installed packages can do with one card."""

    torch: bool | None = None
    """None if it cannot be told."""
    torch_reason: str = ""
    """Why not, and what helps, if it cannot."""
    four_bit: bool | None = None
    int8: bool | None = None
    bitsandbytes_reason: str = ""
    bf16: bool | None = None
    """In hardware."""
    flash_attention: bool | None = None


def support_of(
    capability: Capability | None,
    packages: dict[str, str],
    torch_cuda: str | None,
    driver_cuda: str | None,
    bitsandbytes_cuda: list[str],
) -> Support:
    """Judge one card."""
    torch, torch_reason = torch_support(capability, packages.get("torch"), torch_cuda, driver_cuda)
    library, why = bitsandbytes_support(packages, torch_cuda, bitsandbytes_cuda)
    four_bit = _both(library, _at_least(capability, FOUR_BIT))
    int8 = _both(library, _at_least(capability, INT8))
    return Support(
        torch=torch,
        torch_reason=torch_reason,
        four_bit=four_bit,
        int8=int8,
        bitsandbytes_reason=why or (_too_old_for(capability) if int8 is False else ""),
        bf16=_at_least(capability, BF16),
        flash_attention=_at_least(capability, FLASH_ATTENTION),
    )


def _too_old_for(capability: Capability | None) -> str:
    other = "4-bit or 16-bit" if _at_least(capability, FOUR_BIT) else "16-bit"
    return f"bitsandbytes needs compute capability 6.0 for 4-bit weights and 7.5 for 8-bit ones; \
this card has {dotted(capability)}. Use {other} weights."


def _at_least(capability: Capability | None, least: Capability) -> bool | None:
    return None if capability is None else capability >= least


def _both(one: bool | None, other: bool | None) -> bool | None:
    if one is False or other is False:
        return False
    return None if one is None or other is None else True


def torch_support(
    capability: Capability | None, torch: str | None, cuda: str | None, driver_cuda: str | None
) -> tuple[bool | None, str]:
    """Whether this torch can use the card, and why not."""
    if torch is None:
        return False, "torch is not installed."
    if cuda is None:
        return (
            False,
            f"torch {torch} is built without CUDA, so it uses no card. \
{_install(capability, driver_cuda)}",
        )
    too_old = driver_problem(cuda, driver_cuda)
    if too_old:
        return False, too_old
    span = _architectures(cuda)
    if capability is None or span is None:
        return None, ""
    first, last = span
    if capability < first:
        return (
            False,
            f"torch built for CUDA {cuda} leaves out cards below {dotted(first)}; this \
one has {dotted(capability)}. {_install(capability, driver_cuda)}",
        )
    if capability[0] > last[0] or (capability[0] >= 12 and version(torch) < (2, 7)):
        return (
            False,
            f"Compute capability {dotted(capability)} needs torch 2.7 or newer, built \
for CUDA 12.8 or newer; this is torch {torch} for CUDA {cuda}. {_install(capability, driver_cuda)}",
        )
    return True, ""


def driver_problem(cuda: str, driver_cuda: str | None) -> str:
    """Why the driver cannot run a torch built with this CUDA; empty if it can, or nobody knows."""
    if driver_cuda is None or version(driver_cuda)[0] >= version(cuda)[0]:
        return ""
    needed = _DRIVER_OF_CUDA.get(version(cuda)[0], "newer")
    return f"The driver goes up to CUDA {driver_cuda}, but torch is built for CUDA {cuda}. Update \
the driver to {needed} or newer, or install a torch for CUDA {version(driver_cuda)[0]}."


def _architectures(cuda: str) -> tuple[Capability, Capability] | None:
    """First and last capability in torch's wheels for a CUDA version; None if unknown."""
    found = version(cuda)
    if found < (11, 0):
        return None
    if found < (12, 8):
        return (5, 0), (9, 0)
    return ((7, 0), (12, 0)) if found < (13, 0) else ((7, 5), (12, 1))


def _install(capability: Capability | None, driver_cuda: str | None) -> str:
    """The build of torch that suits card and driver."""
    build = "cu128"
    if capability is not None and capability < (7, 5):
        build = "cu126"
    elif driver_cuda is not None and version(driver_cuda)[0] >= 13:
        build = "cu130"
    return f"Install one from https://download.pytorch.org/whl/{build}."


def bitsandbytes_support(
    packages: dict[str, str], torch_cuda: str | None, libraries: list[str]
) -> tuple[bool | None, str]:
    """Whether bitsandbytes is there and has a library for torch's CUDA, and why not."""
    installed = packages.get("bitsandbytes")
    if installed is None:
        return False, "bitsandbytes is not installed, so there are no 4-bit or 8-bit weights."
    if torch_cuda is None or not libraries:
        return None, ""
    wanted = "{}{}".format(*version(torch_cuda))
    if wanted in libraries:
        return True, ""
    return (
        False,
        f"bitsandbytes {installed} has no library for CUDA {torch_cuda}, only for \
{', '.join(f'{known[:-1]}.{known[-1]}' for known in libraries)}. Update bitsandbytes.",
    )


def version(text: str) -> tuple[int, int]:
    """Major and minor number of a version; zeros for what is none."""
    found = re.match(r"(\d+)(?:\.(\d+))?", text)
    return (int(found[1]), int(found[2] or 0)) if found else (0, 0)


def dotted(capability: Capability | None) -> str:
    """``8.6``."""
    return "unknown" if capability is None else f"{capability[0]}.{capability[1]}"
