"""What of a tokenizer makes texts into tokens: it can be sent to another process, and spares what
transformers does around it, half of the time again."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import msgspec
from tokenizers import Encoding, Tokenizer
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from engine.worker.word_tokens import WordTokens, word_tokens_of


class Added(msgspec.Struct, frozen=True, array_like=True):
    """A token that was added to the vocabulary, or is special."""

    content: str
    special: bool


class QuickTokenizer(msgspec.Struct, dict=True):
    """Stands for a tokenizer where texts are rendered and encoded. The fields travel."""

    backend: str
    """As in ``tokenizer.json``."""
    split_special_tokens: bool
    chat_template: Any
    special_tokens_map: dict[str, Any]
    added_tokens_decoder: dict[int, Added]
    eos_token_id: int | None
    is_fast: bool = True
    by_words: bool = True
    """Whether what it makes of a word is remembered, where that gives the same."""

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        made = Tokenizer.from_str(self.backend)
        made.no_truncation()
        made.no_padding()
        made.encode_special_tokens = self.split_special_tokens
        return made

    @cached_property
    def words(self) -> WordTokens | None:
        """Quicker still, for texts that it takes; None if this tokenizer cannot be had so."""
        return word_tokens_of(self.backend, self._tokenizer) if self.by_words else None

    def encode_texts(
        self, texts: Sequence[str], *, add_special_tokens: bool, places: bool
    ) -> list[Encoding]:
        """The tokens of each; without ``places`` nobody may ask where they are in the text."""
        make = self._tokenizer.encode_batch if places else self._tokenizer.encode_batch_fast
        return make(list(texts), add_special_tokens=add_special_tokens)


def quick_of(tokenizer: PreTrainedTokenizerBase) -> QuickTokenizer | None:
    """None for one that is written in Python, or changes in Python what it is given."""
    kind = type(tokenizer)
    if not (tokenizer.is_fast and isinstance(tokenizer, PreTrainedTokenizerFast)):
        return None
    if (
        kind.__call__ is not PreTrainedTokenizerFast.__call__
        or kind._encode_plus is not PreTrainedTokenizerFast._encode_plus
    ):
        return None
    return QuickTokenizer(
        backend=tokenizer.backend_tokenizer.to_str(),
        split_special_tokens=bool(getattr(tokenizer, "split_special_tokens", False)),
        chat_template=tokenizer.chat_template,
        special_tokens_map={
            name: [str(each) for each in token] if isinstance(token, list) else str(token)
            for name, token in tokenizer.special_tokens_map.items()
        },
        added_tokens_decoder={
            id: Added(token.content, token.special)
            for id, token in tokenizer.added_tokens_decoder.items()
        },
        eos_token_id=tokenizer.eos_token_id,
    )
