"""Supervised fine-tuning with TRL: the loss counts only what the assistant says."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np
from transformers import PreTrainedTokenizerBase
from trl import SFTTrainer

from engine.contract.spec import Spec
from engine.formats.dataset import read_examples, split_sizes
from engine.formats.example import Conversation, Example, PromptCompletion, Text
from engine.worker.bridge import Bridge
from engine.worker.chat import CannotRender, ChatRenderer, Rendered, ensure_template
from engine.worker.prepared import Prepared, must_have_some, without_idle
from engine.worker.report import Report
from engine.worker.samples import Samples, held_back
from engine.worker.tokenise import close, closing_id, cut, encode_all


class Trainer(Bridge, SFTTrainer):  # type: ignore[misc]
    """TRL's trainer behind the bridge."""


def prepare(spec: Spec, tokenizer: PreTrainedTokenizerBase, report: Report) -> Prepared:
    """Tokenise the dataset. Raises DatasetError or JobError."""
    examples = read_all(spec, report)
    if any(isinstance(example, Conversation) for example in examples):
        ensure_template(tokenizer, report)
    renderer = _Renderer(tokenizer, report)
    texts = renderer.all(examples)
    samples = Samples.of(_encode(spec, tokenizer, texts))
    samples.origins = np.asarray(renderer.kept, dtype=np.int64)
    renderer.tell()
    # Rows are told apart by what they hold, so that a change of their order changes no split.
    keys = [msgspec.json.encode(examples[place]) for place in renderer.kept]
    _, count = split_sizes(len(keys), spec.dataset.eval_fraction)
    held = held_back(keys, count, spec.training.seed)
    train = samples.take([place for place in range(len(samples)) if place not in held])
    evaluation = samples.take(sorted(held))
    train = without_idle(train, "samples", report)
    must_have_some(train, len(examples))
    return Prepared(train=train, evaluation=without_idle(evaluation, "held-back samples", report))


def read_all(spec: Spec, report: Report) -> list[Example]:
    """Every row of the dataset. Raises DatasetError."""
    examples: list[Example] = []
    for example in read_examples(spec.dataset.path, spec.dataset.format, spec.method):
        examples.append(example)
        report.progress(len(examples), 0, "rows read")
    return examples


def _encode(
    spec: Spec, tokenizer: PreTrainedTokenizerBase, texts: Iterator[Rendered]
) -> Iterator[tuple[list[int], list[bool]]]:
    end_id = closing_id(tokenizer)
    # Only a chat template writes the end itself; the flags below are in step with the texts.
    for text, encoded in _beside(tokenizer, texts):
        closed = close(encoded, end_id) if text.special_tokens else encoded
        yield cut(closed, spec.training.max_length)


def _beside(
    tokenizer: PreTrainedTokenizerBase, texts: Iterator[Rendered]
) -> Iterator[tuple[Rendered, tuple[list[int], list[bool]]]]:
    waiting: list[Rendered] = []

    def noted() -> Iterator[Rendered]:
        for text in texts:
            waiting.append(text)
            yield text

    for encoded in encode_all(tokenizer, noted()):
        yield waiting.pop(0), encoded


class _Renderer:
    """Renders examples, leaving out those that the model's template refuses."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, report: Report) -> None:
        self._chat = ChatRenderer(tokenizer) if tokenizer.chat_template else None
        self._report = report
        self._refusal = ""
        self._refused = 0
        self.kept: list[int] = []
        """Places of the examples that were rendered."""

    def all(self, examples: list[Example]) -> Iterator[Rendered]:
        for place, example in enumerate(examples):
            try:
                rendered = self._one(example)
            except CannotRender as error:
                self._refused += 1
                self._refusal = self._refusal or str(error)
                continue
            self.kept.append(place)
            yield rendered
            self._report.progress(place + 1, len(examples), "rows")

    def _one(self, example: Example) -> Rendered:
        match example:
            case Conversation():
                assert self._chat is not None
                return self._chat(example)
            case PromptCompletion(prompt=prompt, completion=completion):
                text = prompt + completion
                spans = [(len(prompt), len(text))]
                return Rendered(text=text, spans=spans, special_tokens=True)
            case Text(text=text):
                return Rendered(text=text, special_tokens=True)

    def tell(self) -> None:
        """Say what had to be changed or left out."""
        if self._refused:
            self._report.found(
                "template_refused",
                f"{self._refused} conversations do not fit the model's chat template and are left "
                "out.",
                cause=self._refusal,
                remedy="Questions and answers must alternate, beginning with a question.",
            )
        if self._chat is not None and self._chat.merged_systems:
            self._report.decided(
                f"In {self._chat.merged_systems} conversations the system text was put into the "
                "first question.",
                "The model's chat template knows no system role.",
            )
