"""Resumes runs by themselves: joins the policy with what this host knows of a run's end."""

from __future__ import annotations

import logging
import time

from engine.contract.lifecycle import Event, State
from engine.contract.messages import Decision, Done
from engine.contract.patching import Patch, changes, undoes
from engine.diagnosis.comeback import Ending, Plan, plan_comeback
from engine.host.book import spec_of
from engine.host.course import Course
from engine.host.remembering import keep, listed
from engine.host.settings import Settings
from engine.host.threads import begin
from engine.paths import home
from engine.planning.remembered import cost_of, sentence_of
from engine.store import options, tally
from engine.store.options import Options
from engine.store.upgrade import StoreError

log = logging.getLogger(__name__)


class Comeback:
    """Decides of every end of an attempt whether the run goes on; see :class:`Course`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @property
    def options(self) -> Options:
        """What people chose, of this moment."""
        return options.read(home())

    @property
    def is_allowed(self) -> bool:
        """Whether runs are resumed by themselves at all."""
        return self._settings.resume_automatically and self.options.resume_automatically

    def after_attempt(self, course: Course, event: Event, done: Done) -> bool:
        """A worker of this host ended. Whether the run goes on; then it is ``recovering``."""
        if event is not Event.FAIL:
            return False  # A person or the system wanted it so.
        return self._settle(course, done, is_lost=False)

    def after_loss(self, course: Course, event: Event, done: Done) -> bool:
        """As :meth:`after_attempt`, for a worker that had lost its host and saved, or died."""
        if event is Event.FINISH:
            return False
        return self._settle(course, done, is_lost=event is not Event.FAIL)

    # ------------------------------------------------------------ inside

    def _settle(self, course: Course, done: Done, *, is_lost: bool) -> bool:
        if course.state is State.STOPPING or not self.is_allowed:
            return False
        ending = _ending(course, is_lost=is_lost)
        plan = plan_comeback(ending, self.options.resume_tries, self._settings.resume_seconds)
        log.info("%s: %s after %s: %s", course.run, plan.action, ending.code or "?", plan.reason)
        if plan.action != "resume":
            if plan.reason:
                _tell(course, "Not resumed by itself", plan.reason)
            return False
        self._go_on(course, plan, done)
        return True

    def _go_on(self, course: Course, plan: Plan, done: Done) -> None:
        cost = course.lost_steps()
        if plan.patch:
            _change(course, plan, cost)
        else:
            _tell(course, "Goes on by itself", plan.reason, cost=cost)
        course.recover(done.sentence, resumes_at=time.time() + plan.seconds)


def _change(course: Course, plan: Plan, lost: str) -> None:
    run, book = course.run, course.book
    found, earlier = course.last_error, book.tallies[run].patches
    changed = listed(changes(spec_of(book, run), plan.patch))
    pool = found.pool if found else ""
    reason = f"{sentence_of(pool)} {plan.reason}" if pool else plan.reason
    cost = f"{cost_of(plan.patch)} {lost}".strip()
    _tell(course, f"Goes on with {changed}", reason, cost=cost, patch=plan.patch)
    if pool:
        begin(keep, course.folder, earlier, plan.patch, pool)


def _ending(course: Course, *, is_lost: bool) -> Ending:
    found, known = course.last_error, course.book.tallies[course.run]
    # Only a known problem says of its remedy whether that keeps the result.
    patch = _news(course, found.patch) if found and found.problem else {}
    return Ending(
        is_lost=is_lost,
        code=found.code if found else "",
        problem=found.problem if found else "",
        patch=patch,
        undone=_undone(course, patch) if patch else [],
        vain_patches=known.vain_patches,
        changes_result=found.changes_result if found else False,
        effect=found.effect if found else "",
        pool=found.pool if found else "",
        has_progress=course.has_stepped,
        tries=known.tries,
        saved_step=known.saved_step,
    )


def _news(course: Course, patch: Patch) -> Patch:
    """The patch, if it changes anything of what the run is now."""
    try:
        return patch if changes(spec_of(course.book, course.run), patch) else {}
    except StoreError:
        return {}


def _undone(course: Course, patch: Patch) -> list[str]:
    """What the patch would take back of the changes that nobody was asked for."""
    known = course.book.tallies[course.run]
    chosen = len(known.patches) - known.own_patches
    before = tally.spec_of(course.book.folder(course.run), known.patches[:chosen])
    return undoes(before, known.patches[chosen:], patch)


def _tell(
    course: Course, title: str, reason: str, *, cost: str = "", patch: Patch | None = None
) -> None:
    course.book.record(
        course.run,
        Decision(
            at=time.time(), attempt=course.attempt, title=title, reason=reason, cost=cost,
            patch=patch or {},
        ),
    )  # fmt: skip
