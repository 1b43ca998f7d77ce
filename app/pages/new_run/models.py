"""The models on offer: the bundled catalogue, and what lies on the engine's machine. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from app.words import SPACE, size


class Option(msgspec.Struct, frozen=True, kw_only=True):
    """One model in the list."""

    path: str
    """What goes into the spec."""
    group: str
    parameters: int | None = None
    licence: str = ""
    download_bytes: int | None = None
    """Of all its files; None if not known."""
    disk_bytes: int | None = None
    """What of it is on the engine's machine; None if nothing is."""
    family: str = ""
    note: str = ""

    @property
    def facts(self) -> str:
        """A line on it: ``7.2 B parameters · Apache-2.0 · 14.5 GiB to download``."""
        return self.facts_of(with_licence=True)

    def facts_of(self, *, with_licence: bool) -> str:
        """The same, as short as the whole list has to be."""
        parts = [f"{parameters(self.parameters)} parameters"] if self.parameters else []
        parts += [self.licence] if self.licence and with_licence else []
        parts += [self.family] if self.family and not parts else []
        if self.disk_bytes is not None:
            parts.append(f"{size(self.disk_bytes)} on disk")
        elif self.download_bytes is not None:
            parts.append(f"{size(self.download_bytes)} to download")
        return " · ".join(parts)


IN_CACHE = "Downloaded (Hugging Face cache)"
IN_FOLDERS = "Your folders"
BUNDLED = "To download"


def parameters(number: int | None) -> str:
    """A number of weights: ``7.2 B``, ``494 M``, ``93 k``."""
    if number is None:
        return ""
    for unit, factor in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= factor:
            scaled = number / factor
            return f"{scaled:.{1 if scaled < 100 and unit == 'B' else 0}f}{SPACE}{unit}"
    return str(number)


def merge(catalogue: list[Option], inventory: list[dict[str, Any]]) -> list[Option]:
    """All models that are offered: what is on the disk first, then what can be fetched.

    ``inventory`` is the answer to :class:`engine.contract.messages.ListModels`.
    """
    known = {option.path: option for option in catalogue}
    here = [_on_disk(entry, known.get(str(entry.get("path")))) for entry in inventory]
    paths = {option.path for option in here}
    groups = (IN_FOLDERS, IN_CACHE)
    ordered = [option for group in groups for option in here if option.group == group]
    return ordered + [option for option in catalogue if option.path not in paths]


def _on_disk(entry: dict[str, Any], known: Option | None) -> Option:
    path = str(entry.get("path", ""))
    return msgspec.structs.replace(
        known or Option(path=path, group="", family=str(entry.get("family") or "")),
        group=IN_CACHE if entry.get("source") == "cache" else IN_FOLDERS,
        disk_bytes=entry.get("bytes"),
    )
