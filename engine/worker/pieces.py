"""What each token of a vocabulary stands for, so that a sample can be shown without a tokenizer."""

from __future__ import annotations

import re

from transformers import PreTrainedTokenizerBase

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


def pieces_of(tokenizer: PreTrainedTokenizerBase) -> list[bytes]:
    """The bytes of each token, by id: several may make one letter. A special token is its name.
    Empty for a tokenizer that is written in Python, which alone knows what its tokens stand for.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return []
    vocabulary = tokenizer.get_vocab()
    pieces = [b""] * (max(vocabulary.values(), default=-1) + 1)
    is_byte_level = backend.decoder and b'"ByteLevel"' in backend.decoder.__getstate__()
    for name, id in vocabulary.items():
        pieces[id] = _of_bytes(name) if is_byte_level else _of_text(name)
    for id, added in tokenizer.added_tokens_decoder.items():
        pieces[id] = added.content.encode()
    return pieces


def _of_bytes(name: str) -> bytes:
    """Of a byte-level vocabulary, which writes each byte as a letter."""
    try:
        return bytes(_BYTES[letter] for letter in name)
    except KeyError:
        return name.encode()


def _of_text(name: str) -> bytes:
    """Of a vocabulary as SentencePiece has it: a low line for a space, single bytes by number."""
    if byte := _BYTE.fullmatch(name):
        return bytes([int(byte[1], 16)])
    return name.replace("\u2581", " ").encode()


def _byte_letters() -> dict[str, int]:
    """The letter that stands for each byte, as GPT-2 chose: itself where it can be seen, else one
    from 256 on."""
    seen = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    unseen = [byte for byte in range(256) if byte not in seen]
    return {chr(byte): byte for byte in seen} | {
        chr(256 + place): byte for place, byte in enumerate(unseen)
    }


_BYTES = _byte_letters()
