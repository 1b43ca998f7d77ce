"""Turns the numbers of one trace into formulas of batch, length and rank.

The meta device computes nothing, so a step may be traced at any size. It is traced at sizes that
are primes which divide no dimension of the model: then the factors of a number of bytes say which
sizes it is a product of, and one trace gives every coefficient exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache

import msgspec
import numpy as np

from engine.planning.form import Coefficients

MONOMIALS = 9
"""Of :meth:`engine.planning.form.Point.monomials`."""
_ROWS = 8
_USUAL_KEY, _LEAST_KEY = 71, 17
"""Small primes divide more dimensions."""
_USUAL_LINE, _LEAST_LINE = 200, 11
_PLACES = {
    (0, 0, 0): 0, (1, 0, 0): 1, (1, 1, 0): 2, (1, 2, 0): 3, (0, 0, 1): 4, (1, 1, 1): 5,
    (0, 1, 0): 6, (0, 2, 0): 7,
}  # fmt: skip
"""Exponents of batch, length and rank to the place of their product."""
_BATCHES = (11, 13, 17, 19, 23, 29, 31)


class CannotTrace(ValueError):
    """The step does not have the form of a sum of products of its sizes."""


class Sizes(msgspec.Struct, frozen=True, kw_only=True):
    """Where a step is traced. ``length`` is ``times``·``key`` + 1, so that the positions that
    predict, one fewer, are known by a prime too; in a ``line``, where all rows are one, the whole
    of it is. ``rows`` of the head are computed at once."""

    batch: int
    length: int
    rank: int
    key: int
    times: int
    rows: int
    line: bool = False

    def formula(self, number: int) -> np.ndarray:
        """The coefficients of a number of bytes or operations. Raises CannotTrace."""
        return _formula(self, number)


@cache
def _formula(sizes: Sizes, number: int) -> np.ndarray:
    found = np.zeros(MONOMIALS)
    if number == 0:
        return found
    left, rows = _divide(number, sizes.rows, 1)
    if rows:
        # In a line too, since a sample's first token is no target.
        found[_ROWS] = left
        return found
    left, rank = _divide(left, sizes.rank, 1) if sizes.rank else (left, 0)
    left, batch = _divide(left, sizes.batch, 1) if sizes.batch > 1 else (left, 0)
    left, length = _divide(left, sizes.length, 3)
    left, shifted = _divide(left, sizes.key, 2)
    if left % sizes.times**shifted:
        # By chance, as for the norms of so many gradients.
        left, shifted = left * sizes.key**shifted, 0
    left //= sizes.times**shifted
    for power, factor in _expanded(length, shifted):
        rows = batch + (power - length) * sizes.line
        found[_place(sizes, rows, power, rank, number)] += factor * left
    return found


def _place(sizes: Sizes, batch: int, power: int, rank: int, number: int) -> int:
    if sizes.batch == 1 and power:
        batch = 1
    place = _PLACES.get((batch, power, rank))
    if place is None:
        raise CannotTrace(f"{number} grows with another product of the sizes than any known.")
    return place


def _divide(number: int, by: int, times: int) -> tuple[int, int]:
    """The number without the factor ``by``, and how often it was in it."""
    count = 0
    while count < times and number % by == 0:
        number //= by
        count += 1
    return number, count


def _expanded(length: int, shifted: int) -> Iterator[tuple[int, int]]:
    """Powers of s and their factors in s^length · (s - 1)^shifted; in a line s - 1 is b·s - 1."""
    factors = {0: [(0, 1)], 1: [(1, 1), (0, -1)], 2: [(2, 1), (1, -2), (0, 1)]}[shifted]
    return ((power + length, factor) for power, factor in factors)


def choose(
    dimensions: Iterable[int], *, batch: bool, rank: int, at_least: int = 0,
    at_most: int | None = None, line: bool = False,
) -> Sizes:  # fmt: skip
    """Sizes that none of a model's dimensions is a multiple of, with more than one row in a batch
    or one only, and rows of ``at_least`` to ``at_most`` tokens, one behind the other in a ``line``.
    Raises CannotTrace if there are none."""
    taken = {int(dimension) for dimension in dimensions} | {rank}

    def is_free(number: int) -> bool:
        return _is_prime(number) and not any(d and d % number == 0 for d in taken)

    longest = at_most or 1_000_000
    if line and batch:
        usual = _USUAL_LINE if longest > 2 * _USUAL_LINE else _LEAST_LINE
        return _choose_line(is_free, max(at_least, usual), longest, rank)
    for at_least_key in (_USUAL_KEY, _LEAST_KEY):
        for key, times in _keys(at_least_key, at_least, longest):
            length = times * key + 1
            if not (is_free(key) and is_free(length)):
                continue
            for rows_in in _BATCHES if batch else (1,):
                # One row more than fits into a tile: then all tiles but the last are full, and
                # the last is next to nothing.
                rows = times * key * rows_in - 1
                if is_free(rows) and (rows_in == 1 or is_free(rows_in)):
                    return Sizes(
                        batch=rows_in, length=length, rank=rank, key=key, times=times, rows=rows
                    )  # fmt: skip
    raise CannotTrace("There are no sizes at which this model could be traced.")


def _choose_line(is_free: Callable[[int], bool], at_least: int, at_most: int, rank: int) -> Sizes:
    for length in range(at_least, min(at_most, at_least + 20_000) + 1):
        for batch in _BATCHES if is_free(length) else ():
            predict = batch * length - 1
            for times in (2, 4, 6, 8, 10, 12):
                key, rest = divmod(predict, times)
                if not rest and all(map(is_free, (key, batch, predict - 1))):
                    return Sizes(
                        batch=batch, length=length, rank=rank, key=key, times=times,
                        rows=predict - 1, line=True,
                    )  # fmt: skip
    raise CannotTrace("There are no sizes at which this model could be traced.")


def _keys(least: int, at_least: int, at_most: int) -> Iterator[tuple[int, int]]:
    """Candidates for ``key`` and ``times``. Of three numbers next to each other that hold primes
    on both sides, the middle one is a multiple of 6."""
    for times in (6, 12, 18, 24, 30):
        begin = max(least, at_least // times + 1)
        yield from ((key, times) for key in range(begin, min((at_most - 1) // times + 1, 20_000)))


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % d for d in range(2, int(number**0.5) + 1))


def as_coefficients(values: np.ndarray) -> Coefficients:
    """For a form: without zeros at the end."""
    numbers = [float(value) for value in np.round(values, 6)]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)
