"""What a row becomes, and how a row says that it cannot.

An example is what a training method learns from, whatever file and shape it came in. Everything
here is a plain value: nothing knows of tokens or templates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec

from engine.contract.messages import Complaint

Role = Literal["system", "user", "assistant", "tool"]
RawRow = Mapping[str, Any]


class Turn(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One message of a conversation."""

    role: Role
    """``tool`` is what a called function answered."""
    content: str
    tool_calls: list[dict[str, Any]] | None = None
    """Calls as structures, where the file has them so (OpenAI's shape)."""
    name: str | None = None
    tool_call_id: str | None = None


class Conversation(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag_field="kind",
    tag="conversation",
    omit_defaults=True,
):
    """A chat. The assistant's turns are what is learnt."""

    messages: list[Turn]
    tools: list[dict[str, Any]] | None = None
    """Functions the assistant may call, as JSON schemas, for the chat template."""


class PromptCompletion(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="prompt_completion"
):
    """A beginning and its continuation; the continuation is what is learnt. No chat template."""

    prompt: str
    completion: str


class Text(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="text"):
    """A document, learnt from first to last token. It may be very long, or empty."""

    text: str


Example = Conversation | PromptCompletion | Text
"""What sft and pretrain learn from."""

Said = str | list[Turn]
"""Text as it is, or turns for a chat template."""


class Preference(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="preference",
    omit_defaults=True,
):  # fmt: skip
    """A question with a better and a worse answer; all three are text, or all are turns."""

    prompt: Said
    chosen: Said
    rejected: Said
    tools: list[dict[str, Any]] | None = None


class Verdict(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="verdict", omit_defaults=True
):
    """A question, an answer, and whether that is good; both are text, or both are turns."""

    prompt: Said
    completion: Said
    label: bool
    tools: list[dict[str, Any]] | None = None


class Prompt(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="prompt"):
    """A question without an answer."""

    prompt: Said


Sample = Example | Preference | Verdict | Prompt
"""What a row is, whatever a method makes of it."""


class Guess(msgspec.Struct, frozen=True, kw_only=True):
    """How well a format fits some rows."""

    score: float
    """0 (not at all) to 1 (every row)."""
    reason: str
    """One sentence, for people."""


class RowError(ValueError):
    """A row that does not fit its format. Says what is wrong, not where: the reader knows that."""

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(f"{problem} {remedy}".rstrip())
        self.problem = problem
        self.remedy = remedy


class DatasetError(ValueError):
    """A dataset that cannot be used, with the file and line in its sentence."""

    def __init__(
        self, problem: str, remedy: str = "", field: str = "dataset.path",
        patch: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(f"{problem} {remedy}".rstrip())
        self.problem = problem
        self.remedy = remedy
        self.field = field
        self.patch = dict(patch or {})
        """What follows the remedy at one click; empty if nothing does."""

    @property
    def complaint(self) -> Complaint:
        """The same as a complaint about the spec."""
        return Complaint(
            field=self.field, problem=self.problem, remedy=self.remedy, patch=self.patch
        )

    def within(self, table: str) -> DatasetError:
        """The same about an entry of a mixture; ``table`` is its name, such as
        ``dataset.sources[2]``."""
        if table == "dataset" or self.field.startswith(table):
            return self
        field = table + self.field.removeprefix("dataset")
        # A patch reaches the table of the one dataset only.
        return DatasetError(self.problem, self.remedy, field)


class Row(msgspec.Struct, frozen=True):
    """One raw row and where it stands."""

    number: int
    """1 for the first row of its file."""
    line: int | None
    """Line of the file where it starts, 1 for the first; None where files have no lines."""
    value: Any
    error: DatasetError | None = None
    """Why the row could not be read, where those after it can; ``value`` is then what stands there,
    as text."""
    end: int = 0
    """Bytes of the file up to the row's end; 0 where nobody knows."""

    @property
    def where(self) -> str:
        """``row 3 (line 12)``, for people."""
        return f"row {self.number}" + (f" (line {self.line})" if self.line else "")


class Format(Protocol):
    """A dataset format: a module of this package with these names."""

    def sniff(self, rows: Sequence[object]) -> Guess:
        """How well the rows fit."""

    def to_example(self, row: object) -> Sample:
        """The row as an example. Raises :class:`RowError` if it does not fit."""
