"""What is known of a dataset, as lines for a terminal. Pure."""

from __future__ import annotations

import json
from typing import Any

from engine.cli.output import Output
from engine.cli.words import count, duration
from engine.contract.dataset_report import (
    COMPARED,
    DatasetReport,
    Packing,
    RowFinding,
    SourceShare,
)
from engine.contract.messages import Progress
from engine.store.encoded_view import Sample

_BARS = " ▁▂▃▄▅▆▇█"
_COLOURS = {"error": "red", "warning": "yellow", "info": "blue"}
_NAMED_ROWS = 8
_NAMED_GROUPS = 4
_SHOWN_CHARS = 400


def about_file(name: str, preview: dict[str, Any]) -> list[str]:
    """What is to be seen without a model."""
    rows, about = preview["row_count"], preview.get("row_estimate")
    counted = f"{count(rows)} rows" if rows else "Its rows are not counted"
    if about:
        counted = f"About {count(about)} rows"
    files = preview.get("files", 1)
    among = f" in {count(files)} files" if files > 1 else ""
    return [
        f"{name}: {preview['format']} ({preview['confidence']:.0%} sure). {counted}{among}.",
        preview["reason"],
        *_how_to_use(preview),
        "",
        *(_short(json.dumps(row, ensure_ascii=False)) for row in preview["rows"]),
        "",
        "With --model M it is shown as that model will see it.",
    ]


def _how_to_use(preview: dict[str, Any]) -> list[str]:
    if use := preview.get("use"):
        return [f"{use} With --format {preview['format']} it does."]
    if preview["format"] != "unknown":
        return []
    named = preview.get("suggested") or {"instruction": "QUESTION", "output": "ANSWER"}
    options = " ".join(f"--columns {name}={theirs}" for name, theirs in named.items())
    return [f"Say which column is which, for example {options}."]


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "…"


class Making:
    """How far the tokens are, and how long it will take."""

    def __init__(self) -> None:
        self._first: tuple[float, int] | None = None
        self._unit = ""

    def words(self, message: Progress, now: float) -> str:
        """``Making tokens: 800 of about 1 200 rows, 400 rows/s, 1 s left``; ``now`` in seconds."""
        if message.unit != self._unit:
            self._first, self._unit = None, message.unit
        self._first = self._first or (now, message.done)
        began, before = self._first
        is_compared = message.unit == COMPARED
        about = "" if is_compared else "about "
        of = f" of {about}{count(message.total)}" if message.total else ""
        doing = "Comparing rows" if is_compared else "Making tokens"
        unit = "rows" if is_compared else message.unit
        text = f"{doing}: {count(message.done)}{of} {unit}"
        rate = (message.done - before) / (now - began) if now > began else 0.0
        if rate <= 0:
            return text
        text += f", {count(rate)} {unit}/s"
        left = message.total - message.done
        return f"{text}, {duration(left / rate)} left" if left > 0 else text


def about_tokens(report: DatasetReport, name: str, output: Output) -> list[str]:
    """Figures, histogram and findings."""
    unit = "Blocks" if report.method == "pretrain" else "Samples"
    share = report.trained_tokens / report.tokens if report.tokens else 0.0
    figures = [
        ("Rows", f"{count(report.rows)}, {report.format}"),
        (unit, f"{count(report.train)} trained on, {count(report.held_back)} held back"),
        *_source_lines(report),
        ("Tokens", f"{count(report.tokens)}, {share:.0%} trained on"),
        ("Length", _lengths(report)),
        *_cut_line(report),
        *_copy_line(report),
        *_language_line(report),
        *_batch_lines(report),
        ("Tokens made", "earlier" if report.is_kept else f"in {duration(report.seconds)}"),
    ]
    lines = [output.paint(name, "bold"), *(f"  {key:<13}{value}" for key, value in figures)]
    if report.counts:
        more = " or more" if report.longest > report.edges[-1] else ""
        lines += ["", f"  0 {_histogram(report)} {count(report.edges[-1])} tokens{more}"]
    for finding in report.findings:
        lines += ["", *_finding(finding, output)]
    return lines


def _source_lines(report: DatasetReport) -> list[tuple[str, str]]:
    lines = [("From" if n == 0 else "", _share(s)) for n, s in enumerate(report.sources)]
    if report.unlearnt:
        lines.append(("Left out", f"{count(report.unlearnt)} rows that are labelled bad"))
    return lines


def _share(source: SourceShare) -> str:
    rows = f"{source.name}: {count(source.rows)} rows, weight {source.weight:g}"
    return f"{rows}, {count(source.trained)} samples an epoch, {source.epochs:.3g} epochs"


def _lengths(report: DatasetReport) -> str:
    span = f"{report.shortest} to {count(report.longest)} tokens"
    return f"{span}, half below {count(report.median)}"


def _copy_line(report: DatasetReport) -> list[tuple[str, str]]:
    if not (report.duplicates or report.near_duplicates or report.left_out):
        return []
    left = report.samples - report.left_out
    share = (report.duplicates + report.near_duplicates) / left if left else 0.0
    told = f"{count(report.duplicates)}, {count(report.near_duplicates)} more nearly ({share:.0%})"
    lines = [("Copies", told)]
    if report.left_out:
        lines.append(("By fixes", f"{count(report.left_out)} samples left out"))
    return lines


def _language_line(report: DatasetReport) -> list[tuple[str, str]]:
    told = ", ".join(f"{name} {share:.0%}" for name, share in report.languages.items())
    return [("Language", told)] if told else []


def _cut_line(report: DatasetReport) -> list[tuple[str, str]]:
    if report.method == "pretrain":
        return []
    told = f"{count(report.cut)} of {count(report.samples)} lose their end"
    return [(f"Cut at {report.max_length}", told if report.cut else "none loses its end")]


def _batch_lines(report: DatasetReport) -> list[tuple[str, str]]:
    if report.padded is None:
        return []
    lines = [("Padding", _packing(report.padded))]
    if report.packed is not None:
        share = report.packed.computed / max(report.padded.computed, 1)
        lines.append(("Packed", f"{_packing(report.packed)}, {share:.0%} of the tokens to compute"))
    return lines


def _packing(packing: Packing) -> str:
    noun = "step" if packing.steps == 1 else "steps"
    waste = f"{packing.waste:.1%} waste" if packing.waste else "none"
    return f"{waste}, {count(packing.steps)} {noun} an epoch"


def _histogram(report: DatasetReport) -> str:
    most = max(report.counts)
    return "".join(_BARS[-(-8 * number // most)] for number in report.counts)


def _finding(finding: RowFinding, output: Output) -> list[str]:
    lines = [output.paint(finding.title, _COLOURS[finding.severity])]
    lines += [f"  {text}" for text in (finding.cause, finding.remedy) if text]
    if finding.rows:
        named = ", ".join(str(row + 1) for row in finding.rows[:_NAMED_ROWS])
        more = " …" if finding.row_count > _NAMED_ROWS else ""
        lines.append(f"  Rows {named}{more}")
    lines += [f"  Row {_like(group)}" for group in finding.groups[:_NAMED_GROUPS]]
    return [*lines, *_how_to_fix(finding)]


def _like(group: list[int]) -> str:
    """``3, again as 5, 9``; the one that comes first leads."""
    named = ", ".join(str(row + 1) for row in group[1 : 1 + _NAMED_ROWS])
    more = " …" if len(group) - 1 > _NAMED_ROWS else ""
    return f"{group[0] + 1}, again as {named}{more}"


def _how_to_fix(finding: RowFinding) -> list[str]:
    if not finding.action:
        return []
    values = " ".join(f"--set {path}={json.dumps(v)!r}" for path, v in finding.patch.items())
    return [f"  {finding.action}: {values}"]


def as_seen(sample: Sample, report: DatasetReport, output: Output) -> str:
    """A sample as the model sees it; what is learnt stands out."""
    head = (
        f"Row {sample.row + 1}: {count(sample.length)} tokens, {count(sample.targets)} trained on"
    )
    if not sample.is_shown:
        return f"{head}. It lies too far behind to be kept as text."
    cut = report.max_length - sample.first_token if report.method != "pretrain" else sample.length
    return f"{head}\n{_marked(sample, cut, output)}"


def _marked(sample: Sample, cut: int, output: Output) -> str:
    """The text in pieces of the same kind: learnt, read, cut off."""
    pieces: list[tuple[str, str]] = []
    at = 0
    for number, token in enumerate(sample.tokens):
        kind = "cut" if number >= cut else "learnt" if token.learnt else "read"
        if token.end <= at:
            continue
        text = sample.text[at : token.end]
        at = token.end
        if pieces and pieces[-1][0] == kind:
            pieces[-1] = (kind, pieces[-1][1] + text)
        else:
            pieces.append((kind, text))
    marks = {"cut": ("⟪cut off: ", "⟫"), "learnt": ("⟦", "⟧"), "read": ("", "")}
    colours = {"cut": "dim", "learnt": "green", "read": ""}
    shown = []
    for kind, text in pieces:
        before, after = marks[kind]
        colour = colours[kind]
        painted = output.paint(text, colour) if colour else text
        shown.append(painted if painted != text or not colour else f"{before}{text}{after}")
    return "".join(shown)
