"""What is known of a dataset as a model will see it: figures, rows to look at, findings."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from engine.contract.row_places import FileRows

ROWS, COMPARED = "rows", "rows compared"
"""Units of the progress while a dataset is looked over: rows become tokens, and then they are
compared with each other."""
QUEUED, STARTING = "other datasets first", "start of a worker"
"""The same, while nothing is done yet."""
IDLE_WORDS = {
    QUEUED: "Waits until another dataset has been looked over",
    STARTING: "Starts a worker, which takes longer beside a run",
}
"""What they are for people."""
NAMED_ROWS = 8
"""Of a finding, where rows are written out."""
_FIXED, _DROPPED = "fixed_", "fixed_drop_"
"""How the codes of findings begin that tell what a fix did, or left out."""


class RowFinding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something about some rows."""

    code: str
    severity: Literal["error", "warning", "info"]
    """An error keeps a run from starting."""
    title: str
    cause: str = ""
    remedy: str = ""
    row_count: int = 0
    rows: list[int] = []
    """The first of them; the first row of the dataset is 0."""
    groups: list[list[int]] = []
    """Where rows are like others: each with the one that comes first at its head."""
    patch: dict[str, Any] = {}
    """What does it at one click: dotted field of the spec to its new value."""
    action: str = ""
    """What a button for that says; empty where the values say enough."""
    instead: dict[str, Any] = {}
    """Another patch that does it in another way."""
    instead_action: str = ""
    """What a button for that says."""
    is_done: bool = False
    """Whether it tells what a fix did; the patch undoes it."""


class Packing(msgspec.Struct, frozen=True, kw_only=True):
    """A way to put samples into batches, over one epoch."""

    steps: int
    """Optimizer steps."""
    computed: int
    """Tokens that the model computes, padding among them."""
    waste: float
    """Share of them that is padding, 0 to 1."""


class SourceShare(msgspec.Struct, frozen=True, kw_only=True):
    """One of several datasets in a run."""

    path: str
    rows: int
    """Read from it."""
    trained: int
    """Samples of it in an epoch, repeated ones counted as often as they come."""
    weight: float
    epochs: float
    """How often the run goes through its rows: below 1 where it ends before, or where the weight
    leaves some out."""

    @property
    def name(self) -> str:
        """What people know it by."""
        return self.path.replace("\\", "/").rstrip("/").rpartition("/")[2]

    @property
    def often(self) -> str:
        """The same for people: ``once``, ``2.5 times``."""
        times = f"{self.epochs:.2g}"
        return "once" if times == "1" else f"{times} times"


class DatasetReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Counts are of samples; a sample is a row, or a document for ``pretrain``."""

    data: str
    """Key of the tokens, for :class:`engine.contract.messages.ShowSamples`."""
    method: str
    format: str
    rows: int
    """Read from the file."""
    samples: int
    """Rows that can be rendered."""
    train: int
    """Samples that are trained on; for ``pretrain`` blocks of ``max_length``."""
    held_back: int
    held_border: tuple[str, int] | None = None
    """Hash and place of the last sample that is held back, in that order; None where none is, or
    where blocks are."""
    max_length: int
    tokens: int
    """Of what is trained on, after the cut."""
    trained_tokens: int
    """Of those, the ones that are learnt."""
    longest: int
    """Tokens before the cut."""
    shortest: int
    median: int
    cut: int = 0
    """Samples that are longer than ``max_length``."""
    cut_answers: int = 0
    """Of those, the ones that lose something that would be learnt."""
    duplicates: int = 0
    """Samples that are the same as one before them."""
    near_duplicates: int = 0
    """Samples that are nearly the same as one before them, but not quite."""
    duplicates_across: int = 0
    """Held-back samples that are trained on as well, or nearly."""
    left_out: int = 0
    """Samples that fixes leave out."""
    left_out_rows: list[int] = []
    """Rows of the first of them."""
    languages: dict[str, float] = {}
    """Share of the samples that tell their language, the greatest first."""
    edges: list[int] = []
    """Borders of the bins of the length histogram, in tokens, one more than there are bins."""
    counts: list[int] = []
    """Samples in each bin, from its border up to below the next; in the last one all others."""
    padded: Packing | None = None
    """As the spec has it, without packing."""
    packed: Packing | None = None
    """None for ``pretrain``, whose blocks are full."""
    is_packed: bool = False
    """Whether the run packs them."""
    picks: dict[str, list[int]] = {}
    """Places of samples worth a look: ``longest``, ``shortest``, ``most_cut``, ``untaught``; where
    fixes leave some out ``random``, some of the others."""
    context: int | None = None
    """Most tokens that the model was made for, if it says."""
    in_line: bool = False
    """Whether the samples of a batch lie one behind the other, without padding."""
    findings: list[RowFinding] = []
    sources: list[SourceShare] = []
    """Of several datasets what each gives; empty for one."""
    files: list[FileRows] = []
    """Where the rows of each file begin, in order; none where there are too many files."""
    lines: dict[int, int] = {}
    """Lines of the rows that findings name first, where files have lines and are read quickly."""
    unlearnt: int = 0
    """Rows of which the method learns nothing, such as answers labelled bad."""
    seconds: float = 0.0
    """Taken for the tokens; those of an earlier time are not made again."""
    is_kept: bool = False
    """Whether the tokens were there already."""

    @property
    def kept_places(self) -> Sequence[int]:
        """Places of samples that no fix leaves out, of many some of them."""
        return self.picks.get("random") or range(self.samples)

    def leaves_out(self, row: int) -> bool:
        """Whether a fix leaves the row out, as far as that is known."""
        place = bisect.bisect_left(self.left_out_rows, row)
        return self.left_out_rows[place : place + 1] == [row]

    def fixes_without(self, row: int) -> list[str]:
        """Fixes that may leave the row out, one if it is known which; none if none does, or it is
        beyond the rows that are known."""
        if not self.leaves_out(row):
            return []
        dropped = [f for f in self.findings if f.is_done and f.code.startswith(_DROPPED)]
        sure = [f for f in dropped if row in f.rows]
        may = sure or [f for f in dropped if f.row_count > len(f.rows)]
        return [found.code.removeprefix(_FIXED) for found in may]
