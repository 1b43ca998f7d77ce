"""What a rehearsal came to, in words: from what its worker said, or did not say any more. Pure."""

from __future__ import annotations

from typing import Literal

import msgspec

from engine.contract.messages import Done, Finding, Pool, PoolPeak, Rehearsed
from engine.planning.figures import gib

_LITTLE_ROOM = 0.04
"""Share of the card; a plan for less than this much room is for the lucky."""
_SHORT = {"out_of_memory": "out of VRAM", "out_of_ram": "out of RAM"}
"""What is out, by the code of the finding; such an end is told with its place."""
_KILLED = -9
_CRASHED = (-11, -7)


class Course(msgspec.Struct):
    """What was heard of a rehearsal so far."""

    where: str = "loading of the model"
    """What the worker was doing last."""
    findings: list[Finding] = []
    done: Done | None = None


def ending(
    run: str, heard: Course, exit_code: int | None, *, is_stopped: bool, disk_free: int | None,
    planned: dict[str, int],
) -> Rehearsed:  # fmt: skip
    """The last word. ``exit_code`` is that of a worker that ended without its Done."""
    if is_stopped or (heard.done and heard.done.outcome == "stopped"):
        return _ended(run, heard, "stopped", "The rehearsal was stopped; nothing of it is left.")
    if heard.done is None:
        return _ended(run, heard, "would_die", _of_exit(heard.where, exit_code, planned))
    if heard.done.outcome == "failed":
        return _ended(run, heard, "would_die", _of_failure(heard))
    found = msgspec.convert(heard.done.data, Rehearsed)
    pools = [_filled(pool, planned, disk_free) for pool in found.pools]
    findings = heard.findings
    found = msgspec.structs.replace(found, run=run, pools=pools, findings=findings)
    return msgspec.structs.replace(found, sentence=_of_success(found))


def _ended(
    run: str, heard: Course, verdict: Literal["would_die", "stopped"], sentence: str
) -> Rehearsed:
    return Rehearsed(run=run, verdict=verdict, sentence=sentence, findings=heard.findings)


# ---------------------------------------------------------------- it would die


def _of_exit(where: str, code: int | None, planned: dict[str, int]) -> str:
    more = ""
    if code == _KILLED:
        why = "the system ended the worker, most often because the computer's memory (RAM) ran out"
        most = max((planned.get(pool, 0) for pool in ("ram", "tensors")), default=0)
        needs = f"The plan comes to {gib(most)} of it, and says" if most else "The plan says"
        more = f" {needs} what would make room."
    elif code in _CRASHED:
        why = "a library crashed: PyTorch, the GPU driver, or one of their parts"
    else:
        why = f"the worker ended without a word (exit code {code})"
    return f"It would have died in the {where}: {why}.{more}"


def _of_failure(heard: Course) -> str:
    errors = [finding for finding in heard.findings if finding.severity == "error"]
    if not errors:
        return f"It would have died in the {heard.where}."
    last = errors[-1]
    if last.code in _SHORT:
        return f"It would have died: {_SHORT[last.code]} in the {heard.where}. {last.remedy}"
    sentence = f"It would have died: {_lower(last.title)} {last.cause} {last.remedy}"
    return " ".join(sentence.split())


def _lower(title: str) -> str:
    """A title as a part of a sentence."""
    return title[:1].lower() + title[1:]


# ---------------------------------------------------------------- it fits


def _filled(pool: PoolPeak, planned: dict[str, int], disk_free: int | None) -> PoolPeak:
    limit = disk_free if pool.pool == "disk" else pool.limit_bytes
    return msgspec.structs.replace(pool, planned_bytes=planned.get(pool.pool), limit_bytes=limit)


def _of_success(found: Rehearsed) -> str:
    peaks = {pool.pool: pool for pool in found.pools}
    candidates: tuple[Pool, ...] = ("vram",) if "vram" in peaks else ("tensors", "ram")
    place = "on the card" if "vram" in peaks else "of RAM that it can have"
    most = max(
        (peaks[pool] for pool in candidates if pool in peaks),
        key=lambda peak: peak.measured_bytes, default=None,
    )  # fmt: skip
    return " ".join([_memory_sentence(most, place), *_disk_sentences(found, peaks.get("disk"))])


def _memory_sentence(peak: PoolPeak | None, place: str) -> str:
    if peak is None:
        return "It fits."
    if peak.limit_bytes is None:
        return f"It fits: at most {gib(peak.measured_bytes)}."
    left = peak.limit_bytes - peak.measured_bytes
    verdict = "It fits, but barely" if left < _LITTLE_ROOM * peak.limit_bytes else "It fits"
    return (
        f"{verdict}: at most {gib(peak.measured_bytes)} of the {gib(peak.limit_bytes)} {place}, "
        f"{gib(left)} to spare."
    )


def _disk_sentences(found: Rehearsed, disk: PoolPeak | None) -> list[str]:
    if disk is None or disk.limit_bytes is None or found.checkpoint_bytes is None:
        return []
    fitting = disk.limit_bytes // max(1, found.checkpoint_bytes)
    if fitting >= 4:
        return []
    return [f"The disk has room for {fitting} saves; a run needs room for 3 at least."]
