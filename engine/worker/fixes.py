"""Rows that ``dataset.fixes`` leaves out: chosen among the samples that were made, so that neither
a fix nor its undoing makes a token anew. Only ``reencode`` is done as rows are read."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from engine.contract.dataset_fixes import FIXES, in_order
from engine.contract.dataset_report import COMPARED
from engine.contract.row_places import FileRows
from engine.contract.spec import Spec
from engine.store import encoded
from engine.store.files import write_atomic
from engine.worker import large, suspects
from engine.worker.encoded_parts import Encoding, Fixed
from engine.worker.failures import JobError
from engine.worker.near_copies import MOST_SAMPLES, near_copies
from engine.worker.report import Report
from engine.worker.row_hashes import SomeHashes, first_copies
from engine.worker.row_words import named, sentence

Flags = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
_Finder: TypeAlias = Callable[[Spec, Encoding, Flags, Report], Flags]
MAX_ROWS = 200
"""Named of a fix."""


def fixed(spec: Spec, whole: Encoding, report: Report) -> Encoding:
    """The samples that the spec's fixes leave; tells of each what it did. Raises JobError if they
    leave nothing, or cannot be sure to find all."""
    names = in_order(spec.dataset.fixes)
    if not names:
        return whole
    left = large.empty(len(whole.samples), np.bool_)
    left[:] = True
    told: list[Fixed] = []
    for name in names:
        if name == "reencode":
            told.append(_repaired(whole))
            continue
        out = _OUT[name](spec, whole, left, report)
        for part in large.parts(left, out):
            out[part] &= left[part]
            left[part] &= ~out[part]
        told.append(_dropped(name, whole, large.places_of(out)))
    for each in told:
        note = uncompared(whole) if each.fix == "drop_near_duplicates" else ""
        _tell(each, report, note, whole.files)
    if len(left) and not left.any():
        raise _nothing_left(names)
    return _taken(whole, large.places_of(left), told)


def _taken(whole: Encoding, places: Ints, told: list[Fixed]) -> Encoding:
    if len(places) == len(whole.samples):
        return msgspec.structs.replace(whole, fixed=told)
    return msgspec.structs.replace(
        whole, samples=whole.samples.take(places), hashes=SomeHashes(whole.hashes, places),
        places=places, fixed=told, base=whole,
    )  # fmt: skip


def _repaired(whole: Encoding) -> Fixed:
    rows = whole.meta.suspects.get(suspects.REPAIRED, [])
    return Fixed(fix="reencode", count=len(rows), rows=rows[:MAX_ROWS])


def _dropped(name: str, whole: Encoding, places: Ints) -> Fixed:
    origins = whole.samples.origins
    assert origins is not None
    return Fixed(fix=name, count=len(places), rows=origins[places[:MAX_ROWS]].tolist())


# ---------------------------------------------------------------- which rows


def _suspected(kind: str) -> _Finder:
    def find(spec: Spec, whole: Encoding, left: Flags, report: Report) -> Flags:
        rows = whole.meta.suspects.get(kind, [])
        if len(rows) >= suspects.MAX_ROWS:
            raise _too_many(kind)
        origins = whole.samples.origins
        assert origins is not None
        return large.are_in(origins, rows)

    return find


def _overlong(spec: Spec, whole: Encoding, left: Flags, report: Report) -> Flags:
    return large.over(whole.samples.lengths, spec.training.max_length)


def _copies(spec: Spec, whole: Encoding, left: Flags, report: Report) -> Flags:
    return large.moved(first_copies(whole.hashes))


def _near(spec: Spec, whole: Encoding, left: Flags, report: Report) -> Flags:
    near = near_of(whole, report)
    # What is near to a row that is left out itself is all that is left of both.
    found = large.moved(near)
    for part in large.parts(found, near):
        found[part] &= left[near[part]]
    return found


_OUT: dict[str, _Finder] = {
    "drop_empty": _suspected(suspects.EMPTY_ANSWERS),
    "drop_placeholders": _suspected(suspects.PLACEHOLDERS),
    "drop_echoes": _suspected(suspects.ECHOES),
    "drop_control_tokens": _suspected(suspects.CONTROL_TOKENS),
    "drop_broken_text": _suspected(suspects.BROKEN_TEXT),
    "drop_overlong": _overlong,
    "drop_duplicates": _copies,
    "drop_near_duplicates": _near,
}


def near_of(encoding: Encoding, report: Report) -> Ints:
    """Of each sample the earlier one that it is nearly the same as, but not quite: its own place,
    if there is none. Worked out once and kept beside the tokens; tells how far that is. Raises
    Halted."""
    if encoding.base is None or encoding.places is None:
        return _kept_near(encoding, report)
    kept, places = _kept_near(encoding.base, report), encoding.places
    found = large.empty(len(places), np.int64)
    for part in large.parts(found, places):
        earlier = kept[places[part]]
        now = np.minimum(np.searchsorted(places, earlier), len(places) - 1)
        own = np.arange(part.start, part.stop)
        found[part] = np.where(places[now] == earlier, now, own)
        large.give_back(kept)
    return found


def _kept_near(whole: Encoding, report: Report) -> Ints:
    path = whole.folder / encoded.NEAR
    count = whole.meta.samples
    with contextlib.suppress(OSError):
        if len(kept := large.mapped(path, np.int64)) == count:
            return kept
    own = _originals(whole)
    near = near_copies(
        whole.samples, own[:MOST_SAMPLES],
        lambda done, total: report.progress(done, total, COMPARED),
    )  # fmt: skip
    found = large.counting(count)
    found[own[: len(near)]] = near
    with contextlib.suppress(OSError):  # It can be worked out again.
        write_atomic(path, (found[part].data for part in large.parts(found)))
    return found


def _originals(whole: Encoding) -> Ints:
    """Places of the samples that are no copy of an earlier one."""
    is_copy = large.moved(first_copies(whole.hashes))
    return large.places_of(large.flags(lambda part: ~is_copy[part], is_copy))


# ---------------------------------------------------------------- words


def uncompared(encoding: Encoding) -> str:
    """What is to be said where there are more rows, before any fix, than are compared with each
    other; nothing where there are not."""
    whole = encoding if encoding.base is None else encoding.base
    if len(whole.samples) <= MOST_SAMPLES or len(_originals(whole)) <= MOST_SAMPLES:
        return ""
    most = f"{MOST_SAMPLES:,}".replace(",", " ")
    return f"Only the first {most} rows that are no copies were compared with each other."


def outcome(done: Fixed) -> str:
    """What a fix did, in a sentence."""
    fix = FIXES[done.fix]
    if not done.count:
        return f"{done.fix} finds nothing to do."
    return sentence(done.count, fix.of_one, fix.of_many)


def _tell(done: Fixed, report: Report, note: str, files: Sequence[FileRows]) -> None:
    if done.count or note:
        rows = named(done.rows, done.count, files)
        told = f"dataset.fixes has {done.fix}.", rows, "The file is as it was.", note
        report.decided(outcome(done), " ".join(filter(None, told)))


def _nothing_left(names: Sequence[str]) -> JobError:
    return JobError(
        "bad_data",
        "The fixes leave nothing to train on.",
        cause=f"Every row falls under one of {', '.join(names)}.",
        remedy="Take one out of dataset.fixes, or choose other data.",
    )


def _too_many(kind: str) -> JobError:
    return JobError(
        "bad_data",
        "So many rows are to be left out that not all of them are known.",
        cause=f"More than {suspects.MAX_ROWS} rows have {kind.replace('_', ' ')}.",
        remedy="Take that fix out of dataset.fixes, and mend the file.",
    )
