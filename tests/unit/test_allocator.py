"""The rules of torch's caching allocator, by hand, and that nothing is lost whatever comes."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from engine.planning.allocator import MIB, Allocator, replay


def test_requests_are_rounded_and_cut_from_segments() -> None:
    allocator = Allocator()
    allocator.allocate(1, 1)
    assert (allocator.allocated, allocator.reserved) == (512, 2 * MIB)
    allocator.allocate(2, MIB)
    assert allocator.reserved == 2 * MIB
    allocator.allocate(3, MIB + 1)
    assert allocator.reserved == 22 * MIB
    allocator.allocate(4, 10 * MIB)
    assert allocator.reserved == 22 * MIB, "cut from what the segment had left"
    allocator.allocate(5, 11 * MIB + 1)
    assert allocator.reserved == 34 * MIB


def test_what_is_given_back_is_joined_and_used_again() -> None:
    allocator = Allocator()
    for key in range(4):
        allocator.allocate(key, 5 * MIB)
    assert allocator.reserved == 20 * MIB
    for key in (0, 2, 1):
        allocator.free(key)
    allocator.allocate(9, 15 * MIB)
    assert allocator.reserved == 20 * MIB
    allocator.free(77)
    assert allocator.allocated == 20 * MIB


def test_the_best_fit_is_taken_and_holes_cost() -> None:
    sizes = [30 * MIB, 12 * MIB, 11 * MIB, 29 * MIB]
    asked, reserved = replay(sizes, [(0, 1), (1, 1), (0, -1), (1, -1), (2, 1), (3, 1)])
    assert (asked, reserved) == (42 * MIB, 42 * MIB)
    asked, reserved = replay([30 * MIB, 40 * MIB], [(0, 1), (0, -1), (1, 1)])
    assert (asked, reserved) == (40 * MIB, 70 * MIB)


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 40 * MIB)), max_size=60))
def test_it_never_holds_less_than_is_in_use(steps: list[tuple[int, int]]) -> None:
    allocator, alive = Allocator(), {}
    for key, size in steps:
        if key in alive:
            allocator.free(key)
            del alive[key]
        else:
            allocator.allocate(key, size)
            alive[key] = size
        assert sum(alive.values()) <= allocator.allocated <= allocator.reserved
    for key in alive:
        allocator.free(key)
    assert allocator.allocated == 0
