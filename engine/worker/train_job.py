"""The job ``train``: from a spec to an adapter or model in the run folder."""

from __future__ import annotations

import contextlib
import importlib
import time
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import msgspec
import pyarrow
from transformers import PreTrainedTokenizerBase, PrinterCallback
from trl import SFTConfig

import engine.methods.pretrain.train
import engine.methods.sft.train  # noqa: F401 - a warm worker has them ready
from engine.contract.lifecycle import Phase
from engine.contract.messages import Done, Job
from engine.contract.spec import Spec
from engine.contract.validate import check
from engine.failpoints import reach
from engine.worker import (
    endings,
    meter,
    output,
    preflight,
    result_room,
    row_check,
    state_files,
    template_check,
    templates,
    untrained_tokens,
)
from engine.worker.batches import Rows
from engine.worker.by_sample import attends_by_sample
from engine.worker.course import Course, Resumed
from engine.worker.embedding_file import stored_rows
from engine.worker.failures import JobError
from engine.worker.library_names import CHECKPOINTING
from engine.worker.loading import (
    Compute,
    add_adapter,
    choose_compute,
    ids_of,
    load_model,
    load_tokenizer,
    trainable,
)
from engine.worker.model_settings import OwnSettings, name_experts
from engine.worker.packing import packed, unpacked
from engine.worker.prepared import Prepared
from engine.worker.report import Report
from engine.worker.safely import adjusted, make_offload_ring
from engine.worker.samples import Samples
from engine.worker.saver import Saver
from engine.worker.schedule import Schedule
from engine.worker.witness import refuse_other_data, saved_rows, versions


class Loaded(NamedTuple):
    """Everything a course needs, whether it is the run itself or its rehearsal."""

    compute: Compute
    tokenizer: Any
    model: Any
    method: Any
    """The module of the method."""
    prepared: Prepared
    may_pack: bool = True
    """The model keeps samples of a row apart, or they share rows all the same, as at a save."""
    end: endings.NewEnd | None = None
    """What the model is to end answers with from now on."""


def run(job: Job, report: Report) -> Done:
    """Train. Raises whatever goes wrong; ``Halted`` if asked to end before the first step."""
    spec = read_spec(job.spec)
    # What is looked at first is the card and the tokenizer; the weights come after the data.
    report.enter(Phase.LOADING_MODEL)
    compute = choose_compute(spec, report)
    spec = adjusted(spec, compute.safe)
    if not meter.is_asked():
        return _train(job, spec, compute, report)
    with meter.Meter(compute.device) as metered:
        done = _train(job, spec, compute, report)
    return msgspec.structs.replace(done, data={"pools": msgspec.to_builtins(metered.pools())})


def _train(job: Job, spec: Spec, compute: Compute, report: Report) -> Done:
    folder = Path(job.folder)
    output.clear(folder)  # The saves may need the room.
    loaded = load(spec, compute, report)
    resumed = Resumed(Path(job.checkpoint)) if job.checkpoint else None
    loaded = settle_rows(spec, loaded, report, resumed=resumed)
    course = plot_course(spec, report, folder, loaded, resumed=resumed)
    report.enter(Phase.FIRST_STEP, max_steps=course.total_steps)
    trainer = set_out(spec, loaded, folder, course, resumed=resumed)
    with contextlib.closing(course):
        trainer.train()
        return _end(spec, folder, trainer, loaded, course, report)


def load(spec: Spec, compute: Compute, report: Report) -> Loaded:
    """Data and model: what is wrong with the data is told before the weights are loaded. Raises
    whatever is wrong with them."""
    tokenizer = load_tokenizer(spec.model)
    templates.dress(tokenizer, spec, report)
    if spec.lora:  # Names are looked up first: all else takes longer.
        ids_of(spec.lora.trainable_tokens, tokenizer)
    method = importlib.import_module(f"engine.methods.{spec.method}.train")
    report.enter(Phase.TOKENISING)
    reach("worker.tokenise")
    prepared: Prepared = method.prepare(spec, tokenizer, report)
    template_check.tell(spec, tokenizer, report)
    stored = stored_rows(spec.model)
    if stored is not None:
        preflight.check(spec, stored, tokenizer, prepared, report)
    report.enter(Phase.LOADING_MODEL)
    reach("worker.load")
    model = fresh_model(spec, compute, tokenizer)
    if stored is None:
        weight = untrained_tokens.embedding_of(model)
        preflight.check(spec, weight, tokenizer, prepared, report)
    return Loaded(
        compute, tokenizer, model, method, prepared,
        may_pack=row_check.may_pack(spec, compute, model),
        end=endings.new_end(spec, tokenizer, model, report),
    )  # fmt: skip


def fresh_model(spec: Spec, compute: Compute, tokenizer: PreTrainedTokenizerBase) -> Any:
    """The model as training begins with it. Raises JobError."""
    token_ids = ids_of(spec.lora.trainable_tokens, tokenizer) if spec.lora else []
    model = load_model(spec, compute)
    if not spec.lora:
        return model
    return add_adapter(model, spec.lora, spec.training.seed, token_ids, spec.model.revision)


def set_out(
    spec: Spec, loaded: Loaded, folder: Path, course: Course, *, resumed: Resumed | None,
    kind: Any = None,
) -> Any:  # fmt: skip
    """The trainer, with the weights that it goes on from; ``kind`` takes the place of the method's
    class."""
    trainer = make_trainer(
        kind or loaded.method.Trainer, spec, loaded.compute, loaded.model, loaded.tokenizer,
        loaded.prepared.train, folder, course,
    )  # fmt: skip
    if resumed:
        try:
            state_files.restore_weights(resumed.folder, trainer.model)
        except JobError as error:
            why = course.tell_refusal()
            if why is None:
                raise
            raise JobError(
                error.code, why.title, cause=why.cause, remedy=why.remedy, patch=why.patch
            ) from error
    return trainer


def read_spec(raw: dict[str, Any]) -> Spec:
    """The spec of a job. Raises JobError with the first complaint; the host has checked it."""
    spec, complaints = check(raw)
    if spec is None:
        raise JobError("bad_input", "The spec is not sound.", cause=str(complaints[0]))
    return spec


def settle_rows(
    spec: Spec, loaded: Loaded, report: Report, *, resumed: Resumed | None = None
) -> Loaded:
    """The same, with it decided and told whether samples share rows."""
    saved = saved_rows(resumed.folder, resumed.state) if resumed else None
    may_pack = row_check.settled(
        spec, loaded.model, loaded.prepared.train.lengths, report,
        may=loaded.may_pack, saved_rows=saved,
    )  # fmt: skip
    return loaded._replace(may_pack=may_pack)


def plot_course(
    spec: Spec, report: Report, folder: Path, loaded: Loaded, *, resumed: Resumed | None
) -> Course:
    """Rows, order and saving of the run. Raises JobError if the data is not that of the save."""
    prepared = loaded.prepared
    digest = prepared.train.digest()
    rows = make_rows(spec, loaded)
    if resumed and resumed.state.data != digest:
        refusal, why = refuse_other_data(spec, rows, digest, resumed.folder, resumed.state)
        report.send(refusal)
        raise JobError("dataset_changed", why.title, cause=why.cause, remedy=why.remedy)
    return Course(
        spec, report, make_schedule(spec, len(rows)),
        train=rows,
        evaluation=held_back_rows(prepared.evaluation, loaded.model),
        saver=make_saver(spec, report, folder, digest, resumed, may_pin=may_pin(loaded.compute)),
        pad_id=loaded.tokenizer.pad_token_id,
        offload_safely=offloads(spec, loaded.compute, pinned=False),
        ring=make_offload_ring(spec, loaded.compute.safe, report),
        resumed=resumed,
    )  # fmt: skip


def make_schedule(spec: Spec, row_count: int) -> Schedule:
    """The order of the run's rows."""
    training = spec.training
    return Schedule(
        row_count=row_count,
        batch=training.per_device_train_batch_size * training.gradient_accumulation_steps,
        seed=training.seed,
        num_train_epochs=training.num_train_epochs,
        max_steps=training.max_steps,
    )


def make_saver(
    spec: Spec, report: Report, folder: Path, digest: str, resumed: Resumed | None,
    *, may_pin: bool,
) -> Saver:  # fmt: skip
    """What writes the checkpoints of data with this digest."""
    return Saver(
        folder, spec, report, data=digest, versions=versions(),
        resumed_step=resumed.state.position.step if resumed else 0, may_pin=may_pin,
    )  # fmt: skip


def may_pin(compute: Compute) -> bool:
    """Whether RAM may be pinned in pieces of any size: not in safe mode, nor without a card."""
    return compute.device == "cuda" and compute.safe.offload == "pinned"


def held_back_rows(samples: Samples, model: Any) -> Rows:
    """The rows of an evaluation as the model takes them; they are never packed."""
    by_sample = attends_by_sample(model)
    rows = unpacked(len(samples))
    return Rows(samples=samples, rows=rows, one_line=by_sample, has_borders=by_sample)


def make_rows(spec: Spec, loaded: Loaded) -> Rows:
    """What is trained, in rows as the model takes them, packed if the spec says so."""
    samples = loaded.prepared.train
    if not spec.packs_rows or not loaded.may_pack:
        return held_back_rows(samples, loaded.model)
    by_sample = attends_by_sample(loaded.model)
    return Rows(
        samples=samples,
        rows=packed(samples.lengths, spec.training.max_length),
        packed=True,
        one_line=by_sample or spec.model.attn_implementation == "flash_attention_2",
        has_borders=by_sample,
    )


def offloads(spec: Spec, compute: Compute, *, pinned: bool) -> bool:
    """Whether activations go to RAM this way; only a card that is not in safe mode pins them."""
    wanted = spec.training.gradient_checkpointing == "offload"
    return wanted and pinned == may_pin(compute)


def make_trainer(
    kind: Any, spec: Spec, compute: Compute, model: Any, tokenizer: Any, samples: Samples,
    folder: Path, course: Course,
) -> Any:  # fmt: skip
    """The method's trainer, ready to train along the course."""
    # TRL converts a quantized model's adapter to bf16, in which small updates are lost.
    kept = {name: value.data for name, value in trainable(model).items()}
    own_settings = OwnSettings(model.config)
    name_experts(model.config)
    trainer = kind(
        model=model,
        args=arguments(spec, compute, folder, course.total_steps),
        train_dataset=as_dataset(samples),
        processing_class=tokenizer,
        data_collator=_not_used,
    )
    for name, value in trainable(trainer.model).items():
        value.data = kept[name]
    trainer.remove_callback(PrinterCallback)
    trainer.own_settings = own_settings
    trainer.follow(course)
    return trainer


def as_dataset(samples: Samples) -> datasets.Dataset:
    """As many rows as there are samples, for TRL to see: it looks at their number and columns."""
    none = pyarrow.nulls(len(samples))
    return datasets.Dataset(pyarrow.table({"input_ids": none, "labels": none}))


def _not_used(rows: Any) -> Any:
    raise AssertionError("The course's loader makes the batches.")


def arguments(spec: Spec, compute: Compute, folder: Path, total_steps: int) -> SFTConfig:
    """The spec in TRL's words. What the bridge does itself is switched off here."""
    training = spec.training
    return SFTConfig(
        output_dir=str(folder),
        per_device_train_batch_size=training.per_device_train_batch_size,
        # A window is a batch for the trainer; see the bridge.
        gradient_accumulation_steps=1,
        max_steps=total_steps,
        learning_rate=training.learning_rate,
        lr_scheduler_type=training.lr_scheduler_type,
        warmup_steps=training.warmup_steps,
        weight_decay=training.weight_decay,
        max_grad_norm=training.max_grad_norm,
        optim=training.optim,
        bf16=compute.precision == "bf16",
        fp16=compute.precision == "fp16",
        use_cpu=compute.device == "cpu",
        seed=training.seed,
        **_checkpointing(spec, compute),
        trust_remote_code=spec.model.trust_remote_code,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        max_length=None,
        dataloader_num_workers=0,
        dataloader_pin_memory=False,
        logging_strategy="no",
        logging_nan_inf_filter=False,
        save_strategy="no",
        eval_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )


def _checkpointing(spec: Spec, compute: Compute) -> dict[str, Any]:
    recomputes = spec.training.gradient_checkpointing != "none"
    ways = {"use_reentrant": False, "offload": offloads(spec, compute, pinned=True)}
    return {CHECKPOINTING: recomputes, f"{CHECKPOINTING}_kwargs": ways if recomputes else None}


def _end(
    spec: Spec, folder: Path, trainer: Any, loaded: Loaded, course: Course, report: Report
) -> Done:
    position, prepared = course.position, loaded.prepared
    if course.halted:
        return Done(
            at=time.time(), outcome="stopped", step=position.step, folder=str(folder),
            sentence=_stopped(position.step, course.saved_step),
        )  # fmt: skip
    course.evaluate(trainer, last=True)
    course.save_at_end(trainer)
    report.show(Phase.SAVING)
    reach("worker.output")
    trainer.own_settings.put_back()
    if loaded.end:
        endings.name_it(loaded.end, loaded.tokenizer, trainer.model)
    facts = output.Facts(
        steps=position.step,
        train_loss=course.last_loss,
        eval_loss=course.last_eval_loss,
        train_samples=len(prepared.train),
        eval_samples=len(prepared.evaluation),
        data=prepared.train.digest(),
        versions=versions(),
        may_pack=loaded.may_pack,
        end=loaded.end,
    )
    made = result_room.written(
        lambda: output.write(folder, spec, trainer.model, loaded.tokenizer, facts), report
    )
    return Done(
        at=time.time(), outcome="finished", step=position.step, folder=str(folder),
        output=str(made),
    )  # fmt: skip


def _stopped(step: int, saved_step: int) -> str:
    if saved_step == step:
        return f"Stopped and saved at step {step}."
    there = f"Resume goes on from step {saved_step}." if saved_step else "There is no other save."
    return f"Stopped at step {step}, which could not be saved. {there}"
