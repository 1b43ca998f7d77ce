"""What is known to go wrong: each problem is found by its words, and not by others."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine.contract.patching import patched
from engine.contract.validate import check
from engine.diagnosis import Diagnosis, Evidence, diagnose, problems
from engine.diagnosis.problems import ProblemError
from tests.unit.problem_cases import CASES, evidence_of

PROBLEMS = {problem.id: problem for problem in problems.load()}


def found_in(case: dict[str, Any]) -> list[Diagnosis]:
    return diagnose(evidence_of(case))


# ---------------------------------------------------------------- each problem


def test_there_are_many_problems_and_each_has_its_cases() -> None:
    assert len(PROBLEMS) >= 112
    assert set(CASES) == set(PROBLEMS)


@pytest.mark.parametrize("id", CASES)
def test_a_problem_is_found_by_its_message(id: str) -> None:
    found = found_in(CASES[id]["yes"])
    assert [each.id for each in found][:1] == [id]
    best = found[0]
    assert best.why
    for text in (best.title, best.cause, best.remedy):
        assert "{" not in text
        assert text.endswith((".", "…"))


@pytest.mark.parametrize("id", CASES)
def test_a_problem_is_not_found_by_what_only_looks_like_it(id: str) -> None:
    assert id not in [each.id for each in found_in(CASES[id]["no"])]


@pytest.mark.parametrize("id", CASES)
def test_a_patch_makes_a_sound_spec(id: str) -> None:
    for fix in PROBLEMS[id].fixes:
        assert fix.patch
    evidence = evidence_of(CASES[id]["yes"])
    for each in diagnose(evidence):
        if each.patch:
            spec, complaints = check(patched(evidence.spec, [each.patch]))
            assert (spec is not None, complaints) == (True, [])
            assert patched(evidence.spec, [each.patch]) != evidence.spec
