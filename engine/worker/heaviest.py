"""Which of a run's batches are the heaviest: the run's own order is gone through, nothing is
guessed. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from engine.worker import large
from engine.worker.schedule import Schedule, Turn, in_batches

Lengths: TypeAlias = Sequence[int] | npt.NDArray[np.int64]

WINDOWS_LOOKED_AT = 200_000
"""Steps of the run that are gone through; the heaviest batch of so many is hardly surpassed."""


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """What a batch looks like to the model, padding included."""

    rows: int
    width: int
    """Tokens of its longest row, or of all rows where they lie in one line."""
    one_line: bool = False

    @property
    def weight(self) -> tuple[int, int]:
        """Sorts batches by the memory they need: padded tokens, then length, for attention."""
        return (self.width if self.one_line else self.rows * self.width), self.width

    @property
    def length(self) -> int:
        """Tokens of a row: as many rows of this length take as much."""
        return -(-self.width // self.rows) if self.one_line else self.width


class Pick(msgspec.Struct, frozen=True, kw_only=True):
    """The steps of a run that are worth trying."""

    windows: list[list[int]]
    """Rows of the heaviest steps, in the order in which to try them."""
    shape: Shape
    """Of the heaviest batch."""
    ordinary: list[int]
    """Rows of the step that is nearest to the mean."""
    mean: float
    """Padded tokens of a step, as a multiple of those of the ordinary one."""


class Chosen(Schedule, frozen=True, kw_only=True):
    """These steps over and over, in place of the run's own order."""

    windows: list[list[int]]
    steps: int

    @property
    def total_steps(self) -> int:
        """Steps at which it ends at the latest."""
        return self.steps

    def turns(self, cursor: int = 0) -> Iterator[Turn]:
        """Steps from the cursor on, which counts steps here."""
        while True:
            rows = self.windows[cursor % len(self.windows)]
            cursor += 1
            yield Turn(rows=rows, cursor=cursor, epoch=0.0)


def shape_of(lengths: Lengths, *, one_line: bool = False) -> Shape:
    """The batch of rows with these lengths."""
    if one_line:
        return Shape(rows=len(lengths), width=int(sum(lengths)), one_line=True)
    return Shape(rows=len(lengths), width=int(max(lengths)))


def pick(
    lengths: Lengths, schedule: Schedule, size: int, *, targets: Lengths | None = None,
    one_line: bool = False,
) -> Pick:  # fmt: skip
    """The heaviest steps of a run with rows of these lengths, in batches of at most ``size``;
    ``targets`` are the tokens of each row that are learnt, all of them if left out.

    The first comes twice: only from the second step on is the optimizer's state there. If its
    heavy batch is the first of the step, when no gradients are there yet, the step with the
    heaviest later batch follows. If another has more to learn, it follows too: the model's head
    takes more for it.
    """
    steps = _Steps(lengths, lengths if targets is None else targets, size, one_line=one_line)
    best = steps.best(schedule)
    mean = sum(best.sums) / len(best.sums)
    nearest = min(range(len(best.sums)), key=lambda place: abs(best.sums[place] - mean))
    shapes = steps.shapes(best.heaviest)
    top = max(shapes, key=lambda shape: shape.weight)
    windows = [best.heaviest, best.heaviest]
    if best.later and all(shape.weight < top.weight for shape in shapes[1:]):
        windows.append(best.later)
    if steps.most_learnt(best.learnt) > max(map(steps.most_learnt, windows)):
        windows.append(best.learnt)
    return Pick(
        windows=windows, shape=top, ordinary=_turn(schedule, nearest),
        mean=mean / best.sums[nearest],
    )  # fmt: skip


def _turn(schedule: Schedule, place: int) -> list[int]:
    return next(islice(schedule.turns(), place, None)).rows


class _Best(NamedTuple):
    """Rows of the steps of a run that stand out."""

    heaviest: list[int]
    """With the heaviest batch."""
    later: list[int]
    """With the heaviest batch but for the first of each step; empty if steps have only one."""
    learnt: list[int]
    """With the batch of which most is learnt."""
    sums: list[int]
    """Padded tokens of every step."""


class _Steps:
    """Goes through the steps of a run."""

    def __init__(self, lengths: Lengths, targets: Lengths, size: int, *, one_line: bool) -> None:
        self._lengths = lengths
        self._targets = targets
        self._size = size
        self._one_line = one_line

    def shapes(self, rows: Sequence[int]) -> list[Shape]:
        """The batches of one step."""
        return [
            shape_of([self._lengths[row] for row in part], one_line=self._one_line)
            for part in in_batches(rows, self._lengths, self._size)
        ]  # fmt: skip

    def most_learnt(self, rows: Sequence[int]) -> int:
        """Tokens that are learnt of one batch of a step, at most."""
        parts = in_batches(rows, self._lengths, self._size)
        return max(sum(int(self._targets[row]) for row in part) for part in parts)

    def best(self, schedule: Schedule) -> _Best:
        """The steps that stand out."""
        heaviest: tuple[tuple[int, int], list[int]] = ((0, 0), [])
        later: tuple[tuple[int, int], list[int]] = ((0, 0), [])
        learnt: tuple[int, list[int]] = (-1, [])
        sums = []
        count = min(schedule.total_steps, WINDOWS_LOOKED_AT)
        for turn in islice(schedule.turns(), count):
            weights = [shape.weight for shape in self.shapes(turn.rows)]
            sums.append(sum(cells for cells, _ in weights))
            if max(weights) > heaviest[0]:
                heaviest = max(weights), turn.rows
            if len(weights) > 1 and max(weights[1:]) > later[0]:
                later = max(weights[1:]), turn.rows
            if (most := self.most_learnt(turn.rows)) > learnt[0]:
                learnt = most, turn.rows
            for numbers in (self._lengths, self._targets):
                if isinstance(numbers, np.ndarray):
                    large.give_back(numbers)
        return _Best(heaviest[1], later[1], learnt[1], sums)


def heaviest_batches(
    lengths: Lengths, targets: Lengths, size: int, *, one_line: bool = False
) -> list[int]:
    """Rows of the heaviest batch of an evaluation, which goes through the rows in order, and of the
    one of which most is learnt, if that is another; empty if there are none."""
    if not len(lengths):
        return []

    def weight(at: int) -> tuple[tuple[int, int], int]:
        return shape_of(lengths[at : at + size], one_line=one_line).weight, at

    def learnt(at: int) -> int:
        return int(sum(targets[at : at + size]))

    # Of equally heavy ones the last.
    places = range(0, len(lengths), size)
    heavy, most = max(places, key=weight), max(places, key=learnt)
    # The last one may have fewer rows than others, and stays the last.
    chosen = {heavy, most} if learnt(most) > learnt(heavy) else {heavy}
    return [row for at in sorted(chosen) for row in range(at, min(at + size, len(lengths)))]


def padded_tokens(lengths: Lengths, size: int, *, one_line: bool = False) -> int:
    """Of a whole evaluation, padding included."""
    return sum(
        shape_of(lengths[at : at + size], one_line=one_line).weight[0]
        for at in range(0, len(lengths), size)
    )
