"""Rows of tokens that are like others, and what is true of them by plain sets."""

from __future__ import annotations

import numpy as np

from engine.worker.near_copies import RUN

Row = np.ndarray


def drawn(chance: np.random.Generator, length: int) -> Row:
    return chance.integers(0, 30_000, length).astype(np.int32)


def changed(chance: np.random.Generator, row: Row, count: int) -> Row:
    other = row.copy()
    other[chance.choice(len(row), count, replace=False)] = drawn(chance, count)
    return other


def edited(chance: np.random.Generator, row: Row, kind: int) -> Row:
    """The row with something else at its begin, at its end, within, or in several places."""
    cut, more = int(chance.integers(1, 9)), drawn(chance, int(chance.integers(0, 9)))
    at = int(chance.integers(0, len(row) - cut + 1))
    match kind:
        case 0:
            return np.concatenate([more, row[cut:]])
        case 1:
            return np.concatenate([row[:-cut], more])
        case 2:
            return np.concatenate([row[:at], more, row[at + cut :]])
        case 3:
            return changed(chance, row, cut)
        case _:
            return np.concatenate([row[:at], row[at:][::-1], row[: cut * 4]])


def resemblance(one: Row, other: Row) -> float:
    """By plain sets."""
    runs = [{tuple(row[at : at + RUN]) for at in range(len(row) - RUN + 1)} for row in (one, other)]
    return len(runs[0] & runs[1]) / len(runs[0] | runs[1])


def counted(row: Row, learnt: np.ndarray, common: set[tuple[int, ...]]) -> set[tuple[int, ...]]:
    """Its runs by plain sets: those that are common count where they are learnt."""
    runs = [tuple(row[at : at + RUN].tolist()) for at in range(len(row) - RUN + 1)]
    return {
        run for at, run in enumerate(runs) if run not in common or learnt[at + RUN - 1]
    }  # fmt: skip
