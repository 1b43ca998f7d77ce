"""What is known of a dataset, as lines for a terminal. Pure."""

from __future__ import annotations

from engine.cli import flags
from engine.cli.output import Output
from engine.cli.words import count, duration
from engine.contract.dataset_report import (
    COMPARED,
    IDLE_WORDS,
    NAMED_ROWS,
    DatasetReport,
    Packing,
    RowFinding,
    SourceShare,
)
from engine.contract.messages import Progress
from engine.contract.row_places import at_head, name_of, names_of

_BARS = " ▁▂▃▄▅▆▇█"
_COLOURS = {"error": "red", "warning": "yellow", "info": "blue"}
_NAMED_GROUPS = 4


class Making:
    """How far the tokens are, and how long it will take."""

    def __init__(self) -> None:
        self._first: tuple[float, int] | None = None
        self._unit = ""

    def words(self, message: Progress, now: float) -> str:
        """``Making tokens: 800 of about 1 200 rows, 400 rows/s, 1 s left``; ``now`` in seconds."""
        if idle := IDLE_WORDS.get(message.unit):
            return idle
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
        lines += ["", *_finding(finding, report, output)]
    return lines


def _source_lines(report: DatasetReport) -> list[tuple[str, str]]:
    lines = [("From" if n == 0 else "", _share(s)) for n, s in enumerate(report.sources)]
    if report.unlearnt:
        lines.append(("Left out", f"{count(report.unlearnt)} rows that are labelled bad"))
    return lines


def _share(source: SourceShare) -> str:
    rows = f"{source.name}: {count(source.rows)} rows, weight {source.weight:g}"
    often = f"a row is learnt {source.often} in the run, on average"
    return f"{rows}, {count(source.trained)} samples an epoch; {often}"


def _lengths(report: DatasetReport) -> str:
    span = f"{count(report.shortest)} to {count(report.longest)} tokens"
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
    return [(f"Cut at {count(report.max_length)}", told if report.cut else "none loses its end")]


def _batch_lines(report: DatasetReport) -> list[tuple[str, str]]:
    """Both ways to put samples into rows, and which one the run goes."""
    if report.padded is None:
        return []
    if report.packed is None:
        return [("Padding", _packing(report.padded))]
    share = report.packed.computed / max(report.padded.computed, 1)
    one_each, packed = _packing(report.padded), _packing(report.packed)
    own, other = ("", " (used)") if report.is_packed else (" (used)", "")
    asked = flags.of_data({"training.packing": not report.is_packed})
    return [
        ("Unpacked", f"{one_each}{own or f'; with {asked}'}"),
        ("Packed", f"{packed}, {share:.0%} of the tokens to compute{other or f'; with {asked}'}"),
    ]


def _packing(packing: Packing) -> str:
    noun = "step" if packing.steps == 1 else "steps"
    waste = f"{packing.waste:.1%} is padding" if packing.waste else "no padding"
    return f"{waste}, {count(packing.steps)} {noun} an epoch"


def _histogram(report: DatasetReport) -> str:
    most = max(report.counts)
    return "".join(_BARS[-(-8 * number // most)] for number in report.counts)


def _finding(finding: RowFinding, report: DatasetReport, output: Output) -> list[str]:
    lines = [output.paint(finding.title, _COLOURS[finding.severity])]
    lines += [f"  {text}" for text in (finding.cause, finding.remedy) if text]
    if finding.rows:
        named = names_of(report.files, finding.rows[:NAMED_ROWS], report.lines)
        more = " …" if finding.row_count > NAMED_ROWS else ""
        lines.append(f"  {at_head(named)}{more}")
    lines += [f"  {_like(group, report)}" for group in finding.groups[:_NAMED_GROUPS]]
    return [*lines, *_how_to_fix(finding)]


def _like(group: list[int], report: DatasetReport) -> str:
    """``Row 3, again as rows 5, 9``; the one that comes first leads."""
    first = at_head(name_of(report.files, group[0], report.lines))
    named = names_of(report.files, group[1 : 1 + NAMED_ROWS], report.lines)
    more = " …" if len(group) - 1 > NAMED_ROWS else ""
    return f"{first}, again as {named}{more}"


def _how_to_fix(finding: RowFinding) -> list[str]:
    """What to type, each way in a line of its own."""
    ways = ((finding.action or "Change it", finding.patch),
            (finding.instead_action, finding.instead))  # fmt: skip
    typed = [(action, flags.of_data(patch)) for action, patch in ways]
    return [f"  {action}: {asked}" for action, asked in typed if asked]
