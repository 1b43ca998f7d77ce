"""Whether a run goes on by itself after an attempt that ended before its time. Pure.

From what is known of the end to one of: go on, now or after a while, with other settings where
those keep the result; ask; or stop and leave it to the failure card.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from engine.contract.messages import MemoryPool
from engine.contract.patching import Patch

Action = Literal["resume", "ask", "stop"]

FIRST_SECONDS = 8.0
"""Before the first new try: time to say no, and for what was in the way to go."""
_GROWTH = 4
LONGEST_SECONDS = 900.0
_LONGEST_SECONDS_TO_PATCH = 60.0
"""Other settings seldom need that something passes first; the wait is against a quick loop."""
MOST_PATCHES = 10
"""Changes in a row without a newer save: from a batch of 128 down to the last rung."""

_PASSING_CODES = {"worker_lost", "worker_not_ready", "stalled", "save_unreadable"}
"""What a new process may well not meet again."""
_PASSING_PROBLEMS = {
    "illegal_access",
    "wsl_gpu_sync_stall",
    "stall_wsl",
    "tok_fork",
    "map_worker_died",
    "dl_worker_died",
    "hf_429",
}
_NUMERIC_CODES = {"diverged", "nan_loss", "no_gradient", "loss_grows"}
"""The newest save may hold the harm already, so that going on from it would only hide it."""
_WISHED_PROBLEMS = {"asked_to_end"}
"""Somebody ended the worker, and may be ending the computer."""


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """How an attempt ended, and what was tried before."""

    is_lost: bool = False
    """Its host ended, and nobody knows of an error."""
    code: str = ""
    """Of the finding about it; empty if there is none."""
    problem: str = ""
    """Id of the known problem."""
    patch: Patch = {}
    """What mends it, as far as that is not done already."""
    changes_result: bool = False
    effect: str = ""
    """What the patch does to the result, as a sentence."""
    undone: list[str] = []
    """Fields that the patch would bring back to what Fettle had changed them from by itself."""
    vain_patches: int = 0
    """How often it was changed by itself since it last came further than its saves."""
    pool: MemoryPool = ""
    """Which memory ran out, if it was that."""
    has_progress: bool = False
    """Whether the attempt did a step."""
    tries: int = 0
    """How often the run was resumed by itself since it last came further than its saves."""
    saved_step: int = 0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is done about it."""

    action: Action
    seconds: float = 0.0
    """With ``resume``: until then."""
    patch: dict[str, Any] = {}
    """With ``resume``: what is changed first."""
    reason: str = ""
    """For people; empty where the failure card says it all."""


def plan_comeback(ending: Ending, most_tries: int, first_seconds: float = FIRST_SECONDS) -> Plan:
    """What to do after such an end, if a run is resumed ``most_tries`` times in a row at most."""
    if ending.code in _NUMERIC_CODES or ending.problem in _WISHED_PROBLEMS:
        return Plan(action="stop")
    asks = bool(ending.patch) and ending.changes_result
    hurdle = "" if asks else _why_not_patched(ending)
    if hurdle:
        ending = msgspec.structs.replace(ending, patch={}, effect="")
    if asks and not (_may_pass(ending) and _has_trained(ending) and ending.tries < most_tries):
        return _asked(ending)
    if not (ending.patch or _may_pass(ending)):
        return Plan(action="stop", reason=hurdle)
    if ending.tries >= most_tries:
        return _given_up(ending, most_tries, hurdle)
    if ending.patch and not asks:
        seconds = _seconds_to_patch(ending.vain_patches, first_seconds)
        return Plan(action="resume", seconds=seconds, patch=ending.patch, reason=ending.effect)
    at_once = ending.is_lost and ending.tries == 0
    return Plan(
        action="resume",
        seconds=0.0 if at_once else _back_off(ending.tries, first_seconds),
        reason=f"{hurdle} Try {ending.tries + 1} of {most_tries}.".strip(),
    )


def _may_pass(ending: Ending) -> bool:
    """Whether the same attempt again may end otherwise."""
    if ending.is_lost or ending.code in _PASSING_CODES:
        return True
    if ending.pool and ending.pool != "disk":
        return True  # Other programs may have had what was missing.
    if ending.problem in _PASSING_PROBLEMS:
        return True
    # An error that nobody knows, in the midst of training, may be the machine's; before the first
    # step it comes again.
    return ending.code in ("", "unknown") and ending.has_progress


def _why_not_patched(ending: Ending) -> str:
    """Why the patch is not applied without a person, as a sentence; empty if it may be, or there is
    none."""
    if not ending.patch:
        return ""
    if ending.undone:
        fields = " and ".join(ending.undone)
        return f"What would help now takes back what helped before ({fields})."
    if ending.vain_patches >= MOST_PATCHES:
        return f"{ending.vain_patches} changes in a row have brought no newer save."
    return ""


def _seconds_to_patch(earlier: int, first_seconds: float) -> float:
    """The first change is made at once, those after it in growing distance."""
    if earlier == 0:
        return 0.0
    return min(_back_off(earlier - 1, first_seconds), _LONGEST_SECONDS_TO_PATCH)


def _back_off(tries: int, first_seconds: float) -> float:
    return min(first_seconds * float(_GROWTH**tries), LONGEST_SECONDS)


def _has_trained(ending: Ending) -> bool:
    """Whether the settings as they are were seen to work."""
    return ending.has_progress or ending.saved_step > 0


def _asked(ending: Ending) -> Plan:
    if not ending.pool:
        return Plan(action="ask")  # The card has the button and says so.
    return Plan(
        action="ask",
        reason="What would help changes the result, and that is yours to decide.",
    )


def _given_up(ending: Ending, most_tries: int, hurdle: str) -> Plan:
    if most_tries == 0:
        return Plan(action="stop")
    tried = "once" if most_tries == 1 else f"{most_tries} times"
    where = f"the save of step {ending.saved_step}" if ending.saved_step else "its beginning"
    return Plan(
        action="stop",
        reason=f"It was resumed {tried} without coming further than {where}, and ended again. "
        + (hurdle or "Something does not pass by itself."),
    )
