"""What people choose once for all runs, kept beside the runs on the machine that trains them.

One small JSON file of the home. It is never needed: what cannot be read is as if it had not been
chosen.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from engine.contract.messages import Complaint
from engine.contract.validate import in_plain_words
from engine.store.files import write_atomic

FILE = "options.json"
FORMAT = 1


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The choices, each with its description."""

    resume_automatically: Annotated[
        bool,
        Meta(description="Go on by itself from the last save after a crash, a stall or a power "
             "cut."),
    ] = True  # fmt: skip
    resume_tries: Annotated[
        int,
        Meta(ge=0, le=100, description="How often in a row, without a newer save in between."),
    ] = 3
    remember_memory: Annotated[
        bool,
        Meta(description="Begin with the changes that the same spec needed here before, after it "
             "ran out of memory; none of them changes the result."),
    ] = True  # fmt: skip


class _File(msgspec.Struct, frozen=True, kw_only=True):
    format: int = FORMAT
    options: dict[str, Any] = {}


def read(home: Path) -> Options:
    """The choices that were made in this home."""
    try:
        found = msgspec.json.decode((home / FILE).read_bytes(), type=_File)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return Options()
    known = {name: value for name, value in found.options.items() if not _complaint(name, value)}
    return msgspec.convert(known, Options)


def change(home: Path, changes: dict[str, Any]) -> tuple[Options, list[Complaint]]:
    """Choose otherwise; what is not named stays. With complaints nothing is changed.

    Raises ``OSError`` if it cannot be written.
    """
    complaints = [found for item in changes.items() if (found := _complaint(*item))]
    before = read(home)
    if complaints:
        return before, complaints
    content = {**msgspec.to_builtins(before), **changes}
    home.mkdir(parents=True, exist_ok=True)
    text = msgspec.json.format(msgspec.json.encode(_File(options=content)), indent=1)
    write_atomic(home / FILE, text)
    return msgspec.convert(content, Options), []


def _complaint(name: str, value: Any) -> Complaint | None:
    known = {field.name: field.type for field in msgspec.structs.fields(Options)}
    if name not in known:
        return Complaint(
            field=name, problem="There is no such option.", remedy=f"Known are {', '.join(known)}."
        )
    try:
        msgspec.convert(value, known[name])
    except msgspec.ValidationError as error:
        reason = in_plain_words(str(error))
        usual = getattr(Options(), name)
        shown = ("on" if usual else "off") if isinstance(usual, bool) else usual
        return Complaint(
            field=name, problem=f"{value!r} does not fit: {reason}.",
            remedy=f"Write it as in {name}={shown}.",
        )  # fmt: skip
    return None


def descriptions() -> dict[str, str]:
    """What each option is, by its name."""
    fields = msgspec.inspect.type_info(Options).fields  # type: ignore[attr-defined]
    return {field.name: (field.type.extra_json_schema or {}).get("description", "")
            for field in fields}  # fmt: skip
