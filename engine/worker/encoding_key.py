"""What tells one tokenised dataset from another: whatever could change a token."""

from __future__ import annotations

import hashlib
import secrets
from typing import Any

import msgspec
import transformers
from transformers import PreTrainedTokenizerBase

import engine
from engine.contract.spec import Spec
from engine.formats import source as sources
from engine.formats.dataset import dataset_of, fingerprint
from engine.store import encoded
from engine.worker.chat import PLAIN_TEMPLATE


def key_of(spec: Spec, tokenizer: PreTrainedTokenizerBase) -> str:
    """Whatever could change a token. Raises DatasetError."""
    known = [
        encoded.FORMAT, engine.__version__, transformers.__version__, spec.method,
        spec.training.seed, spec.dataset.loss_on,
        dataset_of(spec.dataset.path, spec.dataset.format, spec.method),
        _print_of(spec.dataset.path),
        _identity(tokenizer),
    ]  # fmt: skip
    return hashlib.sha256(msgspec.json.encode(known)).hexdigest()[:40]


def _identity(tokenizer: PreTrainedTokenizerBase) -> list[Any]:
    template = tokenizer.chat_template or PLAIN_TEMPLATE
    return [
        type(tokenizer).__name__,
        _inside(tokenizer),
        bool(getattr(tokenizer, "split_special_tokens", False)),
        msgspec.to_builtins(template),
        {name: str(token) for name, token in tokenizer.special_tokens_map.items()},
    ]


def _inside(tokenizer: PreTrainedTokenizerBase) -> str:
    """Digest of what makes the tokens. Of a tokenizer in Python nobody can say what that is: its
    tokens are made anew each time."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return secrets.token_hex()
    # As the first call sets them.
    backend.no_truncation()
    backend.no_padding()
    return hashlib.sha256(backend.to_str().encode()).hexdigest()


def _print_of(path: str) -> list[Any]:
    """What tells two contents of a file apart. Of a large one not every byte is read for it."""
    digest = fingerprint(path)
    return [digest, stamp_of(path)] if digest.startswith("sampled-") else [digest]


def stamp_of(path: str) -> list[int]:
    """What changes when a file does, found without reading it. Raises DatasetError."""
    found = sources.find(path).path.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ino]
