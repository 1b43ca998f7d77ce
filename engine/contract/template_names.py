"""What can stand in ``dataset.chat_template``: a name that Fettle knows, or a file. Pure.

What the bundled ones hold lies in ``resources/templates``, and is read by
:mod:`engine.planning.chat_templates`.
"""

from __future__ import annotations

import difflib

AUTO = "auto"
"""The model's own, or the plain one where it has none; an empty text says the same."""
BUNDLED = (
    "chatml", "llama-2", "llama-3", "mistral", "gemma", "qwen", "phi-3", "phi-4", "zephyr",
    "alpaca", "vicuna", "plain",
)  # fmt: skip
"""Names of the bundled ones, in reading order."""
ENDINGS = (".jinja", ".jinja2", ".j2")


def is_auto(chosen: str) -> bool:
    """Whether it is left to the model."""
    return chosen.strip() in ("", AUTO)


def is_file(chosen: str) -> bool:
    """Whether a file is meant, by how it is written: it has a folder or an ending."""
    return "/" in chosen or "\\" in chosen or chosen.lower().endswith(ENDINGS)


def meant(chosen: str) -> str:
    """The bundled one that somebody meant who wrote ``llama3`` or ``ChatML``; empty if none."""
    plain = {_bare(name): name for name in BUNDLED}
    bare = _bare(chosen[:80])
    if bare in plain:
        return plain[bare]
    close = difflib.get_close_matches(bare, plain, n=1, cutoff=0.6)
    return plain[close[0]] if close else ""


def _bare(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())
