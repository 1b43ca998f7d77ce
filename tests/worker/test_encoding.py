"""Tokens are made once, kept whole or not at all, and are those that are trained on."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders
from tokenizers import models as models_of
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from engine.contract.messages import Decision, Finding
from engine.contract.spec import Spec
from engine.contract.validate import check
from engine.formats.example import DatasetError
from engine.store import encoded
from engine.store.encoded_view import Encoded, put_together
from engine.worker import encoded_writer, encoding, encoding_key
from engine.worker.batches import Collator, Rows
from engine.worker.chat import Rendered
from engine.worker.encoded_writer import EncodedWriter
from engine.worker.encoding import encoding_of
from engine.worker.encoding_key import key_of
from engine.worker.failures import JobError
from engine.worker.packing import unpacked
from engine.worker.part import Part, Shown
from engine.worker.pieces import pieces_of
from engine.worker.quick_tokenizer import quick_of
from engine.worker.report import Halted
from engine.worker.row_encoder import RowEncoder
from engine.worker.samples import IGNORED
from engine.worker.tokenise import encode
from tests.worker.conftest import FAMILIES, Heard, make_spec


def _spec(model: Path, data: Path, **training: Any) -> Spec:
    spec, complaints = check(make_spec(model, data, **training))
    assert spec, complaints
    return spec


@pytest.fixture
def tokenizer(models: Callable[[str], Path]) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(models("llama"))


@pytest.fixture
def spec(models: Callable[[str], Path], chats: Path) -> Spec:
    return _spec(models("llama"), chats)


# ---------------------------------------------------------------- once


def test_what_was_made_is_taken_as_it_is(
    spec: Spec, tokenizer: Any, report: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = encoding_of(spec, tokenizer, report)
    assert not first.is_kept

    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("Tokens are made again.")

    monkeypatch.setattr(RowEncoder, "part", never)
    again = encoding_of(spec, tokenizer, report)
    assert again.is_kept
    assert list(again.hashes) == list(first.hashes)
    assert again.samples.digest() == first.samples.digest()


def test_another_cut_or_batch_needs_no_new_tokens(
    spec: Spec, models: Callable[[str], Path], chats: Path, tokenizer: Any
) -> None:
    other = _spec(models("llama"), chats, max_length=20, packing=True)
    assert key_of(spec, tokenizer) == key_of(other, tokenizer)


def test_whatever_could_change_a_token_is_in_the_key(
    spec: Spec, models: Callable[[str], Path], tmp_path: Path, chats: Path, tokenizer: Any
) -> None:
    from transformers import AutoTokenizer

    keys = {key_of(spec, tokenizer)}
    keys.add(key_of(spec, AutoTokenizer.from_pretrained(models("qwen"))))
    changed = AutoTokenizer.from_pretrained(models("llama"))
    changed.chat_template = "{{ messages[0]['content'] }}"
    keys.add(key_of(spec, changed))
    more = AutoTokenizer.from_pretrained(models("llama"))
    more.add_tokens(["<|new|>"])
    keys.add(key_of(spec, more))
    rows = json.loads(chats.read_text())
    (tmp_path / "fewer.json").write_text(json.dumps(rows[1:]))
    keys.add(key_of(_spec(models("llama"), tmp_path / "fewer.json"), tokenizer))
    keys.add(key_of(_spec(models("llama"), chats, seed=7), tokenizer))
    split = AutoTokenizer.from_pretrained(models("llama"), split_special_tokens=True)
    keys.add(key_of(spec, split))
    assert len(keys) == 7


def test_a_tokenizer_that_would_cut_and_pad_has_one_key(spec: Spec, tokenizer: Any) -> None:
    tokenizer.backend_tokenizer.enable_truncation(16)
    tokenizer.backend_tokenizer.enable_padding()
    key = key_of(spec, tokenizer)
    tokenizer("the river ran")
    assert key_of(spec, tokenizer) == key


def test_of_a_large_file_a_change_that_no_sample_of_it_meets_is_noticed(
    spec: Spec, tokenizer: Any, chats: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding_key, "fingerprints", lambda _: ["sampled-sha256:same"])
    encoding_key._prints.cache_clear()
    key = key_of(spec, tokenizer)
    found = chats.stat()
    try:
        os.utime(chats, (1, 1))
        assert key_of(spec, tokenizer) != key
    finally:
        os.utime(chats, ns=(found.st_atime_ns, found.st_mtime_ns))
        encoding_key._prints.cache_clear()


def test_a_file_that_changes_while_it_is_read_is_refused(
    spec: Spec, tokenizer: Any, report: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamps = iter([[[1]], [[2]]])
    monkeypatch.setattr(encoding, "stamps", lambda _: next(stamps))
    with pytest.raises(DatasetError, match="was changed while it was read"):
        encoding_of(spec, tokenizer, report)
    assert list(encoded.folder_of("x").parent.iterdir()) == []


@pytest.mark.parametrize("name", [encoded.TOKENS, encoded.LEARNT, encoded.META, encoded.STARTS])
def test_a_damaged_folder_is_made_again(
    spec: Spec, tokenizer: Any, report: Heard, name: str
) -> None:
    first = encoding_of(spec, tokenizer, report)
    digest = first.samples.digest()
    path = first.folder / name
    path.write_bytes(path.read_bytes()[:-1])
    again = encoding_of(spec, tokenizer, report)
    assert not again.is_kept
    assert again.samples.digest() == digest


def test_who_is_asked_to_end_leaves_nothing_half_done(
    spec: Spec, tokenizer: Any, report: Heard
) -> None:
    report.wishes.stop.set()
    with pytest.raises(Halted):
        encoding_of(spec, tokenizer, report)
    assert list(encoded.folder_of("x").parent.iterdir()) == []


def test_a_full_disk_is_told_with_the_folder(
    spec: Spec, tokenizer: Any, report: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(EncodedWriter, "add", full)
    with pytest.raises(JobError, match="cannot be kept") as caught:
        encoding_of(spec, tokenizer, report)
    assert "is full" in caught.value.cause
    assert caught.value.code == "disk_full"
    assert list(encoded.folder_of("x").parent.iterdir()) == []


def test_where_room_is_short_older_data_and_the_texts_make_room(
    spec: Spec, tokenizer: Any, report: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EncodedWriter(encoded.folder_of("older")) as writer:
        writer.publish(_empty())
    real = EncodedWriter.add

    def add(self: EncodedWriter, *parts: Any) -> None:
        if encoded.folder_of("older").exists() or self.shows:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(self, *parts)

    monkeypatch.setattr(EncodedWriter, "add", add)
    found = encoding_of(spec, tokenizer, report)
    assert len(found.samples) == 60
    assert Encoded(found.folder).sample(0).is_of_tokens
    assert [path.name for path in encoded.folder_of("x").parent.iterdir()] == [found.folder.name]


def test_what_cannot_be_put_in_place_is_told(
    spec: Spec, tokenizer: Any, report: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def held(*_: Any) -> None:
        raise PermissionError(errno.EACCES, "in use")

    monkeypatch.setattr(encoded_writer, "rename", held)
    with pytest.raises(JobError, match="cannot be kept") as caught:
        encoding_of(spec, tokenizer, report)
    assert caught.value.code == "disk_unwritable"


def test_only_the_newest_are_kept(tmp_path: Path, fettle_home: Path) -> None:
    for number in range(4):
        with EncodedWriter(encoded.folder_of(f"{number}")) as writer:
            writer.add(0, _part(shows=False))
            folder = writer.publish(_empty())
        os.utime(folder / encoded.META, (number, number))
    encoded.make_room(keep=2)
    assert sorted(path.name for path in encoded.folder_of("x").parent.iterdir()) == ["2", "3"]
    encoded.make_room(keep_bytes=10)
    assert [path.name for path in encoded.folder_of("x").parent.iterdir()] == ["3"]


def _part(*, shows: bool) -> Part:
    spans = np.array([[0, 1], [1, 2]], np.uint32).tobytes()
    return Part(
        1, [0], [2], np.arange(2, dtype=np.int32).tobytes(), b"\1\1", b"x" * 32, b"",
        shown=Shown(b"ab", [2], spans, b'"ab"', [4]) if shows else None,
    )  # fmt: skip


def _empty() -> encoded.Meta:
    return encoded.Meta(format=0, format_name="text", method="sft", rows_read=0)


# ---------------------------------------------------------------- what is left out


def test_refused_rows_are_named_now_and_later(
    spec: Spec, models: Callable[[str], Path], tmp_path: Path, tokenizer: Any
) -> None:
    talk = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "well"}]
    (tmp_path / "d.jsonl").write_text(
        "\n".join(json.dumps({"messages": turns}) for turns in (talk, talk[::-1], talk))
    )
    tokenizer.chat_template = (
        "{% if messages[0].role != 'user' %}{{ raise_exception('Ask first') }}{% endif %}"
        + str(tokenizer.chat_template)
    )
    wanted = _spec(models("llama"), tmp_path / "d.jsonl")
    for _ in range(2):
        heard = Heard()
        found = encoding_of(wanted, tokenizer, heard)
        assert [(row.row, row.reason) for row in found.meta.refused] == [(1, "Ask first")]
        assert found.samples.origins is not None
        assert found.samples.origins.tolist() == [0, 2]
        (finding,) = heard.of(Finding)
        assert finding.code == "template_refused"
        heard.close()


def test_a_plain_template_is_told_of_each_time(
    spec: Spec, models: Callable[[str], Path], tokenizer: Any
) -> None:
    template, tokenizer.chat_template = tokenizer.chat_template, None
    for _ in range(2):
        heard = Heard()
        encoding_of(spec, tokenizer, heard)
        assert [d.title for d in heard.of(Decision)] == ["A plain chat template is used."]
        assert tokenizer.chat_template not in (None, template)
        tokenizer.chat_template = None
        heard.close()


# ---------------------------------------------------------------- what is seen


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_shown_is_what_is_trained_on(
    family: str, models: Callable[[str], Path], chats: Path, report: Heard
) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(models(family))
    found = encoding_of(_spec(models(family), chats), tokenizer, report)
    data = Encoded(found.folder)
    collate = Collator(Rows(samples=found.samples, rows=unpacked(len(found.samples))), 0)
    assert len(data) == len(found.samples) == 60
    for place in range(len(data)):
        sample = data.sample(place)
        batch = collate([place])
        labels = batch["labels"][0].tolist()
        assert [token.id for token in sample.tokens] == batch["input_ids"][0].tolist()
        assert [token.learnt for token in sample.tokens] == [label != IGNORED for label in labels]
        assert sample.targets == sum(label != IGNORED for label in labels) > 0
        covered = "".join(sample.text[t.begin : t.end] for t in sample.tokens)
        assert covered.split() == sample.text.split()
        assert json.loads(sample.raw) == json.loads(chats.read_text())[place]


def test_a_first_token_is_shown_as_the_loss_sees_it(
    models: Callable[[str], Path], tmp_path: Path, report: Heard
) -> None:
    from transformers import AutoTokenizer

    (tmp_path / "d.jsonl").write_text('{"prompt": "", "completion": "ran over stones"}\n' * 3)
    tokenizer = AutoTokenizer.from_pretrained(models("qwen"))
    found = encoding_of(_spec(models("qwen"), tmp_path / "d.jsonl"), tokenizer, report)
    assert found.samples[1][1].all(), "The first token is one of the answer."
    sample = Encoded(found.folder).sample(1)
    assert [token.learnt for token in sample.tokens] == [False] + [True] * (sample.length - 1)
    assert sample.targets == int(found.samples.target_counts[1]) == sample.length - 1


def test_a_long_sample_is_shown_in_parts(
    models: Callable[[str], Path], tmp_path: Path, tokenizer: Any, report: Heard
) -> None:
    words = " ".join(f"word{i}" for i in range(900))
    (tmp_path / "d.json").write_text(json.dumps([{"instruction": words, "output": "é well ☃"}] * 2))
    data = Encoded(
        encoding_of(_spec(models("llama"), tmp_path / "d.json"), tokenizer, report).folder
    )
    whole = data.sample(1, limit=10**6)
    shown = ""
    for first in range(0, whole.length, 500):
        part = data.sample(1, first, limit=500)
        assert [t.id for t in part.tokens] == [t.id for t in whole.tokens[first : first + 500]]
        assert all(0 <= t.begin <= t.end <= len(part.text) for t in part.tokens)
        shown += "".join(part.text[t.begin : t.end] for t in part.tokens if t.end > t.begin)
    assert "word899" in shown
    assert "é well ☃" in whole.text


def test_rows_are_found_by_number_and_by_words(spec: Spec, tokenizer: Any, report: Heard) -> None:
    data = Encoded(encoding_of(spec, tokenizer, report).folder)
    assert data.place_of(7) == 7
    assert data.place_of(60) is None
    (place,) = data.search("SAY AND 5 times")[:1]
    assert "and 5 times" in data.sample(place).text.lower()
    assert data.search("no such words") == []
    with pytest.raises(IndexError):
        data.sample(60)


def test_text_beyond_the_room_for_it_is_counted_but_not_shown(fettle_home: Path) -> None:
    with EncodedWriter(encoded.folder_of("few"), shown_bytes=30) as writer:
        for row in range(3):
            writer.add(row, _part(shows=True))
        folder = writer.publish(_empty())
    data = Encoded(folder)
    assert [data.sample(place).is_shown for place in range(3)] == [True, True, False]
    assert [data.sample(place).length for place in range(3)] == [2, 2, 2]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_row_too_far_behind_for_its_text_is_shown_by_its_tokens(
    family: str, models: Callable[[str], Path], tmp_path: Path, report: Heard,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    rows = [{"prompt": f"Wo? {n} ☃ 漢字", "completion": f"é {n} 😀\n\tTief."} for n in range(6)]
    data = tmp_path / "far.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)))
    spec = _spec(models(family), data)
    tokenizer = AutoTokenizer.from_pretrained(models(family))
    near = Encoded(encoding_of(spec, tokenizer, report).folder)
    whole = [near.sample(place) for place in range(6)]
    assert not (near.folder / encoded.PIECES).exists()
    encoded.make_room(keep=0)
    real = EncodedWriter.__init__
    monkeypatch.setattr(EncodedWriter, "__init__", lambda self, folder, _=0: real(self, folder, 0))
    far = Encoded(encoding_of(spec, tokenizer, report).folder)
    for place, kept in enumerate(whole):
        found = far.sample(place)
        assert (found.is_shown, found.is_of_tokens, kept.is_of_tokens) == (True, True, False)
        ids = [token.id for token in found.tokens]
        assert (ids, found.targets) == ([token.id for token in kept.tokens], kept.targets)
        assert [t.learnt for t in found.tokens] == [t.learnt for t in kept.tokens]
        assert found.text == tokenizer.decode(ids, clean_up_tokenization_spaces=False)
        named = [found.text[t.begin : t.end] for t in found.tokens]
        assert kept.names == {t.id: n for t, n in zip(found.tokens, named, strict=True)
                              if t.id in kept.names}  # fmt: skip
        part = far.sample(place, first_token=2, limit=3)
        assert [t.id for t in part.tokens] == ids[2:5]
        assert part.first_token == 2


def test_pieces_of_a_vocabulary_as_sentencepiece_has_it(tmp_path: Path) -> None:
    words = {"<unk>": 0, "\u2581well": 1, "ed": 2, "\u2581": 3, "é": 4}
    words |= {f"<0x{byte:02X}>": 5 + byte for byte in range(256)}
    core = Tokenizer(models_of.BPE(words, [], unk_token="<unk>", byte_fallback=True))
    core.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>")
    pieces = pieces_of(tokenizer)
    ids = [1, 2, 3, 4, *(5 + byte for byte in "☃".encode()), 1]
    text, spans = put_together(pieces[id] for id in ids)
    assert text == " welled é☃ well" == tokenizer.decode(ids)
    assert [text[begin:end] for begin, end in spans] == [
        " well", "ed", " ", "é", "☃", "☃", "☃", " well"
    ]  # fmt: skip
    text, spans = put_together([b"a", b"\xe2\x98", b"b", b"\xff", b"\xe2"])
    assert text == "a\ufffdb\ufffd\ufffd"
    assert max(end for _, end in spans) == len(text)


def test_a_tokenizer_without_places_is_shown_by_its_tokens(
    models: Callable[[str], Path], texts: Path, tokenizer: Any, report: Heard,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    spec, _ = check({**make_spec(models("llama"), texts), "method": "pretrain"})
    assert spec
    monkeypatch.setattr(type(tokenizer), "is_fast", property(lambda _: False))
    found = encoding_of(spec, tokenizer, report)
    assert len(found.samples) == 30
    assert Encoded(found.folder).sample(3).is_of_tokens


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_learnt_is_the_same_without_the_places_of_all_tokens(
    models: Callable[[str], Path], family: str
) -> None:
    quick = quick_of(AutoTokenizer.from_pretrained(models(family)))
    assert quick is not None
    texts = ["Say it: é☃😀 twice,  and\n\n\ttwice again   ", "  a b  ", "😀😀", "x", ""]
    items = [
        Rendered(text=text, spans=[(begin, end), (begin // 2, begin // 2 + 3)])
        for text in texts
        for begin in range(len(text))
        for end in range(begin, len(text) + 1)
    ]
    items += [Rendered(text=text, spans=spans) for text in texts for spans in (None, [])]
    shown = list(encode(quick, items, always_places=True))
    quickly = list(encode(quick, items))
    assert any(one.places is None for one in quickly)
    for one, other in zip(shown, quickly, strict=True):
        assert one.ids.tolist() == other.ids.tolist()
        assert one.flags.tolist() == other.flags.tolist()
