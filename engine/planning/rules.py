"""The language of conflict rules: conditions over flat facts, read strictly, never executed.

    training.precision == bf16          a fact, a comparison, a value
    gpu.capability < 8.0                versions and capabilities compare number by number
    training.max_length > config.context
    store.free_gib < 1.5 * run.checkpoint_gib
    run.optimizer in [adamw_8bit, paged_adamw_8bit]
    lora.target_modules contains lm_head

Facts are numbers, booleans, texts, lists of texts, or tuples of numbers (versions). A fact that is
not known, or is not of the kind that it is compared with, makes a condition neither true nor false,
and such a condition lets no rule fire. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

Facts = Mapping[str, Any]

_NAME = r"[a-z][a-z0-9_]*(?:\.[A-Za-z][A-Za-z0-9_]*)+"
_WORD = r"[A-Za-z0-9_+-][A-Za-z0-9_+./-]*"
_CONDITION = re.compile(
    rf"(?P<left>{_NAME}) (?P<compare>==|!=|<=|>=|<|>|in|not in|contains|lacks) "
    rf"(?:(?P<factor>\d+(?:\.\d+)?) \* )?"
    rf"(?:(?P<right>{_NAME})|(?P<word>{_WORD})|\[(?P<list>{_WORD}(?:, {_WORD})*)\])"
)
_REFERENCE = re.compile(rf"\{{({_NAME})\}}")
_NUMBER = re.compile(r"-?\d+(\.\d+)?(e-?\d+)?")
_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda a, b: a == b, "!=": lambda a, b: a != b, "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b, ">": lambda a, b: a > b, ">=": lambda a, b: a >= b,
}  # fmt: skip


class RuleError(ValueError):
    """A condition is not of the language; the text says which and why."""


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """One comparison."""

    left: str
    compare: str
    right: str = ""
    """The fact compared with; empty where it is a value."""
    factor: float = 1.0
    words: tuple[str, ...] = ()
    """The value compared with, or the values of a list, as written."""


def parse(text: str) -> Condition:
    """The condition in a text. Raises :class:`RuleError`."""
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise RuleError(f"{text!r} is no condition.")
    has_list = found["list"] is not None
    if has_list != (found["compare"] in ("in", "not in")):
        raise RuleError(f"{text!r}: a list goes with 'in' and 'not in', and with nothing else.")
    if found["factor"] and not found["right"]:
        raise RuleError(f"{text!r}: a factor goes with a fact.")
    words = found["list"].split(", ") if has_list else [found["word"]] if found["word"] else []
    return Condition(
        left=found["left"],
        compare=found["compare"],
        right=found["right"] or "",
        factor=float(found["factor"] or 1),
        words=tuple(words),
    )


def holds(condition: Condition, facts: Facts) -> bool | None:
    """Whether the condition is true of the facts; None if that cannot be said."""
    left = facts.get(condition.left)
    if left is None:
        return None
    if condition.right:
        right = facts.get(condition.right)
        return None if right is None else _related(left, condition, right)
    if condition.compare in ("contains", "lacks"):
        if not isinstance(left, (list, tuple, frozenset, set)):
            return None
        return (condition.words[0] in left) == (condition.compare == "contains")
    values = [_read(word, left) for word in condition.words]
    if None in values:
        return None
    if condition.compare in ("in", "not in"):
        return (_even(left) in [_even(v) for v in values]) == (condition.compare == "in")
    return _ordered(left, condition.compare, values[0])


def _related(left: Any, condition: Condition, right: Any) -> bool | None:
    if condition.factor != 1:
        if not _is_number(right):
            return None
        right = condition.factor * right
    same = type(left) is type(right) or (_is_number(left) and _is_number(right))
    return _ordered(left, condition.compare, right) if same else None


def _ordered(left: Any, compare: str, right: Any) -> bool | None:
    if compare not in ("==", "!=") and isinstance(left, (bool, str, list)):
        return None
    order = _ORDER.get(compare)
    return None if order is None else order(_even(left), _even(right))


def _read(word: str, like: Any) -> Any:
    """A written value as one of the kind of ``like``; None if it cannot be one."""
    if isinstance(like, bool):
        return {"true": True, "false": False}.get(word)
    if _is_number(like):
        return float(word) if _NUMBER.fullmatch(word) else None
    if isinstance(like, tuple):
        return version(word)
    return word if isinstance(like, str) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _even(value: Any) -> Any:
    """Versions without their trailing zeros, so that 12 is 12.0."""
    if not isinstance(value, tuple):
        return value
    length = len(value)
    while length and value[length - 1] == 0:
        length -= 1
    return value[:length]


def version(text: str) -> tuple[int, ...] | None:
    """``2.13.0+cu128`` as numbers; None if it does not begin with one."""
    found = re.match(r"\d+(\.\d+)*", text)
    return tuple(map(int, found[0].split("."))) if found else None


# ---------------------------------------------------------------- texts with facts in them


def names_in(text: str) -> Iterator[str]:
    """The facts that a text speaks of, such as ``{gpu.name}``."""
    return (found[1] for found in _REFERENCE.finditer(text))


def filled(text: str, facts: Facts) -> str:
    """The text with each ``{fact}`` in words."""
    return _REFERENCE.sub(lambda found: shown(facts.get(found[1])), text)


def filled_value(value: Any, facts: Facts) -> Any:
    """A patch's value: a text that is one ``{fact}`` and nothing else stands for the fact."""
    found = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
    return facts.get(found[1]) if found else value


def shown(value: Any) -> str:
    """A fact for people."""
    if isinstance(value, tuple):
        return ".".join(map(str, value))
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "?"}[value]
    if isinstance(value, int):
        return f"{value:,}".replace(",", " ") if value >= 10_000 else str(value)
    return f"{value:.3g}" if isinstance(value, float) else str(value)
