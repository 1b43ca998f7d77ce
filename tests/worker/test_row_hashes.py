"""What is found of hashes with numbers is what sorting and a dictionary find."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from engine.worker import large, row_hashes
from engine.worker.row_hashes import RowHashes, first_copies, largest, smallest


def _hashes(count: int) -> list[bytes]:
    """Many of them copies, and some the same in their first eight bytes only."""
    found = [hashlib.sha256(bytes([i % 7, i * i % 97])).digest() for i in range(count)]
    return [one[:8] + bytes([i % 3]) * 24 if i % 5 == 0 else one for i, one in enumerate(found)]


@pytest.mark.parametrize("near", [False, True])
def test_the_smallest_and_the_copies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, near: bool
) -> None:
    monkeypatch.setattr(row_hashes, "_CHUNK", 16)
    monkeypatch.setattr(row_hashes, "_GROUP", 64)
    monkeypatch.setattr(large, "CHUNK", 50)
    hashes = _hashes(300) if near else [h for i, h in enumerate(_hashes(300)) if i % 5]
    (tmp_path / "digests").write_bytes(b"".join(hashes))
    kept = RowHashes(tmp_path / "digests")
    assert list(kept) == hashes == kept[:]
    first: dict[bytes, int] = {}
    copies = [first.setdefault(key, place) for place, key in enumerate(hashes)]
    assert 0 < len(first) < len(hashes)
    for given in (hashes, kept):
        assert first_copies(given).tolist() == copies
        some = np.arange(3, len(hashes), 2)
        assert largest(given, some) == max(some, key=lambda place: (hashes[place], place))
        for count in (0, 1, 30, 150, len(hashes)):
            order = sorted(range(len(hashes)), key=lambda place: (hashes[place], place))
            assert smallest(given, count).tolist() == sorted(order[:count])


def test_there_may_be_none(tmp_path: Path) -> None:
    (tmp_path / "digests").write_bytes(b"")
    kept = RowHashes(tmp_path / "digests")
    assert first_copies(kept).tolist() == []
    assert smallest(kept, 0).tolist() == []
