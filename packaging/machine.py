"""What this machine is, as far as the set-up has to know: graphics card and system libraries."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TURING = (7, 5)
"""Oldest compute capability that CUDA 13 builds of torch run on."""
BLACKWELL = (10, 0)
"""Oldest compute capability that CUDA 12.6 builds do *not* run on."""
CUDA_13_DRIVER = (580,)
CUDA_12_DRIVER = {"linux": (525, 60), "win32": (528, 33)}
"""Oldest driver for any CUDA 12, from NVIDIA's table of minor version compatibility."""


@dataclass(frozen=True, kw_only=True)
class Gpus:
    """The NVIDIA cards of this machine and their driver."""

    names: tuple[str, ...]
    driver: tuple[int, ...]
    capabilities: tuple[tuple[int, int], ...]

    @property
    def driver_text(self) -> str:
        return ".".join(map(str, self.driver))


@dataclass(frozen=True, kw_only=True)
class TorchChoice:
    """Which build of torch to install, and why."""

    build: str
    """``cpu``, ``cu126`` or ``cu130``: the last part of its address on download.pytorch.org."""
    reason: str
    advice: str = ""
    """What the owner should do, if something is not as it should be."""


def choose_torch(gpus: Gpus | None, platform: str) -> TorchChoice:
    """The build of torch that fits; ``platform`` is as :data:`sys.platform` has it."""
    if gpus is None or not gpus.capabilities:
        return TorchChoice(build="cpu", reason="no NVIDIA driver found")
    lowest, highest = min(gpus.capabilities), max(gpus.capabilities)
    found = f"{', '.join(gpus.names)}, driver {gpus.driver_text}"
    if lowest >= TURING and gpus.driver >= CUDA_13_DRIVER:
        return TorchChoice(build="cu130", reason=found)
    if highest < BLACKWELL and gpus.driver >= CUDA_12_DRIVER.get(platform, (525, 60)):
        return TorchChoice(build="cu126", reason=found)
    advice = (
        f"The driver {gpus.driver_text} is too old for this card and torch. Install the NVIDIA "
        "driver 580 or newer; until then training runs on the CPU."
    )
    return TorchChoice(build="cu130", reason=found, advice=advice)


# ---------------------------------------------------------------- NVML


def find_gpus() -> Gpus | None:
    """The cards as the driver tells, None without a driver that answers."""
    for library in _nvml_names():
        try:
            return read_gpus(ctypes.CDLL(library))
        except (OSError, AttributeError):
            continue
    return None


def read_gpus(nvml: Any) -> Gpus | None:
    """Ask NVML (nvml.h); None if the driver does not answer."""
    if nvml.nvmlInit_v2() != 0:
        return None
    try:
        text = ctypes.create_string_buffer(96)
        count = ctypes.c_uint()
        if nvml.nvmlSystemGetDriverVersion(text, 96) or nvml.nvmlDeviceGetCount_v2(
            ctypes.byref(count)
        ):
            return None
        driver = tuple(int(part) for part in re.findall(r"\d+", text.value.decode()))
        cards = [_read_card(nvml, index) for index in range(count.value)]
    finally:
        nvml.nvmlShutdown()
    return Gpus(
        driver=driver,
        names=tuple(name for name, _ in cards),
        capabilities=tuple(capability for _, capability in cards),
    )


def _read_card(nvml: Any, index: int) -> tuple[str, tuple[int, int]]:
    handle = ctypes.c_void_p()
    name = ctypes.create_string_buffer(96)
    major, minor = ctypes.c_int(), ctypes.c_int()
    nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(handle))
    nvml.nvmlDeviceGetName(handle, name, 96)
    nvml.nvmlDeviceGetCudaComputeCapability(handle, ctypes.byref(major), ctypes.byref(minor))
    return name.value.decode(errors="replace"), (major.value, minor.value)


def _nvml_names() -> list[str]:
    return [str(path) for path in _nvml_files()] + (
        ["nvml.dll"] if sys.platform == "win32" else ["libnvidia-ml.so.1"]
    )


def _nvml_files() -> list[Path]:
    if sys.platform == "win32":
        windows = Path(os.environ.get("SYSTEMROOT", r"C:\Windows"))
        candidates = [windows / "System32" / "nvml.dll"]
    else:
        candidates = [
            Path(folder) / "libnvidia-ml.so.1"
            for folder in (
                "/usr/lib/wsl/lib",
                "/usr/lib/x86_64-linux-gnu",
                "/usr/lib64",
                "/usr/lib",
                "/run/opengl-driver/lib",
            )
        ]
    return [path for path in candidates if path.exists()]


def driver_mark() -> str:
    """Changes when the NVIDIA driver does. Costs a few file look-ups, unlike asking the driver."""
    marks = []
    for path in _nvml_files():
        real = path.resolve()
        status = real.stat()
        marks.append(f"{real}:{status.st_size}:{int(status.st_mtime)}")
    return " ".join(marks)


# ---------------------------------------------------------------- libraries that Qt needs

PACKAGES = {
    # name of the library: (Debian and Ubuntu, Fedora)
    "libEGL": ("libegl1", "libglvnd-egl"),
    "libGL": ("libgl1", "libglvnd-glx"),
    "libGLX": ("libglx0", "libglvnd-glx"),
    "libOpenGL": ("libopengl0", "libglvnd-opengl"),
    "libX11": ("libx11-6", "libX11"),
    "libX11-xcb": ("libx11-xcb1", "libX11-xcb"),
    "libdbus-1": ("libdbus-1-3", "dbus-libs"),
    "libfontconfig": ("libfontconfig1", "fontconfig"),
    "libfreetype": ("libfreetype6", "freetype"),
    "libglib-2.0": ("libglib2.0-0", "glib2"),
    "libgthread-2.0": ("libglib2.0-0", "glib2"),
    "libgssapi_krb5": ("libgssapi-krb5-2", "krb5-libs"),
    "libstdc++": ("libstdc++6", "libstdc++"),
    "libwayland-client": ("libwayland-client0", "libwayland-client"),
    "libwayland-cursor": ("libwayland-cursor0", "libwayland-cursor"),
    "libwayland-egl": ("libwayland-egl1", "libwayland-egl"),
    "libxcb": ("libxcb1", "libxcb"),
    "libxcb-cursor": ("libxcb-cursor0", "xcb-util-cursor"),
    "libxcb-icccm": ("libxcb-icccm4", "xcb-util-wm"),
    "libxcb-image": ("libxcb-image0", "xcb-util-image"),
    "libxcb-keysyms": ("libxcb-keysyms1", "xcb-util-keysyms"),
    "libxcb-randr": ("libxcb-randr0", "libxcb"),
    "libxcb-render": ("libxcb-render0", "libxcb"),
    "libxcb-render-util": ("libxcb-render-util0", "xcb-util-renderutil"),
    "libxcb-shape": ("libxcb-shape0", "libxcb"),
    "libxcb-shm": ("libxcb-shm0", "libxcb"),
    "libxcb-sync": ("libxcb-sync1", "libxcb"),
    "libxcb-util": ("libxcb-util1", "xcb-util"),
    "libxcb-xfixes": ("libxcb-xfixes0", "libxcb"),
    "libxcb-xkb": ("libxcb-xkb1", "libxcb"),
    "libxkbcommon": ("libxkbcommon0", "libxkbcommon"),
    "libxkbcommon-x11": ("libxkbcommon-x11-0", "libxkbcommon-x11"),
}
MANAGERS = {"apt-get": (0, "sudo apt install"), "dnf": (1, "sudo dnf install")}


def missing_qt_libraries(site_packages: Path, *, on_screen: bool) -> list[str]:
    """Libraries of the system that Qt misses here, such as ``libEGL.so.1``; Linux only.

    With ``on_screen`` also those for drawing on the display of this session.
    """
    ldd = shutil.which("ldd")
    if sys.platform != "linux" or ldd is None:
        return []
    pyside = site_packages / "PySide6"
    plugins = pyside / "Qt" / "plugins" / "platforms"
    wanted = [pyside / f"Qt{part}.abi3.so" for part in ("Gui", "Widgets", "Network", "Svg")]
    wanted += [plugins / f"lib{name}.so" for name in _platform_plugins(on_screen)]
    done = subprocess.run(
        [ldd, *(str(path) for path in wanted if path.exists())],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    return sorted(set(re.findall(r"(\S+) => not found", done.stdout)))


def _platform_plugins(on_screen: bool) -> list[str]:
    named = os.environ.get("QT_QPA_PLATFORM", "").partition(":")[0]
    if not on_screen or named:
        return [f"q{named or 'offscreen'}"]
    return ["qwayland"] if os.environ.get("WAYLAND_DISPLAY") else ["qxcb"]


def has_screen() -> bool:
    """Whether a window can be shown: always on Windows, on Linux with a display."""
    return sys.platform != "linux" or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    )


def library_sentence(libraries: Iterable[str]) -> str:
    """What is missing and the command that installs it here."""
    libraries = list(libraries)
    sentence = f"The window needs system libraries that are missing: {', '.join(libraries)}."
    for manager, (column, command) in MANAGERS.items():
        if shutil.which(manager):
            packages = sorted({_package(library, column) for library in libraries})
            return f"{sentence} Install them with\n  {command} {' '.join(packages)}"
    return f"{sentence} Install the packages of your system that hold them."


def _package(library: str, column: int) -> str:
    packages = PACKAGES.get(library.partition(".so")[0])
    # dnf finds a package by the library in it; for apt the name is the best guess there is.
    return packages[column] if packages else library.partition(".so")[0].lower()
