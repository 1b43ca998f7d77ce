"""Texts become token ids, each with a flag that says whether it is learnt."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt
from tokenizers import Encoding
from transformers import PreTrainedTokenizerBase

from engine.worker.chat import Rendered, Span
from engine.worker.quick_tokenizer import QuickTokenizer
from engine.worker.samples import Flags, Ids

BATCH = 256
Places = npt.NDArray[np.int64]
AnyTokenizer: TypeAlias = PreTrainedTokenizerBase | QuickTokenizer


class Encoded(msgspec.Struct, frozen=True):
    """A text as tokens."""

    ids: Ids
    flags: Flags
    """Whether each is learnt."""
    places: Places | None = None
    """From and up to which character of the text each goes, shape (tokens, 2); None if nobody
    asked."""


def encode_all(
    tokenizer: AnyTokenizer, texts: Iterable[Rendered], *, always_places: bool = False
) -> Iterator[Encoded]:
    """The tokens of each text, in order, made in batches."""
    source = iter(texts)
    while batch := list(islice(source, BATCH)):
        yield from encode(tokenizer, batch, always_places=always_places)


def encode(
    tokenizer: AnyTokenizer, batch: Sequence[Rendered], *, always_places: bool = False
) -> Iterator[Encoded]:
    """The tokens of each text of one batch, in order. ``always_places`` also where all is
    learnt; a tokenizer without a quick form knows none then."""
    special = batch[0].special_tokens
    if any(item.special_tokens != special for item in batch):
        for item in batch:
            yield from encode(tokenizer, [item], always_places=always_places)
        return
    words = tokenizer.words if isinstance(tokenizer, QuickTokenizer) else None
    if words is None:
        yield from _asked(tokenizer, batch, always_places=always_places)
        return
    found = [words.of(item.text, add_special_tokens=special) for item in batch]
    others = [item for item, made in zip(batch, found, strict=True) if made is None]
    asked = _asked(tokenizer, others, always_places=always_places) if others else iter(())
    for item, made in zip(batch, found, strict=True):
        yield next(asked) if made is None else _flagged(item, *made, keeps_places=always_places)


def _flagged(item: Rendered, ids: Ids, places: Places, *, keeps_places: bool) -> Encoded:
    is_learnt = np.ones(len(ids), np.bool_) if item.spans is None else learnt(places, item.spans)
    return Encoded(ids, is_learnt, places if keeps_places else None)


def _asked(
    tokenizer: AnyTokenizer, batch: Sequence[Rendered], *, always_places: bool
) -> Iterator[Encoded]:
    """The same by the tokenizer itself."""
    special = batch[0].special_tokens
    wanted = always_places and tokenizer.is_fast
    wanted = wanted or any(item.spans is not None for item in batch)
    texts = [item.text for item in batch]
    if wanted and not (special or always_places) and isinstance(tokenizer, QuickTokenizer):
        made = tokenizer.encode_texts(texts, add_special_tokens=False, places=True)
        yield from map(_without_places, batch, made)
        return
    for item, (ids, places) in zip(batch, _made(tokenizer, texts, special, wanted), strict=True):
        if item.spans is None:
            yield Encoded(ids, np.ones(len(ids), np.bool_), places)
        else:
            assert places is not None
            yield Encoded(ids, learnt(places, item.spans), places)


def _made(
    tokenizer: AnyTokenizer, texts: list[str], special: bool, wanted: bool
) -> Iterator[tuple[Ids, Places | None]]:
    """Ids and places of each text."""
    if isinstance(tokenizer, QuickTokenizer):
        for made in tokenizer.encode_texts(texts, add_special_tokens=special, places=wanted):
            ids = np.array(made.ids, dtype=np.int32)
            yield ids, _places(made.offsets, len(ids)) if wanted else None
        return
    found = tokenizer(
        texts,
        add_special_tokens=special,
        return_offsets_mapping=wanted,
        return_attention_mask=False,
    )
    for place in range(len(texts)):
        ids = np.asarray(found["input_ids"][place], dtype=np.int32)
        offsets = found.get("offset_mapping")
        yield ids, None if offsets is None else _places(offsets[place], len(ids))


def _places(offsets: Sequence[Span], count: int) -> Places:
    # Half the time of an array made of a list of pairs.
    flat = np.fromiter(chain.from_iterable(offsets), np.int64, 2 * count)
    return flat.reshape(-1, 2)


def learnt(places: Places, spans: Sequence[Span]) -> Flags:
    """A token is learnt if any of its characters lies in a span."""
    flags = np.zeros(len(places), dtype=np.bool_)
    for begin, end in spans:
        flags |= (places[:, 0] < end) & (places[:, 1] > begin)
    return flags


def _without_places(item: Rendered, made: Encoding) -> Encoded:
    """The same as with the places of all tokens, of which a list takes longer than the tokens."""
    ids = np.array(made.ids, dtype=np.int32)
    if item.spans is None:
        return Encoded(ids, np.ones(len(ids), np.bool_))
    flags = np.zeros(len(ids), np.bool_)
    for span in item.spans:
        found = _tokens_of(made, span, len(ids), len(item.text))
        if found is None:
            return Encoded(ids, learnt(_places(made.offsets, len(ids)), item.spans))
        flags[found] = True
    return Encoded(ids, flags)


def _tokens_of(made: Encoding, span: Span, count: int, length: int) -> slice | None:
    """Tokens of which a character lies in the span: they follow one another as their characters
    do. None if a border is at a character that is in no token."""
    begin, end = span
    if not begin < end <= length:
        return None
    first = made.char_to_token(begin)
    last = made.char_to_token(end) if end < length else count
    if first is None or last is None:
        return None
    # A token may reach over the border, or several begin there, some of them without a character.
    while last < count and _begin(made, last) < end:
        last += 1
    while last > first and _begin(made, last - 1) >= end:
        last -= 1
    return slice(first, last)


def _begin(made: Encoding, token: int) -> int:
    found = made.token_to_chars(token)
    assert found is not None
    return found[0]


def closing_id(tokenizer: AnyTokenizer) -> int | None:
    """The token that ends a document; None if the model has none."""
    found = tokenizer.eos_token_id
    return int(found) if found is not None else None


def close(encoded: Encoded, end_id: int | None) -> Encoded:
    """The text with its end token, learnt: one of its own, or the one that is there already if it
    closes what is learnt."""
    ids, flags, places = encoded.ids, encoded.flags, encoded.places
    if end_id is None:
        return encoded
    if not len(ids) or ids[-1] != end_id:
        if places is not None:
            places = np.append(places, np.full((1, 2), places.max(initial=0)), axis=0)
        return Encoded(np.append(ids, np.int32(end_id)), np.append(flags, True), places)
    # One that the tokenizer put there has no characters, and so lies in no span.
    closes = len(flags) > 1 and flags[-2]
    return Encoded(ids, np.append(flags[:-1], flags[-1] or closes), places)
