"""What ``fettle data`` says of a dataset before any token is made, and which of its options it
advises."""

from __future__ import annotations

import contextlib
import json
from argparse import Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from engine.cli import flags
from engine.cli.output import Output
from engine.cli.words import count
from engine.client import Refused
from engine.contract.dataset_spec import DatasetSpec, SourceSpec
from engine.contract.messages import Complaint
from engine.formats.example import DatasetError
from engine.formats.previewing import SHOWN, preview
from engine.formats.registry import METHOD_FORMATS, NONE

_SHOWN_CHARS = 400
Preview = dict[str, Any]
"""As the answer to :class:`engine.contract.messages.PreviewDataset`."""


def preview_of(entry: SourceSpec, *, is_alone: bool = False) -> Preview:
    """Read here, so that nobody waits for an engine to start. Raises :class:`Refused`."""
    try:
        found = preview(
            entry.path, entry.format, SHOWN, entry.columns, entry.roles, is_alone=is_alone
        )
        # Whoever names the format is not asked whether it is meant.
        return found if entry.format == "auto" else found | {"use": ""}
    except DatasetError as error:
        told = flags.with_typed(error.complaint, flags.of_data(error.patch))
        raise Refused(str(told), [told]) from error


def show_all(dataset: DatasetSpec, output: Output) -> Preview | None:
    """Show what each dataset of a spec is, as far as it can be read: what is in the way of the
    others is told by whoever looks at the whole. What was found of the only one, which is nothing
    if it cannot be read; None if there are several."""
    found: Preview = {}
    for entry in dataset.entries:
        with contextlib.suppress(Refused):
            found = preview_of(entry)
            show(entry.path, found, output)
    return found if len(dataset.entries) == 1 else None


def show(path: str, found: Preview, output: Output) -> None:
    """Of a dataset of which tokens are made next: its format, how long it is and its first row."""
    tell(path, found, output)
    if output.as_json:
        return
    for line in [*about(Path(path).name, found), *shown_rows(found)[:1], ""]:
        output.say(line)


def tell(path: str, found: Preview, output: Output) -> None:
    """As JSON."""
    output.emit({"type": "preview", "path": path, **found})


def about_file(name: str, preview: Preview) -> list[str]:
    """All that is to be seen without a model."""
    rows = [*about(name, preview), "", *shown_rows(preview), ""]
    if is_usable(preview):
        return [*rows, "With --model M it is shown as that model will see it."]
    wrong = wrong_in(preview)
    return [*rows, *wrong, ""] if wrong else rows


def is_usable(preview: Preview) -> bool:
    """Whether a run can be made of it, as far as can be told."""
    is_asked = preview["format"] == NONE or bool(preview["use"])
    return not is_asked and not preview["complaints"]


def _reason(preview: Preview) -> list[str]:
    """Why that format; where no row can be read that stands below them."""
    return [preview["reason"]] if preview.get("columns", True) else []


def wrong_in(preview: Preview) -> list[str]:
    """What a run would be refused for, each a line."""
    found = [msgspec.convert(each, Complaint) for each in preview.get("complaints", [])]
    told = [flags.with_typed(each, flags.of_data(each.patch)) for each in found]
    return [f"error: {each.problem} {each.remedy}".rstrip() for each in told]


def about(name: str, preview: Preview) -> list[str]:
    """What it is, and how to have it taken for something else."""
    rows, estimate = preview["row_count"], preview.get("row_estimate")
    many = "row" if rows == 1 else "rows"
    counted = f"{count(rows)} {many}" if rows else "Its rows are not counted"
    if not rows and preview.get("complaints"):
        counted += ", since it cannot be read to its end"
    elif estimate:
        counted = f"About {count(estimate)} rows"
    files = preview.get("files", 1)
    among = f" in {count(files)} files" if files > 1 else ""
    return [
        f"{name}: {preview['format']} ({preview['confidence']:.0%} sure). {counted}{among}.",
        *_reason(preview),
        *_how_to_use(preview),
    ]


def shown_rows(preview: Preview) -> list[str]:
    """Its first rows, each a line."""
    rows = preview["rows"]
    # What is no row stands there as it is in the file.
    return [_short(r if isinstance(r, str) else json.dumps(r, ensure_ascii=False)) for r in rows]


def _how_to_use(preview: Preview) -> list[str]:
    if use := preview.get("use"):
        return [f"{use} With --format {preview['format']} it does."]
    if preview["format"] != NONE or not preview.get("columns", True):
        return []
    named = preview.get("suggested") or {"instruction": "QUESTION", "output": "ANSWER"}
    options = flags.of_data({"dataset.columns": named})
    return [f"Say which column is which, for example {options}."]


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "…"


# ---------------------------------------------------------------- what to type


def advised(refused: Refused, preview: Preview | None, arguments: Namespace) -> Refused:
    """The same with what to type here behind what to do; said of one dataset, since options are
    about that: of several there is no preview."""
    if preview is None:
        return refused
    complaints = [_advised(each, preview, arguments) for each in refused.complaints]
    return Refused(refused.sentence, complaints, refused.code)


def _advised(complaint: Complaint, preview: Preview, arguments: Namespace) -> Complaint:
    patch = complaint.patch or dict(_guessed(complaint, preview, arguments))
    return flags.with_typed(complaint, flags.of_data(patch))


def _guessed(
    complaint: Complaint, preview: Preview, arguments: Namespace
) -> Iterator[tuple[str, Any]]:
    """Settings that may be meant, by what the first rows look like."""
    found, fits, field = preview.get("format"), _fitting(preview), complaint.field
    if field == "dataset.format" and fits and arguments.format not in ("auto", *fits):
        yield "dataset.format", fits[0]
    elif field in ("dataset.path", "dataset.format") and (other := _other_method(found, arguments)):
        yield "method", other
    elif found == NONE and field in ("dataset.path", "dataset.columns"):
        yield from (("dataset.columns", named) for named in [preview.get("suggested")] if named)


def _other_method(found: str | None, arguments: Namespace) -> str:
    """The method for which such rows are, where another one is asked for."""
    if arguments.method == "pretrain" and found in METHOD_FORMATS["sft"]:
        return "sft"
    return "pretrain" if arguments.method == "sft" and found == "text" else ""


def _fitting(preview: Mapping[str, Any]) -> list[str]:
    found: list[str] = preview.get("fits", [])
    return found
