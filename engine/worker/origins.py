"""Where a sample comes from, for people: file, row and line."""

from __future__ import annotations

from engine.contract.spec import Spec
from engine.formats import corpus
from engine.worker.samples import Samples


def place_of(spec: Spec, samples: Samples, index: int) -> str:
    """``row 17 (line 18) of chats.jsonl``."""
    if samples.origins is None:
        return f"block {index + 1} of the text"
    return corpus.place_of(spec.dataset, int(samples.origins[index]))
