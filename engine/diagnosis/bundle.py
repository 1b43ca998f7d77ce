"""A report of a run that can be given away: its parts, redacted. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from engine.contract.redaction import Hidden, redacted, redacted_value
from engine.diagnosis.dataless import by_shape, notes_without_data, record_without_data

ROOT = "fettle-report"
"""The folder in the archive."""

_README = """\
A report of the run {run}, made by Fettle {version}.

  run.json        the recipe as the run was started, its plan, versions of packages
  spec.json       the recipe as it is now, if it was changed since
  events.jsonl    what happened, in order
  metrics.jsonl   the newest steps and measurements: numbers only
  worker.log      the end of what the worker printed
  host.log        the end of what Fettle itself noted
  stall-*.txt     where it stood, if it stood still: calls in code, no values
  machine.json    the machine; doctor.txt says the same for people
{data}
Taken out: tokens and passwords, users' folders (written as ~), names of user and computer,
serial numbers of cards (UUIDs).
{rows}Look it through before you give it to anybody: a program cannot know everything that
is private.
"""
_WITHOUT_DATA = """\

Rows of the data are not in here. Whatever could quote one was left out, whether it did or not:
  details of events, worker.log    only places in code, kinds of errors and fixed words of known
                                   problems are kept
  sentences of events, host.log    what they quote is left out
All texts were searched for the first {searched} rows of the dataset as well.

"""
_WITH_DATA = "  data.jsonl      the first rows of the dataset, as you asked for\n"


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """What a report is made of, as it is found."""

    run: str
    version: str
    run_file: dict[str, Any]
    spec: dict[str, Any]
    events: str
    """Lines of JSON."""
    metrics: str
    """Lines of JSON."""
    worker_log: str
    host_log: str
    machine: dict[str, Any]
    doctor: str
    stalls: dict[str, str] = {}
    """What was seen of the worker each time that it stood still, by the file's name."""
    searched_rows: int = 0
    """How many rows the texts were searched for."""
    data: list[Any] | None = None
    """First rows; None if they were not asked for."""


def files_of(contents: Contents, hidden: Hidden) -> dict[str, bytes]:
    """The files of the archive by name."""
    values = {"run.json": contents.run_file, "machine.json": contents.machine}
    if contents.spec != contents.run_file.get("spec"):
        values["spec.json"] = contents.spec
    is_dataless = contents.data is None
    texts = {
        "README.txt": _readme(contents),
        "events.jsonl": "".join(_lines(contents.events, hidden, is_dataless)),
        "metrics.jsonl": "".join(_lines(contents.metrics, hidden)),
        "worker.log": redacted(_log(contents.worker_log, is_dataless), hidden),
        "host.log": redacted(_notes(contents.host_log, is_dataless), hidden),
        "doctor.txt": redacted(contents.doctor, hidden),
        **{name: redacted(text, hidden) for name, text in contents.stalls.items()},
    }
    if contents.data is not None:
        shown = msgspec.structs.replace(hidden, rows=frozenset())
        # A cell of Parquet may be of any kind.
        rows = (msgspec.json.encode(redacted_value(r, shown), enc_hook=str) for r in contents.data)
        texts["data.jsonl"] = "".join(f"{row.decode()}\n" for row in rows)
    files = {name: text.encode() for name, text in texts.items() if text}
    for name, value in values.items():
        files[name] = msgspec.json.format(msgspec.json.encode(redacted_value(value, hidden)))
    return {f"{ROOT}/{name}": files[name] for name in sorted(files)}


def _readme(contents: Contents) -> str:
    has_data = contents.data is not None
    return _README.format(
        run=contents.run,
        version=contents.version,
        data=_WITH_DATA if has_data else "",
        rows="" if has_data else _WITHOUT_DATA.format(searched=contents.searched_rows),
    )


def _log(text: str, is_dataless: bool) -> str:
    return by_shape(text) if is_dataless else text


def _notes(text: str, is_dataless: bool) -> str:
    return notes_without_data(text) if is_dataless else text


def _lines(text: str, hidden: Hidden, is_dataless: bool = False) -> Iterator[str]:
    """Lines of JSON stay lines of JSON; what is none is redacted as text, or left out."""
    for line in text.splitlines():
        try:
            value = msgspec.json.decode(line)
        except msgspec.DecodeError:
            yield f"{redacted(_log(line, is_dataless), hidden).rstrip()}\n"
            continue
        value = record_without_data(value) if is_dataless else value
        yield f"{msgspec.json.encode(redacted_value(value, hidden)).decode()}\n"
