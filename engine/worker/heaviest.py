"""Which of a run's batches are the heaviest: the run's own order is gone through, nothing is
guessed. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TypeAlias

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


def pick(lengths: Lengths, schedule: Schedule, size: int, *, one_line: bool = False) -> Pick:
    """The heaviest steps of a run with rows of these lengths, in batches of at most ``size``.

    The first comes twice: only from the second step on is the optimizer's state there. If its
    heavy batch is the first of the step, when no gradients are there yet, the step with the
    heaviest later batch follows.
    """
    steps = _Steps(lengths, size, one_line=one_line)
    heaviest, later, sums = steps.best(schedule)
    mean = sum(sums.values()) / len(sums)
    nearest = min(sums, key=lambda place: abs(sums[place] - mean))
    shapes = steps.shapes(heaviest)
    top = max(shapes, key=lambda shape: shape.weight)
    windows = [heaviest, heaviest]
    if later and all(shape.weight < top.weight for shape in shapes[1:]):
        windows.append(later)
    return Pick(
        windows=windows, shape=top, ordinary=_turn(schedule, nearest), mean=mean / sums[nearest]
    )


def _turn(schedule: Schedule, place: int) -> list[int]:
    return next(islice(schedule.turns(), place, None)).rows


class _Steps:
    """Goes through the steps of a run."""

    def __init__(self, lengths: Lengths, size: int, *, one_line: bool) -> None:
        self._lengths = lengths
        self._size = size
        self._one_line = one_line

    def shapes(self, rows: Sequence[int]) -> list[Shape]:
        """The batches of one step."""
        return [
            shape_of([self._lengths[row] for row in part], one_line=self._one_line)
            for part in in_batches(rows, self._lengths, self._size)
        ]  # fmt: skip

    def best(self, schedule: Schedule) -> tuple[list[int], list[int], dict[int, int]]:
        """The step with the heaviest batch, that with the heaviest batch but for the first of each
        step (empty if steps have only one), and the padded tokens of every step."""
        heaviest: tuple[tuple[int, int], list[int]] = ((0, 0), [])
        later: tuple[tuple[int, int], list[int]] = ((0, 0), [])
        sums = {}
        count = min(schedule.total_steps, WINDOWS_LOOKED_AT)
        for place, turn in enumerate(islice(schedule.turns(), count)):
            weights = [shape.weight for shape in self.shapes(turn.rows)]
            if isinstance(self._lengths, np.ndarray):
                large.give_back(self._lengths)
            sums[place] = sum(cells for cells, _ in weights)
            if max(weights) > heaviest[0]:
                heaviest = max(weights), turn.rows
            if len(weights) > 1 and max(weights[1:]) > later[0]:
                later = max(weights[1:]), turn.rows
        return heaviest[1], later[1], sums


def longest_batch(lengths: Lengths, size: int, *, one_line: bool = False) -> list[int]:
    """The heaviest batch of an evaluation, which goes through the rows in order; empty if there
    are none."""

    def weight(at: int) -> tuple[tuple[int, int], int]:
        return shape_of(lengths[at : at + size], one_line=one_line).weight, at

    # Of equally heavy ones the last.
    first = max(range(0, len(lengths), size), key=weight, default=0)
    return list(range(first, min(first + size, len(lengths))))


def padded_tokens(lengths: Lengths, size: int, *, one_line: bool = False) -> int:
    """Of a whole evaluation, padding included."""
    return sum(
        shape_of(lengths[at : at + size], one_line=one_line).weight[0]
        for at in range(0, len(lengths), size)
    )
