"""``fettle data``: a dataset as a model will see it."""

from __future__ import annotations

import json
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import msgspec

from engine.cli import data_preview, settings
from engine.cli.data_report import Making, about_tokens
from engine.cli.data_sample import as_seen, must_be_within, sample_of, told, wanted_row
from engine.cli.output import Exit, Output
from engine.client import Client, HostLost, Refused, connect
from engine.contract.dataset_report import DatasetReport
from engine.contract.dataset_spec import DatasetSpec, SourceSpec
from engine.contract.hub_id import is_address, is_dataset_id
from engine.contract.messages import Complaint, Inspect, Inspected, Progress
from engine.contract.template_names import AUTO, is_file
from engine.formats.registry import METHOD_FORMATS, NONE
from engine.store.encoded_view import Sample

DEFAULT_LENGTH = 1024


class _Subject(msgspec.Struct, frozen=True, kw_only=True):
    """What is looked over."""

    raw: dict[str, Any]
    """As a spec."""
    preview: data_preview.Preview | None
    """Of its only dataset, nothing if that cannot be read; None if it has several."""


def data(arguments: Namespace, output: Output) -> Exit:
    """Look a dataset over. 0 if a run can be made of it, 3 if not."""
    path = Path(arguments.file)
    wanted = wanted_row(arguments.row) if arguments.row is not None else None
    if path.suffix.lower() == ".toml":
        subject = _of_spec(path, arguments, output)
    else:
        preview = _preview(arguments)
        if not arguments.model:
            return _of_file(arguments.file, preview, output)
        subject = _of_rows(preview, arguments, output)
    if wanted and subject.preview and (rows := subject.preview.get("row_count")):
        must_be_within(wanted, rows, path.name)
    with connect() as client:
        try:
            report = _inspect(client, subject.raw, output)
        except Refused as refused:
            raise data_preview.advised(refused, subject.preview, arguments) from None
        except KeyboardInterrupt:
            # The host ends it as soon as the connection is closed.
            output.clear_progress()
            output.say("Stopped. Nothing half done was kept.")
            return Exit.STOPPED
        title = msgspec.convert(subject.raw["dataset"], DatasetSpec).title
        _tell(report, title, output)
        _show(*sample_of(client, report, wanted, arguments, title), report, output)
    return Exit.WOULD_DIE if any(f.severity == "error" for f in report.findings) else Exit.FINISHED


def _tell(report: DatasetReport, title: str, output: Output) -> None:
    output.emit({"type": "dataset_report", **msgspec.to_builtins(report)})
    if not output.as_json:
        for line in [*about_tokens(report, title, output), ""]:
            output.say(line)


def _show(sample: Sample | None, why: str, report: DatasetReport, output: Output) -> None:
    output.emit(told(sample, report) if sample else {"type": "no_sample", "reason": why})
    if not output.as_json:
        output.say(as_seen(sample, report, output) if sample else why)


def _of_spec(path: Path, arguments: Namespace, output: Output) -> _Subject:
    """Raises :class:`Refused`."""
    raw, spec = settings.load(path, [*arguments.settings, *_changes(arguments)], "look")
    return _Subject(raw=raw, preview=data_preview.show_all(spec.dataset, output))


def _of_rows(preview: data_preview.Preview, arguments: Namespace, output: Output) -> _Subject:
    """Raises :class:`Refused`."""
    if "rows" in preview:
        data_preview.show(arguments.file, preview, output)
    raw = _as_spec(preview["format"], arguments)
    if complaints := [c for s in arguments.settings for c in settings.apply(raw, s)]:
        raise settings.refusal(complaints)
    return _Subject(raw=raw, preview=preview)


def _preview(arguments: Namespace) -> dict[str, Any]:
    """What is to be seen without a model. Raises :class:`Refused`."""
    place = _place(arguments.file)
    entry = SourceSpec(
        path=place, format=arguments.format, columns=pairs(arguments.columns),
        roles=pairs(arguments.roles),
    )  # fmt: skip
    try:
        return data_preview.preview_of(entry, is_alone=True)
    except Refused:
        # A model's tokens are asked for: the worker fetches what is on the hub.
        if arguments.model and is_dataset_id(place):
            return {"format": NONE}
        raise


def _place(written: str) -> str:
    """The host has another working folder."""
    if is_address(written) or (is_dataset_id(written) and not Path(written).exists()):
        return written
    return str(Path(written).absolute())


def pairs(given: list[str]) -> dict[str, str]:
    """``a=b`` as a table. Raises :class:`Refused`."""
    found = {}
    for text in given:
        name, equals, theirs = text.partition("=")
        if not (equals and name.strip() and theirs.strip()):
            problem = f"{text!r} says of no column what it is."
            remedy = "Write what it is and its name in the file, such as instruction=Frage."
            raise settings.refusal([Complaint(field="--columns", problem=problem, remedy=remedy)])
        found[name.strip()] = theirs.strip()
    return found


def _of_file(written: str, preview: dict[str, Any], output: Output) -> Exit:
    data_preview.tell(written, preview, output)
    if not output.as_json:
        for line in data_preview.about_file(Path(written).name, preview):
            output.say(line)
    return Exit.FINISHED if data_preview.is_usable(preview) else Exit.WOULD_DIE


def _changes(arguments: Namespace) -> list[str]:
    """What options say of a spec that is there."""
    given = {
        "training.max_length": arguments.max_length,
        "method": arguments.method,
        "model.path": arguments.model,
        "dataset.format": None if arguments.format == "auto" else arguments.format,
        "dataset.chat_template": _template(arguments),
        "dataset.loss_on": arguments.loss_on,
        "dataset.max_samples": arguments.max_samples,
    }
    for table in ("columns", "roles"):
        for name, theirs in pairs(getattr(arguments, table)).items():
            given[f"dataset.{table}.{name}"] = json.dumps(theirs, ensure_ascii=False)
    return [f"{name}={value}" for name, value in given.items() if value is not None]


def _template(arguments: Namespace) -> str | None:
    """What was chosen; a file is one of this folder."""
    chosen: str | None = arguments.chat_template
    return str(Path(chosen).absolute()) if chosen and is_file(chosen) else chosen


def _as_spec(found: str, arguments: Namespace) -> dict[str, Any]:
    method = arguments.method
    if method is None:
        method = "pretrain" if found in METHOD_FORMATS["pretrain"] else "sft"
    model = Path(arguments.model)
    return {
        "name": "data",
        "method": method,
        "model": {"path": str(model.absolute()) if model.exists() else arguments.model},
        "dataset": {
            "path": _place(arguments.file),
            "format": arguments.format,
            "columns": pairs(arguments.columns),
            "roles": pairs(arguments.roles),
            "max_samples": arguments.max_samples or 0,
            "chat_template": _template(arguments) or AUTO,
            "loss_on": arguments.loss_on or "answers",
        },
        "lora": {"r": 8},
        "training": {
            "max_length": DEFAULT_LENGTH if arguments.max_length is None else arguments.max_length
        },
    }


def _inspect(client: Client, raw: dict[str, Any], output: Output) -> DatasetReport:
    """Raises :class:`Refused` with what is wrong."""
    name = client.request(Inspect(id=0, spec=raw))["inspection"]
    making = Making()
    for message in client.messages():
        if getattr(message, "run", "") != name:
            continue
        if isinstance(message, Inspected):
            output.clear_progress()
            if message.report is None:
                complaint = message.complaint or Complaint(field="dataset.path", problem="Stopped.")
                raise Refused(str(complaint), [complaint])
            return message.report
        output.emit(message)
        if isinstance(message, Progress) and output.is_terminal:
            output.progress(making.words(message, time.monotonic()))
    raise HostLost("The host ended.")
