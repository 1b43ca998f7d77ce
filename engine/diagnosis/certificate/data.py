"""Whether the samples are those of the save, and what made them others."""

from __future__ import annotations

from typing import NamedTuple

from engine.contract.messages import CertificateLine
from engine.diagnosis.certificate.facts import Facts
from engine.diagnosis.certificate.lines import differs, same, unknown
from engine.diagnosis.certificate.settings import (
    SEED,
    differing,
    has_same_data,
    shapes_data,
    shown,
)
from engine.planning.figures import count


def data_line(before: Facts, now: Facts) -> CertificateLine:
    assert now.data is not None
    if before.data is None:
        return unknown("data", "Data")
    if before.data.digest == now.data.digest:
        how_many = f"All {count(now.data.samples)} samples" if now.data.samples else "All samples"
        return same("data", "Data", f"{how_many} are token for token those of the save.")
    return differs(
        "data", "Data", "yes", _amount(before), _amount(now),
        f"{why_other_data(before, now).cause} A place in the old order means other rows in the new "
        "one.",
    )  # fmt: skip


def _amount(facts: Facts) -> str:
    data = facts.data
    if data is None or data.samples is None:
        return "other samples"
    tokens = f", {count(data.tokens)} tokens" if data.tokens is not None else ""
    return f"{count(data.samples)} samples{tokens}"


class OtherData(NamedTuple):
    """Why the samples are others than at the save, for somebody who wanted to go on."""

    title: str
    cause: str
    remedy: str


def why_other_data(before: Facts, now: Facts) -> OtherData:
    """The settings that were changed and the files that were, as far as is known of them."""
    settings, files = _blamed_settings(before, now), _changed_files(before, now)
    if settings:
        old = before.settings or {}
        values = " and ".join(f"{field} = {shown(old.get(field))}" for field in settings)
        causes = [f"{' and '.join(settings)} changed"]
        remedies = [f"Go on with {values}, as it was"]
        if files:
            causes.append(_have_changed(files))
            remedies.append("put the old file back")
        return OtherData(
            "With these settings the data is another than at the last save.",
            f"The samples are others, since {', and '.join(causes)}.",
            f"{', and '.join(remedies)}; or start a new run.",
        )
    if files or _sources(before) is None or _sources(now) is None:
        what = _have_changed(files) if files else "the file has changed"
        return OtherData(
            "The data has changed since the last save.",
            f"The samples are others: {what} since the save.",
            "Put the old file back to go on, or start a new run with the new one.",
        )
    return OtherData(
        "The same files give other tokens than at the last save.",
        "The samples are others, though no file of the data changed: the model's tokenizer or its "
        "chat template did, or a package that uses them.",
        "Put the model's old files and the packages back to go on, or start a new run.",
    )


def _blamed_settings(before: Facts, now: Facts) -> list[str]:
    if not before.settings or not now.settings:
        return []
    changed = differing(before.settings, now.settings)
    return [field for field in changed if shapes_data(field) or field in _OF_TOKENS]


_OF_TOKENS = (SEED, "model.path", "model.revision")


def _have_changed(files: list[str]) -> str:
    return f"{' and '.join(files)} {'has' if len(files) == 1 else 'have'} changed"


def _sources(facts: Facts) -> dict[str, str] | None:
    return facts.data.sources if facts.data else None


def _changed_files(before: Facts, now: Facts) -> list[str]:
    """Datasets and the file of the chat template that hold something else than at the save, by
    their last names."""
    files = _changed_sources(before, now)
    if before.template is not None and before.template != now.template:
        files.append("the file of the chat template")
    return files


def _changed_sources(before: Facts, now: Facts) -> list[str]:
    """Datasets that hold something else than at the save, by their last names."""
    old, new = _sources(before), _sources(now)
    if old is None or new is None:
        return []
    changed = [path for path in old if path in new and old[path] != new[path]]
    return [path.replace("\\", "/").rstrip("/").rpartition("/")[2] for path in changed]


def template_line(before: Facts, now: Facts) -> CertificateLine:
    title = "Chat template"
    if before.template is None or now.template is None:
        return unknown("template", title)
    if before.template == now.template:
        return same("template", title, "It is letter for letter that of the save.")
    has_same = has_same_data(before, now)
    return differs(
        "template", title, "no" if has_same else "yes",
        _template_text(before.template), _template_text(now.template),
        "It writes these conversations as the other one did." if has_same
        else "Conversations are written otherwise than those that were trained on.",
    )  # fmt: skip


def _template_text(digest: str) -> str:
    return digest[:8] or "the model's own"
