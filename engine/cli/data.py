"""``fettle data``: a dataset as a model will see it."""

from __future__ import annotations

import json
import random
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import msgspec

from engine.cli import settings
from engine.cli.data_report import Making, about_file, about_tokens, as_seen
from engine.cli.output import Exit, Output
from engine.client import Client, HostLost, Refused, connect
from engine.contract.dataset_report import DatasetReport
from engine.contract.hub_id import is_address, is_dataset_id
from engine.contract.messages import (
    Complaint,
    Inspect,
    Inspected,
    PreviewDataset,
    Progress,
    ShowSamples,
)
from engine.contract.spec import DatasetSpec
from engine.contract.template_names import AUTO, is_file
from engine.formats.registry import METHOD_FORMATS
from engine.store.encoded_view import Sample

DEFAULT_LENGTH = 1024


def data(arguments: Namespace, output: Output) -> Exit:
    """Look a dataset over. 0 if a run can be made of it, 3 if not."""
    path = Path(arguments.file)
    with connect() as client:
        if path.suffix.lower() == ".toml":
            raw, _ = settings.load(path, [*arguments.settings, *_changes(arguments)])
        else:
            preview = _preview(client, arguments)
            if not arguments.model:
                return _of_file(path, preview, output)
            raw = _as_spec(preview["format"], arguments)
            if complaints := [c for s in arguments.settings for c in settings.apply(raw, s)]:
                raise settings.refusal(complaints)
        try:
            report = _inspect(client, raw, output)
        except KeyboardInterrupt:
            # The host ends it as soon as the connection is closed.
            output.clear_progress()
            output.say("Stopped. Nothing half done was kept.")
            return Exit.STOPPED
        sample, why = _sample(client, report, arguments)
    output.emit({"type": "dataset_report", **msgspec.to_builtins(report)})
    if sample is not None:
        output.emit({"type": "sample", **msgspec.to_builtins(sample)})
    if not output.as_json:
        title = msgspec.convert(raw["dataset"], DatasetSpec).title
        for line in [*about_tokens(report, title, output), ""]:
            output.say(line)
        output.say(as_seen(sample, report, output) if sample else why)
    return Exit.WOULD_DIE if any(f.severity == "error" for f in report.findings) else Exit.FINISHED


def _preview(client: Client, arguments: Namespace) -> dict[str, Any]:
    """What is to be seen without a model. Raises :class:`Refused`."""
    place = _place(arguments.file)
    try:
        return client.request(
            PreviewDataset(
                id=0, path=place, format=arguments.format,
                columns=pairs(arguments.columns), roles=pairs(arguments.roles),
            )
        )  # fmt: skip
    except Refused:
        # A model's tokens are asked for: the worker fetches what is on the hub.
        if arguments.model and is_dataset_id(place):
            return {"format": "unknown"}
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


def _of_file(path: Path, preview: dict[str, Any], output: Output) -> Exit:
    output.emit({"type": "preview", **preview})
    if not output.as_json:
        for line in about_file(path.name, preview):
            output.say(line)
    return Exit.FINISHED


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
        "training": {"max_length": arguments.max_length or DEFAULT_LENGTH},
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


def _sample(
    client: Client, report: DatasetReport, arguments: Namespace
) -> tuple[Sample | None, str]:
    """The sample that is asked for, or any; None if there is none, and why."""
    cut = None if report.method == "pretrain" else report.max_length
    request = ShowSamples(id=0, data=report.data, max_length=cut)
    if arguments.row is not None:
        request = msgspec.structs.replace(request, row=arguments.row - 1)
    elif arguments.search:
        found = client.request(msgspec.structs.replace(request, search=arguments.search))
        request = msgspec.structs.replace(request, places=found["places"][:1])
    else:
        pick = arguments.pick or "random"
        places = report.picks.get(pick, []) if pick != "random" else _any(report)
        request = msgspec.structs.replace(request, places=places[:1])
    found = client.request(request)
    if not found["samples"]:
        return None, found.get("reason", "No sample is like that.")
    return msgspec.convert(found["samples"][0], Sample, str_keys=True), ""


def _any(report: DatasetReport) -> list[int]:
    return [random.randrange(report.samples)] if report.samples else []
