from __future__ import annotations

import importlib
from typing import get_args, get_type_hints

import pytest

from engine.contract.spec import Spec
from engine.methods.registry import METHODS


def test_every_method_of_the_spec_is_there() -> None:
    assert set(METHODS) == set(get_args(get_type_hints(Spec)["method"]))


@pytest.mark.parametrize("name", METHODS)
def test_a_method_has_its_parts(name: str) -> None:
    method = METHODS[name]
    assert method.name == name
    assert method.title
    assert method.description.endswith(".")
    assert method.formats
    heavy = importlib.import_module(f"engine.methods.{name}.train")
    assert callable(heavy.prepare)
    assert heavy.Trainer.__mro__[1].__name__ == "Bridge"
