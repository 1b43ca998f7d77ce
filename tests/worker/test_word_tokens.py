"""Word by word, a text has the tokens and places that the tokenizer itself gives it."""

from __future__ import annotations

import json
import random
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from engine.worker import word_cuts, word_tokens
from engine.worker.chat import Rendered
from engine.worker.quick_tokenizer import QuickTokenizer
from engine.worker.sample_model import CORPUS
from engine.worker.tokenise import encode
from engine.worker.word_tokens import WordsDiffer, WordTokens, word_tokens_of

_TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_HEAD = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_ENDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_PATTERNS = {
    "llama": _HEAD + r"\p{N}{1,3}" + _TAIL,
    "qwen": _HEAD + r"\p{N}" + _TAIL,
    "o200k": (
        rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_ENDS}|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*"
        rf"{_ENDS}|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
}
KINDS = ("gpt2", "digits", *_PATTERNS)
MARKS = ["<|im_start|>", "<|im_end|>", "<|im|>"]
_byte_level = pre_tokenizers.ByteLevel


def _steps(kind: str) -> list[Any]:
    if kind == "gpt2":
        return [_byte_level(add_prefix_space=False)]
    if kind == "digits":
        return [
            pre_tokenizers.Digits(individual_digits=True), _byte_level(add_prefix_space=False),
        ]  # fmt: skip
    return [
        pre_tokenizers.Split(Regex(_PATTERNS[kind]), "isolated"),
        _byte_level(add_prefix_space=False, use_regex=False),
    ]


def _made(kind: str) -> Tokenizer:
    """A tokenizer as models of that kind have it, trained on the bundled text."""
    made = Tokenizer(models.BPE(ignore_merges=kind == "llama"))
    steps = _steps(kind)
    made.pre_tokenizer = steps[0] if len(steps) == 1 else pre_tokenizers.Sequence(steps)
    made.normalizer = normalizers.NFC() if kind == "qwen" else None
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=MARKS, initial_alphabet=_byte_level.alphabet(),
        show_progress=False,
    )  # fmt: skip
    made.train_from_iterator(CORPUS.read_text("utf-8").split("\n\n"), trainer)
    made.add_tokens([AddedToken("<think>", normalized=False)])
    puts = {"llama": "<|im|> $A", "o200k": "<|im|> $A <|im_end|>:0 <|im|>"}.get(kind)
    if puts:
        made.post_processor = processors.Sequence([
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(
                single=puts, special_tokens=[(name, at) for at, name in enumerate(MARKS)]
            ),
        ])  # fmt: skip
    return made


def _words_of(tokenizer: Tokenizer) -> WordTokens:
    words = word_tokens_of(tokenizer.to_str(), tokenizer)
    assert words is not None
    return words


@pytest.fixture(scope="module")
def made() -> Callable[[str], tuple[Tokenizer, WordTokens]]:
    found: dict[str, tuple[Tokenizer, WordTokens]] = {}

    def of(kind: str) -> tuple[Tokenizer, WordTokens]:
        if kind not in found:
            tokenizer = _made(kind)
            found[kind] = tokenizer, _words_of(tokenizer)
        return found[kind]

    return of


def _must_agree(tokenizer: Tokenizer, words: WordTokens, text: str) -> bool:
    """Whether it was found word by word."""
    is_found = False
    for special in (False, True):
        found = words.of(text, add_special_tokens=special)
        if found is not None:
            wanted = tokenizer.encode(text, add_special_tokens=special)
            assert found[0].tolist() == wanted.ids, repr(text)
            assert found[1].tolist() == list(map(list, wanted.offsets)), repr(text)
            is_found = True
    return is_found


# ---------------------------------------------------------------- the same


_PIECES = [
    *MARKS, "<think>", "<|im_", "|>", " ", "  ", "\n", "\r\n", "\t", "\x0b", "\x1c", "\x85", "\xa0",
    "\u2003", "\u200b", "\u3000", "'s", "'LL", "'\u017f", "don't", "12345", "\u00bd", "\u0e51",
    "e\u0301", "\u00e9", "\u4e16\u754c", "\uac00", "\u1100\u1161", "\U0001f600", "\u2764\ufe0f",
    "\U00010400", "\u05d0\u05b8", "\u0645\u0631\u062d\u0628\u0627", "\u01c5", "\u2163", "...//",
    "_x1", "\x00",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@given(pieces=st.lists(st.sampled_from(_PIECES) | st.text(max_size=4), max_size=12))
def test_any_text(
    made: Callable[[str], tuple[Tokenizer, WordTokens]], kind: str, pieces: list[str]
) -> None:
    _must_agree(*made(kind), "".join(pieces))


@pytest.mark.parametrize("kind", KINDS)
def test_any_character_that_is_cut_beside_others(
    made: Callable[[str], tuple[Tokenizer, WordTokens]], kind: str
) -> None:
    tokenizer, _ = made(kind)
    words = _words_of(tokenizer)
    for text in _with_characters(KINDS.index(kind), is_nfc=kind == "qwen"):
        assert _must_agree(tokenizer, words, text)


def _with_characters(share: int, *, is_nfc: bool) -> Iterator[str]:
    """Each with others around it; every fifth, and fewer of ideographs and syllables, which are all
    alike."""
    letters = [
        c for place, c in enumerate(word_cuts._settled_characters())
        if place % (500 if "\u3400" <= c <= "\ud7a3" else 5) == share
    ]  # fmt: skip
    for at in range(0, len(letters), 200):
        pieces = [f"a{c}B{c} {c}{c}1{c}'{c}\n{c} \n" for c in letters[at : at + 200]]
        yield "".join(p for p in pieces if not is_nfc or unicodedata.is_normalized("NFC", p))


@pytest.mark.parametrize("kind", KINDS)
def test_running_text_is_found_and_is_not_asked_for_again(
    made: Callable[[str], tuple[Tokenizer, WordTokens]], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer, _ = made(kind)
    words = _words_of(tokenizer)
    texts = [f"<|im_start|>{text}<|im_end|>\n" for text in CORPUS.read_text("utf-8").split("\n\n")]
    assert all(_must_agree(tokenizer, words, text) for text in texts)
    monkeypatch.setattr(words, "_tokenizer", None)
    assert all(_must_agree(tokenizer, words, text) for text in texts)


def test_what_cannot_be_said_is_left_to_the_tokenizer(
    made: Callable[[str], tuple[Tokenizer, WordTokens]], monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer, words = made("qwen")
    monkeypatch.setattr(word_tokens, "_LONGEST", 100)
    for text in ("\U00010400", "e\u0301", "o\u017f", "\u0378", "a" * 101):
        assert not _must_agree(tokenizer, words, text)
    assert _must_agree(tokenizer, words, "a" * 100)


def test_both_kinds_of_text_come_in_order() -> None:
    quick = _quick(_made("llama"))
    texts = ["one", "two \U00010400", "", "three", "\U00010400", "four"]
    items = [Rendered(text=text, spans=[(0, 2)]) for text in texts]
    for places in (False, True):
        found = list(encode(quick, items, always_places=places))
        assert [one.ids.tolist() for one in found] == [
            each.ids for each in quick._tokenizer.encode_batch(texts, add_special_tokens=False)
        ]
        assert all((one.places is not None) == places for one in found[::2])
        assert [bool(one.flags[:1].all()) for one in found] == [True] * 6


# ---------------------------------------------------------------- what is remembered


def test_it_forgets_in_time(
    made: Callable[[str], tuple[Tokenizer, WordTokens]], monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer, _ = made("gpt2")
    words = _words_of(tokenizer)
    monkeypatch.setattr(word_tokens, "_HELD_BYTES", 20_000)
    drawn = random.Random(0)
    for _ in range(100):
        text = " ".join(str(drawn.randrange(2000)) for _ in range(30)) + " the" * 400
        assert _must_agree(tokenizer, words, text)
        assert len(words._held) < 300


def test_where_all_words_are_new_it_rests(
    made: Callable[[str], tuple[Tokenizer, WordTokens]], monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer, _ = made("gpt2")
    words = _words_of(tokenizer)
    monkeypatch.setattr(word_tokens, "_TRIED", 10)
    monkeypatch.setattr(word_tokens, "_RESTED", 20)
    drawn = random.Random(0)
    texts = [" ".join(hex(drawn.getrandbits(64)) for _ in range(5)) for _ in range(60)]
    found = [words.of(text, add_special_tokens=False) is not None for text in texts]
    assert (sum(found[:10]), sum(found[10:27]), sum(found[28:38])) == (7, 0, 9)
    assert all(words.of("the", add_special_tokens=False) for _ in range(100)[60:])


# ---------------------------------------------------------------- others are left alone


def _changed(**parts: Any) -> str:
    config = json.loads(_made("llama").to_str())
    for name, value in parts.items():
        config[name] = {**config[name], **value} if name == "model" else value
    return json.dumps(config)


_SPLIT = {"type": "Split", "pattern": {"Regex": r"\s+"}, "behavior": "Isolated", "invert": False}
_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
_TOKEN = {"id": 0, "content": "<x>", "single_word": False, "lstrip": False, "rstrip": False,
          "normalized": False, "special": True}  # fmt: skip


def _after(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"pre_tokenizer": {"type": "Sequence", "pretokenizers": list(steps)}}


@pytest.mark.parametrize(
    "parts",
    [
        {"model": {"dropout": 0.1}},
        {"model": {"type": "Unigram"}},
        {"normalizer": {"type": "Lowercase"}},
        {"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}]}},
        {"pre_tokenizer": None},
        {"post_processor": {"type": "ByteLevel", "trim_offsets": True}},
        {"post_processor": {"processors": [{"type": "ByteLevel", "trim_offsets": True}]}},
        {"added_tokens": [{**_TOKEN, "lstrip": True}]},
        {"added_tokens": [{**_TOKEN, "rstrip": True}]},
        {"added_tokens": [{**_TOKEN, "single_word": True}]},
        {"added_tokens": [_TOKEN, {**_TOKEN, "normalized": True}]},
        {"added_tokens": [{**_TOKEN, "content": "e\u0301"}]},
        _after(_SPLIT),
        _after(_SPLIT, {**_BYTES, "add_prefix_space": True}),
        _after(_BYTES, _SPLIT),
        _after({**_SPLIT, "invert": True}, _BYTES),
        _after({**_SPLIT, "behavior": "Removed"}, _BYTES),
        _after({**_SPLIT, "pattern": {"String": " "}}, _BYTES),
        _after({**_SPLIT, "pattern": {"Regex": r"(\s)+"}}, _BYTES),
        _after({**_SPLIT, "pattern": {"Regex": r"[a-z]+|[^a-z]"}}, _BYTES),
        _after({**_SPLIT, "pattern": {"Regex": r"\p{Han}+"}}, _BYTES),
        _after({**_SPLIT, "pattern": {"Regex": r"(?i:'k)|\s+"}}, _BYTES),
        _after({**_SPLIT, "pattern": {"Regex": r"\p{L}{2}+|\s"}}, _BYTES),
        _after({**_SPLIT, "pattern": {"Regex": r"\p{L}+{2}|\s"}}, _BYTES),
    ],
)
def test_a_tokenizer_that_works_otherwise_is_not_taken(parts: dict[str, Any]) -> None:
    assert word_cuts.cuts_of(_changed()) is not None
    assert word_cuts.cuts_of(_changed(**parts)) is None


def test_a_text_is_not_believed_that_the_pattern_leaves_gaps_in() -> None:
    tokenizer = _made("llama")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(r"\p{L}+|\s+"), "isolated"),
        _byte_level(add_prefix_space=False, use_regex=False),
    ])  # fmt: skip
    cuts = word_cuts.cuts_of(tokenizer.to_str())
    assert cuts is not None
    words = WordTokens(tokenizer, cuts)
    assert words.of("a 1", add_special_tokens=False) is None
    assert _must_agree(tokenizer, words, "a b")
    assert word_tokens_of(tokenizer.to_str(), tokenizer) is None


def test_special_tokens_that_are_to_be_split_are() -> None:
    quick = _quick(_made("llama"), split_special_tokens=True)
    assert quick.words is None
    found = next(encode(quick, [Rendered(text="<|im|>")]))
    assert len(found.ids) > 1


def _quick(tokenizer: Tokenizer, *, split_special_tokens: bool = False) -> QuickTokenizer:
    return QuickTokenizer(
        backend=tokenizer.to_str(), split_special_tokens=split_special_tokens, chat_template=None,
        special_tokens_map={}, added_tokens_decoder={}, eos_token_id=None,
    )  # fmt: skip


def test_words_that_become_other_tokens_in_a_text_are_found_out(
    made: Callable[[str], tuple[Tokenizer, WordTokens]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(word_tokens, "_COMPARED", 3)
    tokenizer, _ = made("llama")
    words = WordTokens(tokenizer, word_cuts.Cuts([], ["."], is_nfc=False))
    text = "the " * 20  # Few letters, which are asked for one by one.
    right = tokenizer.encode(text, add_special_tokens=False).ids
    found = [words.of(text, add_special_tokens=False) for _ in range(2)]
    first = found[0]
    assert first is not None
    assert first[0].tolist() != right
    with pytest.raises(WordsDiffer):
        words.of(text, add_special_tokens=False)
