"""A run as a command to paste into a terminal: the spec as a file, then ``fettle train``."""

from __future__ import annotations

import re
import sys

from engine.contract import toml
from engine.contract.spec import Spec

_END = "FETTLE_SPEC"


def train_command(spec: Spec, platform: str = sys.platform) -> str:
    """Commands that write the spec and train it: for PowerShell on Windows, else for any shell."""
    text = toml.write(spec, comments=False).rstrip("\n")
    name = file_name(spec.name)
    if platform == "win32":
        # A line that begins with '@ would end the here-string; TOML never has one.
        return f"@'\n{text}\n'@ | Set-Content -Encoding utf8 {name}\nfettle train {name}\n"
    return f"cat > {name} <<'{_END}'\n{text}\n{_END}\nfettle train {name}\n"


def file_name(run_name: str) -> str:
    """A name for the spec's file that no shell has to be told about."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", run_name).strip("-.")
    return f"{plain or 'run'}.toml"
