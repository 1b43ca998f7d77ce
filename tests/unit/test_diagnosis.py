"""What is known to go wrong: each problem is found by its words, and not by others."""

from __future__ import annotations

from typing import Any

import pytest

from engine.contract.patching import patched
from engine.contract.validate import check
from engine.diagnosis import Diagnosis, diagnose, problems
from tests.unit.problem_cases import CASES, Mixed, blocks, cases, embedded, evidence_of, mixed

PROBLEMS = {problem.id: problem for problem in problems.load()}


def found_in(case: dict[str, Any]) -> list[Diagnosis]:
    return diagnose(evidence_of(case))


# ---------------------------------------------------------------- each problem


def test_there_are_many_problems_and_each_has_its_cases() -> None:
    assert len(PROBLEMS) >= 112
    assert set(CASES) == set(PROBLEMS)


@pytest.mark.parametrize(("id", "case"), cases("yes"))
def test_a_problem_is_found_by_its_message(id: str, case: dict[str, Any]) -> None:
    found = found_in(case)
    assert [each.id for each in found][:1] == [id]
    best = found[0]
    assert best.why
    for text in (best.title, best.cause, best.remedy):
        assert "{" not in text
        assert text.endswith((".", "…"))


@pytest.mark.parametrize(("id", "case"), cases("no"))
def test_a_problem_is_not_found_by_what_only_looks_like_it(id: str, case: dict[str, Any]) -> None:
    assert id not in [each.id for each in found_in(case)]


@pytest.mark.parametrize(("id", "case"), cases("yes"))
def test_a_patch_makes_a_sound_spec(id: str, case: dict[str, Any]) -> None:
    for fix in PROBLEMS[id].fixes:
        assert fix.patch
    evidence = evidence_of(case)
    for each in diagnose(evidence):
        if each.patch:
            spec, complaints = check(patched(evidence.spec, [each.patch]))
            assert (spec is not None, complaints) == (True, [])
            assert patched(evidence.spec, [each.patch]) != evidence.spec


# ---------------------------------------------------------------- whole logs

NOISE = blocks("noise.txt")
HEALTHY = blocks("healthy.txt")
MIX = mixed()


def first_id(mix: Mixed, seed: int) -> str:
    """What comes first for an end that is embedded in noise."""
    log = embedded(mix.text, NOISE, seed, after=mix.has_noise_after)
    found = diagnose(evidence_of({**mix.case, "log": log}))
    return found[0].id if found else "none"


def test_the_right_cause_comes_first_in_long_logs() -> None:
    assert len(MIX) >= 40
    wrong = {
        (number, mix.id): got
        for number, mix in enumerate(MIX)
        for seed in range(3)
        if (got := first_id(mix, 1000 * seed + number)) != mix.id
    }
    right = 1 - len(wrong) / len(MIX)
    assert right >= 0.95, wrong


ENDS: dict[str, dict[str, Any]] = {
    "goes on": {}, "finished": {"exit": 0}, "exit code 1": {"exit": 1},
}  # fmt: skip


@pytest.mark.parametrize("end", ENDS)
def test_a_healthy_log_gives_no_finding(end: str) -> None:
    assert len(HEALTHY) >= 20
    logs = [*HEALTHY, *(embedded(log, NOISE, n) for n, log in enumerate(HEALTHY))]
    found = {n: diagnose(evidence_of({**ENDS[end], "log": log})) for n, log in enumerate(logs)}
    assert {n: [each.id for each in ids] for n, ids in found.items() if ids} == {}


def test_a_healthy_log_says_nothing_of_a_worker_that_was_killed() -> None:
    for log in HEALTHY:
        found = diagnose(evidence_of({"exit": -9, "log": log}))
        assert [each.id for each in found] == ["host_oom_killer"], log
