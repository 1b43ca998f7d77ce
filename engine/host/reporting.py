"""Gathers what a report of a run is made of, and writes the archive."""

from __future__ import annotations

import getpass
import io
import os
import platform
import zipfile
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

import engine
from engine import own_secrets, paths
from engine.contract.messages import MakeReport
from engine.contract.redaction import Hidden, pieces_of
from engine.contract.validate import check
from engine.diagnosis.bundle import Contents, files_of
from engine.formats import DatasetError
from engine.formats.entries import readings, rows_of
from engine.host.book import spec_of
from engine.host.connection import Answer, Connection, Refused
from engine.host.course import end_of
from engine.host.parts import Parts
from engine.host.stall_report import STALLS
from engine.host.threads import apart
from engine.planning import doctor
from engine.planning.examination import examine_this
from engine.store.files import write_atomic
from engine.store.records import EVENTS, METRICS
from engine.store.runs import WORKER_LOG, read_run

FOLDER = "reports"
"""Of the home: where a report goes that nobody named a place for."""
_EVENTS_BYTES = 8 << 20
_METRICS_BYTES = 4 << 20
_LOG_BYTES = 256 << 10
_STALLS = 5
"""The newest of them."""
_LOOKED_AT_ROWS = 20_000
"""Rows whose texts are looked for as well. That is a second net: what could quote a row is left out
without a look at the data, see :mod:`engine.diagnosis.dataless`."""
_GIVEN_ROWS = 20
"""Rows of a report with data."""


async def make_report(parts: Parts, connection: Connection, request: MakeReport) -> Answer:
    """What the host does on that request. Raises :class:`Refused`."""
    if request.path and not Path(request.path).is_absolute():
        raise Refused(f"{request.path} does not say which folder it is in.")
    run = parts.book.find(request.run)
    folder, spec = parts.book.folder(run), spec_of(parts.book, run)
    path = await apart(write_report, folder, spec, request.path, request.with_data)
    return Answer({"run": run, "path": str(path), "bytes": path.stat().st_size})


def write_report(folder: Path, spec: dict[str, Any], place: str, with_data: bool) -> Path:
    """Write the report of the run in ``folder`` whose spec is now this; gives where it is. Slow.

    Raises ``OSError``, :class:`engine.store.upgrade.StoreError`.
    """
    path = _path(place, folder.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = _rows(spec, _LOOKED_AT_ROWS)
    contents = msgspec.structs.replace(
        _contents(folder, spec, rows[:_GIVEN_ROWS] if with_data else None),
        searched_rows=len(rows),
    )
    hidden = hidden_here(rows=frozenset() if with_data else pieces_of(rows))
    write_atomic(path, _archive(files_of(contents, hidden)))
    return path


def hidden_here(rows: frozenset[str] = frozenset()) -> Hidden:
    """What must not be seen of this user on this computer."""
    return Hidden(
        secrets=own_secrets.known(),
        folders=tuple({str(Path.home()), os.path.realpath(Path.home())}),
        names=tuple(filter(None, (_user(), platform.node(), platform.node().partition(".")[0]))),
        rows=rows,
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""  # A container may have a number and no name.


def _path(place: str, run: str) -> Path:
    if not place:
        return paths.home() / FOLDER / f"{run}.zip"
    path = Path(place)
    return path if path.suffix == ".zip" else path.with_name(f"{path.name}.zip")


def _contents(folder: Path, spec: dict[str, Any], data: list[Any] | None) -> Contents:
    facts, checks = examine_this(paths.store(), may_measure=False)
    return Contents(
        run=folder.name,
        version=engine.__version__,
        run_file=msgspec.to_builtins(read_run(folder)),
        spec=spec,
        events=_whole_lines(folder / EVENTS, _EVENTS_BYTES),
        metrics=_whole_lines(folder / METRICS, _METRICS_BYTES),
        worker_log=_whole_lines(folder / WORKER_LOG, _LOG_BYTES),
        host_log=_whole_lines(paths.host_folder() / "host.log", _LOG_BYTES),
        machine=msgspec.to_builtins(facts),
        doctor=doctor.report(checks),
        stalls=_stalls(folder),
        data=data,
    )


def _stalls(folder: Path) -> dict[str, str]:
    found = sorted(folder.glob(STALLS), key=lambda path: path.stat().st_mtime)[-_STALLS:]
    return {path.name: _whole_lines(path, _LOG_BYTES) for path in found}


def _whole_lines(path: Path, size: int) -> str:
    """The end of a file, without a first line that was cut."""
    text = end_of(path, 0, size)
    return text if len(text.encode()) < size else text.partition("\n")[2]


def _rows(spec: dict[str, Any], count: int) -> list[Any]:
    """The first rows of the run's data; none where it cannot be read any more."""
    sound, _ = check(spec)
    if sound is None:
        return []
    try:
        every = (found for reading in readings(sound.dataset) for found in rows_of(reading))
        return [found.row.value for found in islice(every, count)]
    except (DatasetError, OSError):
        return []


def _archive(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()
