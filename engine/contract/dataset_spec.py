"""The tables of a spec that say what to learn from: one dataset, or several in a mixture."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from engine.contract.dataset_fixes import FixName
from engine.contract.table import Table

FormatName = Literal[
    "auto", "alpaca", "sharegpt", "messages", "prompt_completion", "preference",
    "unpaired_preference", "prompt_only", "text",
]  # fmt: skip
COLUMNS = (
    "instruction", "input", "output", "system", "history", "messages", "conversations", "prompt",
    "completion", "chosen", "rejected", "label", "text", "tools", "role", "content",
)  # fmt: skip
"""What a column can be said to be; ``role`` and ``content`` are fields of each message."""
ROLES = ("system", "user", "assistant", "tool")
MAX_ROWS = 10**12

PATH = (
    "A JSON, JSONL, CSV, Parquet, Arrow or text file, also as .gz or .zst; a folder of them, a "
    "pattern such as data/*.jsonl, or the Hugging Face id of a dataset."
)
_FORMAT = "Shape of a row. auto looks at the first rows."
_COLUMNS = (
    'Which of the file\'s columns is what, such as instruction = "Frage". Left out: by their '
    "usual names."
)
_ROLES = 'What the file calls those who speak, such as user = "customer". Left out: as usual.'
_SKIP = "Rows left out at the beginning."
_MOST = "Use only so many rows, the first ones; 0: all."

Names = dict[str, str]
"""What Fettle calls something, to what the file calls it."""


class SourceSpec(Table, frozen=True, kw_only=True):
    """One of several datasets."""

    path: Annotated[str, Meta(min_length=1, description=PATH)]
    format: Annotated[FormatName, Meta(description=_FORMAT)] = "auto"
    columns: Annotated[Names, Meta(description=_COLUMNS)] = {}
    roles: Annotated[Names, Meta(description=_ROLES)] = {}
    skip_samples: Annotated[int, Meta(ge=0, le=MAX_ROWS, description=_SKIP)] = 0
    max_samples: Annotated[int, Meta(ge=0, le=MAX_ROWS, description=_MOST)] = 0
    weight: Annotated[
        float,
        Meta(
            gt=0,
            le=1000,
            description="How often a row is learnt in each epoch: 2 is twice, 0.5 half of the "
            "rows, chosen by the seed.",
        ),
    ] = 1.0


class DatasetSpec(Table, frozen=True, kw_only=True):
    """The data to learn from."""

    path: Annotated[str, Meta(description=PATH)] = ""
    format: Annotated[FormatName, Meta(description=_FORMAT)] = "auto"
    columns: Annotated[Names, Meta(description=_COLUMNS)] = {}
    roles: Annotated[Names, Meta(description=_ROLES)] = {}
    skip_samples: Annotated[int, Meta(ge=0, le=MAX_ROWS, description=_SKIP)] = 0
    max_samples: Annotated[int, Meta(ge=0, le=MAX_ROWS, description=_MOST)] = 0
    chat_template: Annotated[
        str,
        Meta(
            max_length=4096,
            description="How a conversation is written for the model: auto takes the model's own "
            "chat template; else the name of a bundled one, such as chatml, or a .jinja file.",
        ),
    ] = "auto"
    loss_on: Annotated[
        Literal["answers", "last_answer", "everything"],
        Meta(
            description="What is learnt: all answers of a conversation (and completions), only "
            "its last answer, or everything, the questions too."
        ),
    ] = "answers"
    fixes: Annotated[
        list[FixName],
        Meta(
            description="What is done about rows as they are read; the file itself is never "
            "changed. Left out are copies (drop_duplicates), near copies (drop_near_duplicates), "
            "empty answers (drop_empty), those such as NaN (drop_placeholders) and those that "
            "repeat the question (drop_echoes), rows longer than max_length (drop_overlong), rows "
            "with control tokens (drop_control_tokens) or lost characters (drop_broken_text). "
            "reencode repairs text that was read in the wrong encoding."
        ),
    ] = []
    eval_fraction: Annotated[
        float,
        Meta(
            ge=0,
            le=0.5,
            description="Share of rows held back to measure the loss on text that "
            "was not trained on.",
        ),
    ] = 0.05
    sources: Annotated[
        list[SourceSpec],
        Meta(
            description="Several datasets in place of path: a [[dataset.sources]] for each, with a "
            "path and, if need be, format, columns, roles, skip_samples, max_samples and weight."
        ),
    ] = []

    @property
    def entries(self) -> list[SourceSpec]:
        """The datasets, at least one."""
        if self.sources:
            return self.sources
        return [
            SourceSpec(
                path=self.path, format=self.format, columns=self.columns, roles=self.roles,
                skip_samples=self.skip_samples, max_samples=self.max_samples,
            )
        ]  # fmt: skip

    @property
    def title(self) -> str:
        """What people know it by: the last part of its path, and how many more there are."""
        first = self.entries[0].path.replace("\\", "/").rstrip("/").rpartition("/")[2]
        more = len(self.entries) - 1
        return f"{first} and {more} more" if more else first

    def field_of(self, place: int) -> str:
        """Dotted name of the table of an entry; entries of ``sources`` are counted from 1."""
        return f"dataset.sources[{place + 1}]" if self.sources else "dataset"
