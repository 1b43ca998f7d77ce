"""Texts become token ids, each with a flag that says whether it is learnt."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from transformers import PreTrainedTokenizerBase

from engine.worker.chat import Rendered, Span

BATCH = 256
Encoded = tuple[list[int], list[bool]]


def encode_all(tokenizer: PreTrainedTokenizerBase, texts: Iterable[Rendered]) -> Iterator[Encoded]:
    """Ids and flags of each text, in order, made in batches."""
    source = iter(texts)
    while batch := list(islice(source, BATCH)):
        yield from _encode_batch(tokenizer, batch)


def _encode_batch(
    tokenizer: PreTrainedTokenizerBase, batch: Sequence[Rendered]
) -> Iterator[Encoded]:
    special = batch[0].special_tokens
    if any(item.special_tokens != special for item in batch):
        for item in batch:
            yield from _encode_batch(tokenizer, [item])
        return
    needs_places = any(item.spans is not None for item in batch)
    found = tokenizer(
        [item.text for item in batch],
        add_special_tokens=special,
        return_offsets_mapping=needs_places,
        return_attention_mask=False,
    )
    for place, item in enumerate(batch):
        ids: list[int] = found["input_ids"][place]
        if item.spans is None:
            yield ids, [True] * len(ids)
        else:
            yield ids, learnt(found["offset_mapping"][place], item.spans)


def learnt(offsets: Sequence[Span], spans: Sequence[Span]) -> list[bool]:
    """A token is learnt if any of its characters lies in a span. Spans are in order."""
    flags = [False] * len(offsets)
    for begin, end in spans:
        for place, (first, last) in enumerate(offsets):
            if first < end and last > begin:
                flags[place] = True
    return flags


def closing_id(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The token that ends a document; None if the model has none."""
    found = tokenizer.eos_token_id
    return int(found) if found is not None else None


def close(encoded: Encoded, end_id: int | None) -> Encoded:
    """The text with its end token, learnt: one of its own, or the one that is there already if it
    closes what is learnt."""
    ids, flags = encoded
    if end_id is None:
        return encoded
    if not ids or ids[-1] != end_id:
        return [*ids, end_id], [*flags, True]
    # One that the tokenizer put there has no characters, and so lies in no span.
    closes = len(flags) > 1 and flags[-2]
    return ids, [*flags[:-1], flags[-1] or closes]


def cut(encoded: Encoded, max_length: int) -> Encoded:
    """At most the first ``max_length`` tokens."""
    ids, flags = encoded
    return ids[:max_length], flags[:max_length]
