"""Which platform a machine is: WSL, containers, file systems. Pure but for two small looks."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from pathlib import Path

from engine.planning.seen import Seen

WSL_LIBRARIES = "/usr/lib/wsl/lib"
VENDORS = {"0x10de": "NVIDIA", "0x1002": "AMD", "0x8086": "Intel"}
_WINDOWS_DRIVES = {"9p", "drvfs", "v9fs", "virtiofs"}
_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "afs", "ceph"}


def kernel_release() -> str:
    """Of this machine."""
    return platform.release()


def has_dxg() -> bool:
    """Whether WSL 2's way to the card is there."""
    return Path("/dev/dxg").exists()


def wsl_version(seen: Seen) -> int | None:
    """1 or 2; None outside of WSL.

    The kernel's name decides, and the device of WSL 2, which a self-made kernel has too; the
    variables of WSL's shells are missing in services.
    """
    if seen.platform != "linux":
        return None
    release = seen.release.lower()
    if seen.has_dxg or "wsl2" in release:
        return 2
    if "microsoft" not in release:
        return None
    number = re.match(r"(\d+)\.(\d+)", release)
    # WSL 1 has no kernel of its own and says 4.4; WSL 2 began with 4.19.
    return 1 if number and (int(number[1]), int(number[2])) < (4, 19) else 2


def wsl_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """What a worker under WSL needs to find the driver that Windows lends: distributions differ in
    whether their loader looks there by itself."""
    known = environ.get("LD_LIBRARY_PATH", "")
    folders = [folder for folder in known.split(":") if folder and folder != WSL_LIBRARIES]
    return {
        "LD_LIBRARY_PATH": ":".join([WSL_LIBRARIES, *folders]),
        "TRITON_LIBCUDA_PATH": environ.get("TRITON_LIBCUDA_PATH", WSL_LIBRARIES),
    }


def distribution(seen: Seen) -> str | None:
    """The name that Windows knows the distribution by, else its own."""
    return seen.environ.get("WSL_DISTRO_NAME") or seen.system or None


def container(seen: Seen) -> str | None:
    """The container engine; None outside of containers."""
    known = {"/.dockerenv": "docker", "/run/.containerenv": "podman", "/.flatpak-info": "flatpak"}
    for mark, name in known.items():
        if mark in seen.container_marks:
            return name
    if named := seen.environ.get("container"):
        return named
    for text, name in (
        ("docker", "docker"), ("kubepods", "kubernetes"), ("libpod", "podman"), ("lxc", "lxc"),
        ("containerd", "containerd"),
    ):  # fmt: skip
        if text in seen.cgroup:
            return name
    return None


def is_windows_drive(filesystem: str | None, *, is_wsl: bool) -> bool:
    """Whether WSL reaches the folder through Windows, which is slow and cannot lock files well."""
    return is_wsl and (filesystem or "").lower() in _WINDOWS_DRIVES


def is_network(filesystem: str | None) -> bool:
    """Whether the folder lies on another computer."""
    return (filesystem or "").lower() in _NETWORK
