"""The summary of a run, kept up record by record and in ``status.json``.

A :class:`Tally` is a fold over the records: the same records give the same tally, so it can be made
again from the journals whenever ``status.json`` is missing, damaged or behind. Only what the disk
says (checkpoints, their size) and who works on it (pid) come from elsewhere.
"""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Any

import msgspec

from engine.contract.lifecycle import LIVE, RESTING, Phase, State
from engine.contract.messages import (
    CheckpointSaved,
    Decision,
    Done,
    Evaluated,
    Finding,
    PhaseChanged,
    Record,
    RunSummary,
    StateChanged,
    Step,
)
from engine.contract.patching import patched
from engine.contract.spec import Spec
from engine.contract.validate import check
from engine.store.checkpoints import published
from engine.store.files import write_atomic
from engine.store.manifest import read_manifest
from engine.store.records import newest_seq, read_records
from engine.store.runs import RunFile, read_run
from engine.store.upgrade import STATUS_FORMAT, StoreError, read_versioned

STATUS_FILE = "status.json"
RESULT_WAITS, RESULT_WRITTEN = "result_waits", "result_written"
"""Codes of findings: what a run waits for at its very end stands in its summary."""
_CURVE_POINTS = 60
_SPEED_STEPS = 20
"""Steps that speed and time left are averaged over."""


class Curve(msgspec.Struct, kw_only=True):
    """The loss over a whole run in at most 60 means of equally many steps each."""

    stride: int = 1
    """Steps a point stands for."""
    points: list[float] = []
    total: float = 0.0
    count: int = 0
    """Steps in the last, unfinished point, and the sum of their losses."""

    def add(self, step: int, loss: float | None) -> None:
        """Take in the loss after ``step`` steps. A step that comes again (resume) replaces."""
        place = (step - 1) // self.stride
        if place != len(self.points) - 1:
            del self.points[max(place, 0) :]
            before = self.points[-1] if self.points else loss or 0.0
            self.points += [before] * (place + 1 - len(self.points))
            self.total, self.count = 0.0, 0
        if loss is not None:
            self.total, self.count = self.total + loss, self.count + 1
            self.points[-1] = float(f"{self.total / self.count:.4g}")
        while len(self.points) > _CURVE_POINTS:
            self._halve()

    def _halve(self) -> None:
        pairs = zip(self.points[::2], [*self.points[1::2], self.points[-1]], strict=False)
        self.points = [(a + b) / 2 for a, b in pairs]
        self.stride *= 2
        self.total, self.count = self.points[-1], 1


class Tally(msgspec.Struct, kw_only=True):
    """All that ``status.json`` holds. Changed in place: it is state, not a message."""

    format: int = STATUS_FORMAT
    run: str
    name: str
    created_at: float
    method: str = ""
    model: str = ""
    dataset: str = ""
    kind: str = ""
    seq: int = 0
    """The last record taken in."""
    state: State = State.CREATED
    phase: Phase = Phase.WAITING
    step: int = 0
    """The last step done; of a run that is to go on, the one that it goes on from."""
    reached_step: int = 0
    """The last step done, however much of it is to be done again."""
    max_steps: int = 0
    attempt: int = 0
    """0 before the first."""
    checkpoints: int = 0
    bytes: int = 0
    queued_at: float | None = None
    started_at: float | None = None
    """Of the newest attempt's worker; None while none is at work."""
    seen_at: float | None = None
    """Time of the last record."""
    ended_at: float | None = None
    worked_seconds: float = 0.0
    """Time in the workers of earlier attempts."""
    loss: float | None = None
    eval_loss: float | None = None
    curve: Curve = msgspec.field(default_factory=Curve)
    recent_ms: list[float] = []
    recent_tokens: list[int] = []
    sentence: str = ""
    output: str | None = None
    patches: list[dict[str, Any]] = []
    """What Decisions have changed of the run's spec, the oldest first."""
    saved_step: int = 0
    """The furthest step that was saved."""
    tries: int = 0
    """How often the run was to be resumed by itself since it last came further than its saves."""
    own_patches: int = 0
    """How many of the newest patches were made with nobody asked, since a person chose one."""
    vain_patches: int = 0
    """How many of those came since it was last saved further, or a person wanted it."""
    resumes_at: float | None = None
    """When it is, while it is recovering."""
    is_pausing: bool = False
    """A person wants it to pause, and its worker has yet to be gone."""
    pid: int | None = None
    pid_started_at: float | None = None
    """When that process began, as :func:`engine.host.worker.start_time_of` tells it."""

    def apply(self, record: Record) -> None:
        """Take in the next record."""
        self.seq = max(self.seq, record.seq)
        self.seen_at = record.at
        self.attempt = max(self.attempt, record.attempt)
        match record:
            case StateChanged():
                self._apply_state(record)
            case PhaseChanged():
                self.phase = record.phase
                self.max_steps = record.max_steps or self.max_steps
            case Step():
                self._apply_step(record)
            case Evaluated():
                self.eval_loss = record.eval_loss
            case Done():
                self._apply_done(record)
            case Finding() if record.code == RESULT_WAITS:
                self.sentence = f"{record.title} {record.remedy}"
            case Finding() if record.code == RESULT_WRITTEN:
                self.sentence = ""
            case Decision() if record.patch:
                self._apply_patch(record.patch)
            case CheckpointSaved() if record.step > self.saved_step:
                self.saved_step, self.tries, self.vain_patches = record.step, 0, 0
            case _:
                pass

    def _apply_patch(self, patch: dict[str, Any]) -> None:
        self.patches = [*self.patches, patch]
        self.tries = 0  # With other settings it is another thing that is tried.
        if self.state in LIVE:
            self.own_patches += 1
            self.vain_patches += 1
        else:
            # A person chose it, or what is remembered of another run did before this one began.
            self.own_patches = self.vain_patches = 0

    def _apply_state(self, record: StateChanged) -> None:
        if record.state is State.QUEUED and self.state in RESTING:
            # A person wants it; what was tried before does not count.
            self.tries = self.vain_patches = 0
        self.state = record.state
        # What it waits for changes while it does.
        self.sentence = "" if record.state is State.QUEUED else record.sentence
        self.resumes_at = record.resumes_at
        if record.state not in LIVE:
            self.is_pausing = False
        if record.state is State.QUEUED:
            self.queued_at, self.ended_at = record.at, None
            self.phase, self.output = Phase.WAITING, None
            if record.step is not None:
                # The maximum: a file of an older Fettle does not have the one.
                self.reached_step, self.step = max(self.reached_step, self.step), record.step
        elif record.state is State.STARTING:
            self.started_at = record.at
            self.recent_ms, self.recent_tokens = [], []
        elif record.state is State.RECOVERING:
            self.tries += 1
            self._close(record.at)
            self.phase, self.ended_at = Phase.WAITING, None
        elif record.state is State.PAUSED:
            self._close(record.at)
            self.phase, self.ended_at = Phase.WAITING, None
        elif record.state in RESTING:
            self._close(record.at)

    def _apply_step(self, record: Step) -> None:
        self.step = self.reached_step = record.step
        self.loss = record.loss
        self.curve.add(record.step, record.loss)
        self.recent_ms = [*self.recent_ms[1 - _SPEED_STEPS :], record.step_ms]
        self.recent_tokens = [*self.recent_tokens[1 - _SPEED_STEPS :], record.tokens]

    def _apply_done(self, record: Done) -> None:
        self.step = record.step
        self.output = record.output
        self.sentence = record.sentence or self.sentence
        self._close(record.at)

    def _close(self, at: float) -> None:
        self.phase = Phase.ENDED
        self.ended_at = at
        if self.started_at is not None:
            self.worked_seconds += max(at - self.started_at, 0.0)
        self.started_at = self.queued_at = None

    def look_at_spec(self, raw: dict[str, Any]) -> None:
        """Say what a run with this spec is."""
        spec, _ = check(raw)
        self.method = spec.method if spec else str(raw.get("method", ""))
        self.model = _last_part(spec, "model", raw)
        self.dataset = _last_part(spec, "dataset", raw)
        self.kind = spec.kind if spec else ""

    def look_at_disk(self, folder: Path) -> None:
        """Count the checkpoints in the run folder, unverified."""
        found = [_size_of(path) for _, path in published(folder)]
        sizes = [size for size in found if size is not None]
        self.checkpoints, self.bytes = len(sizes), sum(sizes)

    def summary(self, folder: Path, *, queue_place: int | None = None) -> RunSummary:
        """The line of this run in the list of runs."""
        milliseconds = sum(self.recent_ms)
        live = self.state in LIVE and milliseconds > 0
        return RunSummary(
            run=self.run,
            folder=str(folder),
            name=self.name,
            state=self.state,
            phase=self.phase,
            step=self.step,
            max_steps=self.max_steps,
            checkpoints=self.checkpoints,
            attempt=max(self.attempt, 1),
            method=self.method,
            model=self.model,
            dataset=self.dataset,
            kind=self.kind,
            created_at=self.created_at,
            ended_at=self.ended_at,
            train_seconds=self._train_seconds(),
            eta_seconds=self.seconds_left(),
            queue_place=queue_place,
            loss=self.loss,
            eval_loss=self.eval_loss,
            loss_curve=list(self.curve.points),
            tokens_per_second=sum(self.recent_tokens) * 1000 / milliseconds if live else None,
            sentence=self.sentence,
            output=self.output,
            bytes=self.bytes,
            resumes_at=self.resumes_at,
        )

    def seconds_left(self) -> float | None:
        """By the mean of the last steps; None while it has none, or is not live."""
        if self.state not in LIVE or sum(self.recent_ms) <= 0:
            return None
        mean = sum(self.recent_ms) / len(self.recent_ms) / 1000
        return max(self.max_steps - self.step, 0) * mean

    def _train_seconds(self) -> float:
        if self.started_at is None or self.seen_at is None:
            return self.worked_seconds
        return self.worked_seconds + max(self.seen_at - self.started_at, 0.0)


def _size_of(checkpoint: Path) -> int | None:
    try:
        return read_manifest(checkpoint).bytes
    except ValueError:
        return None


def new_tally(content: RunFile) -> Tally:
    """The tally of a run without any records."""
    made = Tally(run=content.run, name=content.name, created_at=content.created_at)
    made.look_at_spec(content.spec)
    return made


def _last_part(spec: Spec | None, table: str, raw: dict[str, Any]) -> str:
    if spec and table == "dataset":
        return spec.dataset.title
    path = spec.model.path if spec else (raw.get(table) or {}).get("path", "")
    return PurePath(str(path).replace("\\", "/")).name


def write(folder: Path, tally: Tally, *, durable: bool) -> None:
    """Replace ``status.json``. Raises ``OSError``."""
    write_atomic(folder / STATUS_FILE, msgspec.json.encode(tally), durable=durable)


def load(folder: Path) -> Tally:
    """The tally of a run, from ``status.json`` and what the journals have beyond it.

    Raises :class:`StoreError` if the run cannot be read at all.
    """
    tally = _from_file(folder)
    newest = newest_seq(folder)
    if tally is not None and tally.state in RESTING and tally.seq >= newest:
        return tally
    tally = tally or new_tally(read_run(folder))
    if tally.seq < newest:
        for record in read_records(folder, tally.seq):
            tally.apply(record)
    if tally.patches:
        tally.look_at_spec(spec_of(folder, tally.patches))
    tally.look_at_disk(folder)
    return tally


def spec_of(folder: Path, patches: list[dict[str, Any]]) -> dict[str, Any]:
    """The raw spec that a run has now. Raises :class:`StoreError`."""
    return patched(read_run(folder).spec, patches)


def _from_file(folder: Path) -> Tally | None:
    try:
        data = (folder / STATUS_FILE).read_bytes()
        return msgspec.convert(read_versioned(data, STATUS_FILE, STATUS_FORMAT, {}), Tally)
    except (OSError, StoreError, msgspec.ValidationError):
        return None
