"""What a process may still take of a computer's memory, or of its container's."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from engine.planning import look


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({}, None),
        ({"memory.max": "max\n", "memory.current": "5\n"}, None),
        ({"memory.max": "1000\n"}, None),
        ({"memory.max": "1000\n", "memory.current": "400\n"}, 600),
        ({"memory.max": "1000\n", "memory.current": "1400\n"}, 0),
        (
            {
                "memory.max": "1000\n",
                "memory.current": "900\n",
                "memory.stat": "anon 100\nactive_file 50\ninactive_file 700\n",
            },
            800,
        ),
        (
            {
                "memory/memory.limit_in_bytes": "900",
                "memory/memory.usage_in_bytes": "800",
                "memory/memory.stat": "inactive_file 1\ntotal_inactive_file 300\n",
            },
            400,
        ),
        ({"memory/memory.limit_in_bytes": "900", "memory/memory.usage_in_bytes": "200"}, 700),
    ],
)
def test_a_container_has_less_than_its_computer(
    files: dict[str, str], free: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in files.items():
        place = tmp_path / name
        place.parent.mkdir(exist_ok=True)
        place.write_text(text)
    monkeypatch.setattr(look, "_GROUP", tmp_path)
    found = look.free_ram_bytes()
    if free is None:
        assert found == pytest.approx(psutil.virtual_memory().available, rel=0.2)
    else:
        assert found == free
