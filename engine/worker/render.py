"""Examples become text for the tokenizer, whatever method learns from them."""

from __future__ import annotations

from collections.abc import Callable

from engine.formats.example import Conversation, Example, PromptCompletion, Text
from engine.worker.chat import ChatRenderer, LossOn, Rendered


class Renderer:
    """Renders examples. ``chat`` makes what conversations need, when the first one comes;
    ``loss_on`` says what of the others is learnt."""

    def __init__(self, chat: Callable[[], ChatRenderer], loss_on: LossOn = "answers") -> None:
        self._make_chat = chat
        self._loss_on = loss_on
        self._chat: ChatRenderer | None = None

    @property
    def has_conversations(self) -> bool:
        """Whether there was one."""
        return self._chat is not None

    @property
    def merged_systems(self) -> int:
        """Conversations whose system turn went into the first question."""
        return self._chat.merged_systems if self._chat else 0

    def __call__(self, example: Example) -> Rendered:
        """Raises :class:`engine.worker.chat.CannotRender`."""
        match example:
            case Conversation():
                if self._chat is None:
                    self._chat = self._make_chat()
                return self._chat(example)
            case PromptCompletion(prompt=prompt, completion=completion):
                text = prompt + completion
                learns_all = self._loss_on == "everything"
                spans = None if learns_all else [(len(prompt), len(text))]
                return Rendered(text=text, spans=spans, special_tokens=True)
            case Text(text=text):
                return Rendered(text=text, special_tokens=True)
