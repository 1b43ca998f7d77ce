"""Datasets: which format a file is in, what is wrong with it, and its rows as examples.

One module a format (``sniff`` and ``to_example``), one a kind of file (``rows``). Light: the
standard library and msgspec; pyarrow is imported when a Parquet file is opened.
"""

from engine.formats.check import check_data, check_dataset
from engine.formats.counting import rows_in_all
from engine.formats.dataset import read_examples, split_sizes
from engine.formats.example import (
    Conversation,
    DatasetError,
    Example,
    PromptCompletion,
    Text,
    Turn,
)
from engine.formats.fingerprints import fingerprint
from engine.formats.previewing import preview
from engine.formats.rendering import as_messages, has_tools, without_tools

__all__ = [
    "Conversation",
    "DatasetError",
    "Example",
    "PromptCompletion",
    "Text",
    "Turn",
    "as_messages",
    "check_data",
    "check_dataset",
    "fingerprint",
    "has_tools",
    "preview",
    "read_examples",
    "rows_in_all",
    "split_sizes",
    "without_tools",
]
