"""What the command line must not load to say a word."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_SCRIPT = """
import sys
from engine.cli import main
try:
    main({arguments!r})
except SystemExit:
    pass
print(*sorted(sys.modules), file=sys.stderr)
"""


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["spec", "--example"]])
def test_a_word_of_help_loads_nothing_heavy(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT.format(arguments=arguments)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    loaded = set(done.stderr.split())
    assert "engine.cli.commands" in loaded
    heavy = {
        "torch",
        "transformers",
        "numpy",
        "psutil",
        "pynvml",
        "PySide6",
        "asyncio",
        "engine.host",
    }
    assert not heavy & loaded
    assert done.stdout.strip()
