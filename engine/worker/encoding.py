"""A dataset becomes tokens, once: what was made before of the same data is taken as it is.

Training, a rehearsal and whoever looks at the data read the same files, so what is shown is what
is trained on.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from transformers import PreTrainedTokenizerBase

from engine.contract.spec import Spec
from engine.formats.dataset import dataset_of, numbered_examples
from engine.formats.example import DatasetError, Example, Row, Text
from engine.store import encoded
from engine.store.encoded import Meta, Refused
from engine.store.files import disk_sentence
from engine.worker.chat import PLAIN_TEMPLATE, CannotRender, ChatRenderer, Rendered, ensure_template
from engine.worker.encoded_writer import SHOWN_BYTES, EncodedWriter
from engine.worker.encoding_key import key_of, stamp_of
from engine.worker.failures import JobError
from engine.worker.render import Renderer
from engine.worker.report import Report
from engine.worker.samples import Samples, row_hash
from engine.worker.suspects import Suspects
from engine.worker.tokenise import BATCH, close, closing_id, encode

_NAMED_ROWS = 1000


class Encoding(msgspec.Struct, frozen=True, kw_only=True):
    """A tokenised dataset; nothing of it is cut."""

    folder: Path
    meta: Meta
    samples: Samples
    hashes: list[bytes]
    """Of each sample's content and the seed: rows are told apart by what they hold, so that a
    change of their order changes no split."""
    is_kept: bool = False
    """Whether it was there already."""


def encoding_of(spec: Spec, tokenizer: PreTrainedTokenizerBase, report: Report) -> Encoding:
    """Tokens of the spec's dataset. Raises DatasetError, and JobError if the disk is full."""
    key = key_of(spec, tokenizer)
    kept = encoded.find(key)
    folder = kept
    if folder is None:
        folder = _made(spec, tokenizer, report, encoded.folder_of(key))
        encoded.make_room()
    found = load(folder)
    _tell(found.meta, tokenizer, report)
    return msgspec.structs.replace(found, is_kept=kept is not None)


def load(folder: Path) -> Encoding:
    """What is in such a folder, mapped. Raises ``OSError``."""
    meta = encoded.read_meta(folder)
    samples = Samples.adjoining(
        _mapped(folder / encoded.TOKENS, np.int32),
        _mapped(folder / encoded.LEARNT, np.bool_),
        np.fromfile(folder / encoded.STARTS, np.int64),
        np.fromfile(folder / encoded.ROWS, np.int64),
    )
    digests = (folder / encoded.DIGESTS).read_bytes()
    size = encoded.DIGEST_BYTES
    hashes = [digests[at : at + size] for at in range(0, len(digests), size)]
    return Encoding(folder=folder, meta=meta, samples=samples, hashes=hashes)


def _mapped(path: Path, kind: Any) -> Any:
    # An empty file cannot be mapped.
    return np.memmap(path, kind, "r") if path.stat().st_size else np.zeros(0, kind)


# ---------------------------------------------------------------- making it


def _made(spec: Spec, tokenizer: PreTrainedTokenizerBase, report: Report, folder: Path) -> Path:
    try:
        return _make(spec, tokenizer, report, folder)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise _no_room(error, folder) from error
    # Older data can be made again, and nothing has to be looked at: a run needs its tokens alone.
    encoded.make_room(keep=0)
    try:
        return _make(spec, tokenizer, report, folder, shown_bytes=0)
    except OSError as error:
        raise _no_room(error, folder) from error


def _make(
    spec: Spec, tokenizer: PreTrainedTokenizerBase, report: Report, folder: Path,
    shown_bytes: int = SHOWN_BYTES,
) -> Path:  # fmt: skip
    began = time.monotonic()
    name = dataset_of(spec.dataset.path, spec.dataset.format, spec.method)
    reader = _Reader(spec, tokenizer, report)
    end_id = closing_id(tokenizer)
    before = stamp_of(spec.dataset.path)
    with EncodedWriter(folder, shown_bytes) as writer:
        for batch in reader.batches():
            _write(writer, tokenizer, batch, end_id)
        if stamp_of(spec.dataset.path) != before:
            file = Path(spec.dataset.path).name
            raise DatasetError(f"{file} was changed while it was read.", "Try again when it rests.")
        meta = reader.meta(name)
        return writer.publish(msgspec.structs.replace(meta, seconds=time.monotonic() - began))


class _Item(msgspec.Struct, frozen=True):
    """One row on its way."""

    row: int
    raw: Any
    digest: bytes
    rendered: Rendered


class _Reader:
    """Reads rows and renders them."""

    def __init__(self, spec: Spec, tokenizer: PreTrainedTokenizerBase, report: Report) -> None:
        self._spec = spec
        self._report = report
        self._tokenizer = tokenizer
        self._render = Renderer(self._chat, spec.dataset.loss_on)
        self._suspects = Suspects(tokenizer)
        self._read = 0
        self._blank = 0
        self._refused_count = 0
        self._refused: list[Refused] = []

    def _chat(self) -> ChatRenderer:
        if not self._tokenizer.chat_template:
            self._tokenizer.chat_template = PLAIN_TEMPLATE
            try:
                return ChatRenderer(self._tokenizer, self._spec.dataset.loss_on)
            finally:
                self._tokenizer.chat_template = None
        return ChatRenderer(self._tokenizer, self._spec.dataset.loss_on)

    def batches(self) -> Iterator[list[_Item]]:
        """All rows that can be learnt from, in order. Raises DatasetError, Halted."""
        batch: list[_Item] = []
        dataset = self._spec.dataset
        for row, example, share in numbered_examples(
            dataset.path, dataset.format, self._spec.method
        ):
            self._read += 1
            self._tell_progress(share)
            if (item := self._item(row, example)) is not None:
                batch.append(item)
            if len(batch) == BATCH:
                yield batch
                batch = []
        if batch:
            yield batch

    def _tell_progress(self, share: float) -> None:
        """Rows read, of as many as there are if the rest is like these."""
        total = max(self._read, round(self._read / share)) if share > 0 else 0
        self._report.progress(self._read, total, "rows")

    def _item(self, row: Row, example: Example) -> _Item | None:
        place = self._read - 1
        if isinstance(example, Text) and not example.text.strip():
            self._blank += 1
            return None
        self._suspects.look(place, example)
        try:
            rendered = self._render(example)
        except CannotRender as error:
            self._refused_count += 1
            if len(self._refused) < _NAMED_ROWS:
                self._refused.append(Refused(row=place, reason=str(error)))
            return None
        content = _content(example, self._spec.method)
        return _Item(place, row.value, row_hash(content, self._spec.training.seed), rendered)

    def meta(self, format_name: str) -> Meta:
        """What came of it; sizes are the writer's."""
        return Meta(
            format=encoded.FORMAT, format_name=format_name, method=self._spec.method,
            rows_read=self._read, blank=self._blank,
            has_conversations=self._render.has_conversations,
            merged_systems=self._render.merged_systems,
            refused_count=self._refused_count, refused=self._refused,
            suspects=self._suspects.found,
            special_tokens={
                id: token.content for id, token in self._tokenizer.added_tokens_decoder.items()
            },
        )  # fmt: skip


def _content(example: Example, method: str) -> bytes:
    """What two rows that hold the same have in common."""
    if method == "pretrain" and isinstance(example, Text):
        return example.text.encode(errors="replace")
    return msgspec.json.encode(example)


def _write(
    writer: EncodedWriter, tokenizer: PreTrainedTokenizerBase, batch: Sequence[_Item],
    end_id: int | None,
) -> None:  # fmt: skip
    shows = writer.shows
    texts = [item.rendered for item in batch]
    for item, found in zip(batch, encode(tokenizer, texts, always_places=shows), strict=True):
        # Only a chat template writes the end itself.
        closed = close(found, end_id) if item.rendered.special_tokens else found
        writer.add(item.row, closed.ids, closed.flags, item.digest)
        if shows and closed.places is not None:  # As it is for a quick tokenizer.
            writer.show(item.rendered.text, closed.places, _as_json(item.raw))


def _as_json(raw: Any) -> bytes:
    return msgspec.json.encode(raw, enc_hook=str)


# ---------------------------------------------------------------- words


def _tell(meta: Meta, tokenizer: PreTrainedTokenizerBase, report: Report) -> None:
    """Say what had to be changed or left out; the same whether it was made now or before."""
    if meta.has_conversations:
        ensure_template(tokenizer, report)
    if meta.refused_count:
        report.found(
            "template_refused",
            f"{meta.refused_count} conversations do not fit the model's chat template and are left "
            "out.",
            cause=meta.refused[0].reason,
            remedy="Questions and answers must alternate, beginning with a question.",
        )
    if meta.merged_systems:
        report.decided(
            f"In {meta.merged_systems} conversations the system text was put into the first "
            "question.",
            "The model's chat template knows no system role.",
        )


def _no_room(error: OSError, folder: Path) -> JobError:
    return JobError(
        "disk_full",
        "The tokens of the dataset cannot be kept.",
        cause=disk_sentence(error, folder),
        remedy="Free some space there, or move Fettle's folder: set FETTLE_HOME.",
    )
