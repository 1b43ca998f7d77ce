"""Every format in every container, with everything odd that files have: read, or refused in a
sentence that names file and line; and no file is changed by being looked at."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from engine.formats import DatasetError, check_dataset, preview, read_examples
from tests.unit.format_files import Case, cases

CASES = list(cases())


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 120
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.timeout(20)
def test_a_file_is_read_or_refused_in_a_sentence(case: Case, tmp_path: Path) -> None:
    path = tmp_path / case.name
    path.write_bytes(case.content)
    before = hashlib.sha256(case.content).hexdigest()
    complaints = [str(c) for c in check_dataset(path, case.format, case.method)]
    if (shown := _shown(path)) is not None:
        assert len(json.dumps(shown)) < 100_000
        assert shown["format"] == case.format or not case.rows
    if case.rows:
        assert complaints == []
        assert len(list(read_examples(path, case.format, case.method))) == case.rows
    else:
        assert complaints
        assert any(case.name in said and case.words in said for said in complaints), complaints
        with pytest.raises(DatasetError):
            list(read_examples(path, case.format, case.method))
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before
    assert [found.name for found in tmp_path.iterdir()] == [case.name]


def _shown(path: Path) -> dict[str, Any] | None:
    """The preview, None if it is refused."""
    try:
        return preview(path, limit=2)
    except DatasetError as error:
        return None if path.name in error.problem else {"format": "refused without a name"}
