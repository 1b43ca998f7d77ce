"""The job ``rehearse``: the heaviest steps of a run on its own data, an evaluation, a save and a
resume, with the parts that the run itself uses; then nothing of it is left."""

from __future__ import annotations

import contextlib
import gc
import shutil
import time
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import torch

from engine.contract.lifecycle import Phase
from engine.contract.messages import Done, Job, PoolPeak, Rehearsed
from engine.contract.spec import Spec
from engine.store.checkpoints import FOLDER, name_of
from engine.store.manifest import read_manifest
from engine.worker import heaviest
from engine.worker.batches import row_lengths
from engine.worker.by_sample import attends_by_sample
from engine.worker.course import Resumed
from engine.worker.failures import JobError
from engine.worker.heaviest import Chosen, Pick, Shape
from engine.worker.loading import Compute, choose_compute
from engine.worker.meter import Meter
from engine.worker.prepared import Prepared
from engine.worker.report import Report
from engine.worker.safely import adjusted, make_offload_ring
from engine.worker.samples import Samples
from engine.worker.save_timing import Cost
from engine.worker.train_job import (
    Loaded,
    fresh_model,
    held_back_rows,
    load,
    make_rows,
    make_saver,
    make_schedule,
    may_pin,
    offloads,
    read_spec,
    set_out,
    settle_rows,
)
from engine.worker.tried import Stage, Tried, announcing

_SKIPPED_AT_MOST = 24
"""Steps that the scaler of fp16 may leave out until it has found its factor."""
_MIXED_STEPS = 20
"""Of the run's own, after the heaviest, where the memory is RAM: there the gaps that pieces of many
sizes leave between them count too, and they come with the variety."""
_ORDINARY_STEPS = 2
"""Of which the second is timed."""

_GROWN = 2.0
"""Times the loss before: more, on the same rows after one step, is no noise."""
_RUINED = 10.0
"""Times the loss before: far worse than chance."""


Saved = tuple[int, Cost]
"""Step of the save, 0 without one, and what it took."""


class _Times(msgspec.Struct):
    """Seconds, filled in as the rehearsal goes on."""

    load: float = 0.0
    longest_step: float = 0.0
    step: float = 0.0
    evaluation: float = 0.0
    """Of all held-back rows."""
    save: float = 0.0
    stall: float = 0.0
    """Of a save that is written while training goes on."""


def run(job: Job, report: Report) -> Done:
    """Rehearse in ``job.folder``, which is gone afterwards. Raises whatever the run would."""
    folder = Path(job.folder)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        found = _Rehearsal(read_spec(job.spec), folder, report).go()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Done(at=time.time(), outcome="finished", step=0, data=msgspec.to_builtins(found))


def steps_alone(job: Job, report: Report) -> list[PoolPeak]:
    """The peaks of loading, the heaviest steps and the evaluation; nothing is saved or resumed.

    For studies of many specs on one card. Raises whatever the run would.
    """
    return _Rehearsal(read_spec(job.spec), Path(job.folder), report).go_as_far_as_evaluation()


class _Rehearsal:
    """One rehearsal. Its parts come one after the other in :meth:`go`."""

    def __init__(self, spec: Spec, folder: Path, report: Report) -> None:
        self._real = spec
        self._spec = undisturbed(spec)
        self._folder = folder
        self._report = report
        self._times = _Times()

    def go(self) -> Rehearsed:
        """All of it. Raises whatever the run would; ``Halted`` if asked to end."""
        began = time.monotonic()
        compute = self._begin()
        with Meter(compute.device) as meter:
            self._stage = Stage(self._report, meter)
            loaded = self._load(compute)
            pick = self._pick(loaded)
            checkpoint = self._saved_by(self._try_heaviest(loaded, pick, saves=True))
            loaded = loaded._replace(model=None)
            _forget()
            self._try_resume(loaded, pick, checkpoint)
            pools = meter.pools()
        size = read_manifest(checkpoint).bytes
        return Rehearsed(
            run="",
            verdict="fits",
            sentence="",
            pools=[*pools, PoolPeak(pool="disk", measured_bytes=size, moment="save")],
            step_seconds=self._times.step,
            longest_step_seconds=self._times.longest_step,
            total_steps=self._schedule.total_steps,
            total_seconds=total_seconds(self._real, self._schedule.total_steps, self._times),
            checkpoint_bytes=size,
            heaviest=in_words(pick.shape),
            heaviest_rows=pick.shape.rows,
            heaviest_tokens=pick.shape.length,
            device=compute.device,
            seconds=time.monotonic() - began,
        )

    def go_as_far_as_evaluation(self) -> list[PoolPeak]:
        """What comes before the first save."""
        compute = self._begin()
        with Meter(compute.device) as meter:
            self._stage = Stage(self._report, meter)
            loaded = self._load(compute)
            self._try_heaviest(loaded, self._pick(loaded), saves=False)
            return meter.pools()

    def _begin(self) -> Compute:
        self._report.enter(Phase.LOADING_MODEL)
        compute = choose_compute(self._spec, self._report)
        self._spec = adjusted(self._spec, compute.safe)
        self._real = adjusted(self._real, compute.safe)
        return compute

    # ------------------------------------------------------------ what there is to try

    def _load(self, compute: Compute) -> Loaded:
        began = time.monotonic()
        loaded = load(self._spec, compute, self._report)
        loaded = settle_rows(self._spec, loaded, self._report)
        self._times.load = time.monotonic() - began
        return loaded

    def _pick(self, loaded: Loaded) -> Pick:
        self._rows = make_rows(self._real, loaded)
        self._schedule = make_schedule(self._real, len(self._rows))
        return heaviest.pick(
            row_lengths(self._rows),
            self._schedule,
            self._real.training.per_device_train_batch_size,
            targets=self._rows.rows.sums(self._rows.samples.target_counts),
            one_line=self._rows.one_line,
        )

    # ------------------------------------------------------------ trying

    def _try_heaviest(self, loaded: Loaded, pick: Pick, *, saves: bool) -> Saved:
        """The heaviest steps, then once more with a save under way, whose copy takes RAM too, and
        an evaluation. The model and all that trains it are not kept."""
        wanted = len(pick.windows)
        mixed = _MIXED_STEPS if loaded.compute.device == "cpu" else 0
        turns = islice(self._schedule.turns(), min(mixed, self._schedule.total_steps))
        windows = [*pick.windows, pick.windows[0], *(turn.rows for turn in turns)]
        more = len(windows) - wanted if saves else 0
        steps = len(windows) + (_SKIPPED_AT_MOST if loaded.compute.precision == "fp16" else 0)
        course = self._course(loaded, windows, steps, resumed=None)
        course.expect(self._stage, wanted, more)
        self._stage.batch = f"the longest batch ({in_words(pick.shape)})"
        trainer = self._set_out(loaded, course, resumed=None)
        with contextlib.closing(course):
            trainer.train()
            self._times.longest_step = min(course.seconds[1:wanted] or course.seconds)
            self._look_at_losses(course)
            self._evaluate(course, trainer, loaded.prepared)
        return course.saved_step, course.save_cost

    def _evaluate(self, course: Tried, trainer: Any, prepared: Prepared) -> None:
        size = self._spec.training.per_device_train_batch_size
        held_back = prepared.evaluation
        lengths = held_back.lengths
        if not len(lengths):
            return
        self._stage.meter.enter("evaluate")
        self._stage.tell(Phase.EVALUATING, "evaluation of the longest held-back batch")
        began = time.monotonic()
        course.evaluate(trainer)
        seconds = time.monotonic() - began
        one_line = attends_by_sample(trainer.model)
        tried = lengths[_heaviest_of(held_back, size, one_line=one_line)]
        every, some = (
            heaviest.padded_tokens(each, size, one_line=one_line) for each in (lengths, tried)
        )
        self._times.evaluation = seconds * every / some

    def _saved_by(self, saved: Saved) -> Path:
        """The folder of what was saved, and what it took."""
        step, cost = saved
        if not step:
            raise JobError(
                "save_failed",
                "A checkpoint could not be written.",
                remedy="The finding before this one says why; a run without saves can be lost.",
            )
        self._times.stall, self._times.save = cost.stall_seconds, cost.write_seconds
        return self._folder / FOLDER / name_of(step)

    def _try_resume(self, loaded: Loaded, pick: Pick, checkpoint: Path) -> None:
        """Go on from the checkpoint with a new model, as a resume does, for ordinary steps."""
        self._stage.meter.enter("resume")
        self._stage.tell(Phase.LOADING_MODEL, "loading of the model for a resume")
        loaded = loaded._replace(model=fresh_model(self._spec, loaded.compute, loaded.tokenizer))
        resumed = Resumed(checkpoint)
        steps = resumed.state.position.step + _ORDINARY_STEPS + _SKIPPED_AT_MOST
        course = self._course(loaded, [pick.ordinary], steps, resumed=resumed)
        course.expect(self._stage, _ORDINARY_STEPS).is_timed = True
        self._stage.batch = "an ordinary batch"
        self._stage.tell(Phase.LOADING_MODEL, "loading of the checkpoint")
        trainer = self._set_out(loaded, course, resumed=resumed)
        trainer.train()
        self._times.step = min(course.seconds) * pick.mean

    # ------------------------------------------------------------ the run's own parts

    def _course(
        self, loaded: Loaded, windows: list[list[int]], steps: int, resumed: Resumed | None
    ) -> Tried:  # fmt: skip
        training = self._spec.training
        size = training.per_device_train_batch_size
        held_back = loaded.prepared.evaluation
        one_line = attends_by_sample(loaded.model)
        batch = _heaviest_of(held_back, size, one_line=one_line)
        chosen = Chosen(
            row_count=len(self._rows), batch=size, seed=training.seed, windows=windows, steps=steps
        )
        digest = loaded.prepared.train.digest()
        return Tried(
            self._spec, self._report, chosen,
            train=self._rows,
            evaluation=held_back_rows(held_back.take(batch), loaded.model),
            saver=make_saver(
                self._spec, self._report, self._folder, digest, resumed,
                may_pin=may_pin(loaded.compute),
            ),
            pad_id=loaded.tokenizer.pad_token_id,
            offload_safely=offloads(self._spec, loaded.compute, pinned=False),
            ring=make_offload_ring(self._spec, loaded.compute.safe, self._report),
            resumed=resumed,
        )  # fmt: skip

    def _set_out(self, loaded: Loaded, course: Tried, resumed: Resumed | None) -> Any:
        kind = announcing(loaded.method.Trainer, self._stage.tell_part)
        return set_out(self._spec, loaded, self._folder, course, resumed=resumed, kind=kind)

    def _look_at_losses(self, course: Tried) -> None:
        """Raises JobError if one step at the full learning rate has ruined the model."""
        if course.growth < _GROWN:
            return
        first, second = course.losses[:2]
        title = f"One step at the full learning rate raised the loss from {first:.2f} to "
        title += f"{second:,.2f}.".replace(",", " ")
        remedy = f"Lower training.learning_rate, which is {self._spec.training.learning_rate:g}."
        if course.growth > _RUINED:
            raise JobError("loss_grows", title, cause="No model recovers from that.", remedy=remedy)
        self._report.found(
            "loss_grows", title, cause="The step may be too large for this model.", remedy=remedy
        )


def _heaviest_of(held_back: Samples, size: int, *, one_line: bool) -> list[int]:
    return heaviest.heaviest_batches(
        held_back.lengths, held_back.target_counts, size, one_line=one_line
    )


def undisturbed(spec: Spec) -> Spec:
    """The spec at its full learning rate from the first step on, with no saves or evaluations of
    its own accord."""
    training = msgspec.structs.replace(
        spec.training, save_minutes=0.0, save_steps=0, eval_steps=0, warmup_steps=0,
        lr_scheduler_type="constant",
    )  # fmt: skip
    return msgspec.structs.replace(spec, training=training)


def total_seconds(spec: Spec, total_steps: int, times: _Times) -> float:
    """Estimate for the whole run from what its parts took."""
    training = spec.training
    evaluations = 1 + (total_steps // training.eval_steps if training.eval_steps else 0)
    work = total_steps * times.step + evaluations * times.evaluation
    saves = total_steps // training.save_steps if training.save_steps else 0
    if training.save_minutes:
        saves += int(work / 60 / training.save_minutes)
    return times.load + work + saves * times.stall + times.save


def in_words(shape: Shape) -> str:
    """``4 rows of 2 048 tokens``, or ``4 rows with 5 120 tokens in all``."""
    rows = "1 row" if shape.rows == 1 else f"{shape.rows} rows"
    tokens = f"{shape.width:,} tokens".replace(",", " ")
    if shape.one_line and shape.rows > 1:
        return f"{rows} with {tokens} in all"
    return f"{rows} of {tokens}"


def _forget() -> None:
    """Give back what the first trainer held: a resume begins in a new process."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
