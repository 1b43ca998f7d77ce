"""The tokens that a spec names, beside those that the model's tokenizer knows. Reads files."""

from __future__ import annotations

import contextlib
import difflib
from pathlib import Path
from typing import Any

import msgspec

from engine.contract.messages import Complaint
from engine.planning.chat_templates import TOKENIZER

FIELD = "lora.trainable_tokens"
_BESIDE = ("tokenizer_config.json", "added_tokens.json", "special_tokens_map.json")
"""Where transformers finds more tokens; what these hold at all is taken for known."""
_MOST_BYTES = 64 << 20
"""Of a file that is read for it; that of a vocabulary of 256 000 has 35 MB."""
_SHOWN = 5


def complaints(tokens: list[str], folder: Path) -> list[Complaint]:
    """What is wrong with the tokens for the model in this folder; nothing where its files do not
    let it be told."""
    found = _read(folder / TOKENIZER)
    try:
        added = {str(token["content"]) for token in found["added_tokens"]}
        vocabulary = found["model"]["vocab"]
        # A unigram model lists each with its score.
        names = vocabulary if isinstance(vocabulary, dict) else {name for name, _ in vocabulary}
    except (KeyError, TypeError, ValueError):
        return []
    strange = [token for token in dict.fromkeys(tokens) if not (token in names or token in added)]
    if strange:
        beside = set().union(*(_texts(_read(folder / name)) for name in _BESIDE))
        added |= beside
        strange = [token for token in strange if token not in beside]
    return [_unknown(strange, sorted(added))] if strange else []


def _unknown(strange: list[str], added: list[str]) -> Complaint:
    listed = ", ".join(repr(token[:40]) for token in strange[:_SHOWN])
    more = f" and {len(strange) - _SHOWN} more" if len(strange) > _SHOWN else ""
    near = [found[0] for token in strange if (found := difflib.get_close_matches(token, added, 1))]
    guess = f"Perhaps you meant {' and '.join(map(repr, dict.fromkeys(near)))}. " if near else ""
    return Complaint(
        field=FIELD,
        problem=f"The model's tokenizer has no token {listed}{more}.",
        remedy=f"{guess}Write it as in the model's {TOKENIZER}, or take it out of the list.",
    )


def _read(path: Path) -> Any:
    with contextlib.suppress(OSError, msgspec.DecodeError, RecursionError):
        if path.stat().st_size <= _MOST_BYTES:
            return msgspec.json.decode(path.read_bytes())
    return None


def _texts(value: Any) -> set[str]:
    """All texts in it, names of fields as well."""
    if isinstance(value, str):
        return {value}
    if isinstance(value, dict):
        return set(value).union(*map(_texts, value.values()))
    return set().union(*map(_texts, value)) if isinstance(value, list) else set()
