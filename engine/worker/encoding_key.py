"""What tells one tokenised dataset from another: whatever could change a token."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec
import transformers
from transformers import PreTrainedTokenizerBase

import engine
from engine.contract.spec import DatasetSpec, SourceSpec, Spec
from engine.formats.corpus import fingerprints, format_names, stamps
from engine.formats.entries import Reading, readings
from engine.store import encoded
from engine.worker.chat import PLAIN_TEMPLATE


def key_of(
    spec: Spec, tokenizer: PreTrainedTokenizerBase, entries: Sequence[Reading] | None = None
) -> str:
    """Whatever could change a token; ``entries`` are those of the dataset, where they have been
    found. Raises DatasetError."""
    entries = list(readings(spec.dataset)) if entries is None else entries
    known = [
        encoded.FORMAT, engine.__version__, transformers.__version__, spec.method,
        spec.training.seed, spec.dataset.loss_on,
        format_names(entries, spec.method),
        _parts_of(spec.dataset, entries),
        _identity(tokenizer),
        "reencode" in spec.dataset.fixes,  # Other fixes leave rows out, and change none.
    ]  # fmt: skip
    if encoded.words_differ(digest_of(tokenizer)):
        known.append("not by words")  # What was made before that was seen may be wrong.
    return hashlib.sha256(msgspec.json.encode(known)).hexdigest()[:40]


def _identity(tokenizer: PreTrainedTokenizerBase) -> list[Any]:
    template = tokenizer.chat_template or PLAIN_TEMPLATE
    return [
        type(tokenizer).__name__,
        digest_of(tokenizer),
        bool(getattr(tokenizer, "split_special_tokens", False)),
        msgspec.to_builtins(template),
        {name: str(token) for name, token in tokenizer.special_tokens_map.items()},
    ]


def digest_of(tokenizer: PreTrainedTokenizerBase) -> str:
    """Of what makes the tokens. Of a tokenizer in Python nobody can say what that is: its
    tokens are made anew each time."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return secrets.token_hex()
    # As the first call sets them.
    backend.no_truncation()
    backend.no_padding()
    return hashlib.sha256(backend.to_str().encode()).hexdigest()


def _parts_of(dataset: DatasetSpec, found: Sequence[Reading]) -> list[Any]:
    """What decides on the rows, beside how they are weighed. Of large files not every byte is read
    for that."""
    stamp = stamps(found)
    prints = _prints_of(dataset, stamp)
    stamp = stamp if any(p.startswith("sampled-") for p in prints) else []
    entries = [
        [entry.columns, entry.roles, entry.skip_samples, entry.max_samples]
        for entry in dataset.entries
    ]
    return [prints, stamp, entries]


def prints_of(dataset: DatasetSpec) -> list[str]:
    """The fingerprint of each entry; read once, as long as no file changes. Raises DatasetError."""
    return _prints_of(dataset, stamps(readings(dataset)))


def _prints_of(dataset: DatasetSpec, stamp: list[list[int]]) -> list[str]:
    paths = tuple(entry.path for entry in dataset.entries)
    return _prints(paths, tuple(map(tuple, stamp)))


@lru_cache(maxsize=8)
def _prints(paths: tuple[str, ...], stamp: tuple[tuple[int, ...], ...]) -> list[str]:
    return fingerprints(DatasetSpec(sources=[SourceSpec(path=path) for path in paths]))
