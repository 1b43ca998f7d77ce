"""A report without data has no row of it, however far down the file that stands."""

from __future__ import annotations

import json
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from engine.contract.messages import Finding
from engine.host import reporting
from engine.paths import home, store
from engine.store.records import EVENTS
from engine.store.runs import WORKER_LOG, create

ROWS, FAR = 30_000, 25_000


def row_of(number: int) -> dict[str, str]:
    return {"prompt": f"Question {number}", "completion": f"Secret {number} of the night watch."}


def test_a_row_far_down_is_not_in_a_report_that_quotes_it(
    fettle_home: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text("".join(f"{json.dumps(row_of(number))}\n" for number in range(ROWS)))
    raw = {"name": "far", "model": {"path": "m"}, "dataset": {"path": str(data)}}
    folder = create(store(), name="far", spec=raw, versions={}, now=datetime.now(UTC))
    secret = row_of(FAR)["completion"]
    finding = Finding(
        at=1.0, severity="warning", code="bad_sample", title=f"Line {FAR} made no numbers.",
        cause=f"It holds {secret!r}.", why=f"The last error says “ValueError: {secret}”.",
        detail=f"<s>{secret}</s>",
    )  # fmt: skip
    (folder / EVENTS).write_bytes(msgspec.json.encode(finding) + b"\n")
    (folder / WORKER_LOG).write_text(f"loading\nValueError: {secret}\n{secret[:20]}\n")
    stack = f'File "{Path.home()}/fettle/engine/worker/course.py", line 7 in step'
    (folder / "stall-1-20261128-010203.txt").write_text(f"== Stacks\n{stack}\n")
    made = reporting.write_report(folder, raw, str(home() / "r.zip"), with_data=False)
    with zipfile.ZipFile(made) as archive:
        stall = archive.read("fettle-report/stall-1-20261128-010203.txt").decode()
        whole = b"\n".join(map(archive.read, archive.namelist())).decode()
    assert "Secret" not in whole
    assert f"Line {FAR} made no numbers." in whole
    assert "Whatever could quote one was left out" in whole
    assert "first 20000 rows" in whole
    assert stall == '== Stacks\nFile "~/fettle/engine/worker/course.py", line 7 in step\n'
