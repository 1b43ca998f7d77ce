"""Texts that can name something on the Hugging Face hub."""

from __future__ import annotations

import re

_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95}", re.ASCII)
_FILE = re.compile(
    r"\.(json|jsonl|ndjson|csv|tsv|parquet|arrow|txt|text|md|markdown|gz|zst)$", re.IGNORECASE
)
_ADDRESS = re.compile(r"(https?|ftp|s3|gs|hf)://", re.IGNORECASE)


def is_hub_id(text: str) -> bool:
    """Whether the text can be ``org/name`` on the hub."""
    return bool(_ID.fullmatch(text)) and not re.search(r"--|\.\.|\.git$|[.-](/|$)", text)


def is_dataset_id(text: str) -> bool:
    """Whether it can be a dataset's id, and is not plainly the path of a file."""
    return is_hub_id(text) and not _FILE.search(text)


def is_address(text: str) -> bool:
    """Whether it is an address on the web."""
    return bool(_ADDRESS.match(text))
