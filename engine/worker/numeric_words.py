"""What the numeric guard says: what happened, the likely cause, what speaks for it, what to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from engine.contract.spec import Spec
from engine.diagnosis.losses import GROWN, Losses, gentler
from engine.worker import untrained_tokens
from engine.worker.culprit import Tried
from engine.worker.failures import JobError
from engine.worker.origins import place_of
from engine.worker.report import Report
from engine.worker.samples import Samples

USUAL_RATES = {True: 2e-4, False: 2e-5}
"""By whether it is LoRA."""
_BF16_CAPABILITY = 8
_NAMED = 3
_SHOWN_CHARACTERS = 300


class NanLoss(JobError):
    """Loss or weights are no numbers any more."""

    def __init__(self, step: int, **texts: Any) -> None:
        super().__init__(
            "nan_loss", f"The loss is no number any more, from step {step} on.", **texts
        )


# ---------------------------------------------------------------- ends of the run


def poisoned(step: int, names: list[str], learning_rate: float, why: str) -> NanLoss:
    """For trained weights that are no numbers."""
    return NanLoss(
        step,
        cause=f"Trained weights are no numbers: {_listed(names)}. The state was not saved; the "
        "last save is from before.",
        remedy=f"Resume from it with a lower training.learning_rate, which was {learning_rate:g}.",
        why=why,
        patch={"training.learning_rate": gentler(learning_rate, learning_rate)},
    )


def grown(step: int, spec: Spec, why: str) -> NanLoss:
    """For weights that are numbers, but so large that nothing computed with them is one."""
    patch = lower_rate(spec)
    return NanLoss(
        step,
        cause="The weights have grown without bound: the learning rate is too high. The step was "
        "left out, and the last save is from before.",
        remedy=f"Lower training.learning_rate, {spec.training.learning_rate:g} → "
        f"{patch['training.learning_rate']:g}.",
        why=why,
        patch=patch,
    )


def broken_weights(step: int, names: list[str]) -> NanLoss:
    """For frozen weights that are no numbers."""
    return NanLoss(
        step,
        cause=f"The model itself holds NaN or infinity, in {_listed(names)}.",
        remedy="Download the model again, or choose another one.",
    )


def overflow(step: int, scale: float, *, in_loss: bool) -> NanLoss:
    """For fp16: what is greater than 65 504 is infinite in it."""
    other = "bf16" if _has_bf16() else "fp32"
    where = "Activations are" if in_loss else "Gradients are"
    scaled = "" if in_loss else f" The scaler went down to {scale:g}, and they still are."
    return NanLoss(
        step,
        cause=f"{where} larger than fp16 can hold (65 504).{scaled}",
        remedy=f"Compute in {other}: training.precision = {other}."
        + ("" if other == "bf16" else " It needs about twice the memory."),
        why=f"fp16, with a loss scale of {scale:g}.",
        patch={"training.precision": other},
    )


def too_many(step: int, count: int, spec: Spec) -> NanLoss:
    """For steps that are left out again and again."""
    return NanLoss(
        step,
        cause=f"{count} of the last steps had to be left out. The findings before say which "
        "samples it was.",
        remedy="Take those rows out of the data, or lower training.learning_rate.",
        patch=lower_rate(spec),
    )


def ruined(step: int, spec: Spec, before: float, now: float, why: str) -> JobError:
    """For a model that has forgotten what it knew."""
    patch = lower_rate(spec)
    return JobError(
        "diverged",
        f"The training ruins the model: the loss of its first samples rose from {before:.2f} to "
        f"{now:.2f} at step {step}.",
        cause="The learning rate is too high. The run ends before this state is saved.",
        remedy=f"Lower training.learning_rate, {spec.training.learning_rate:g} → "
        f"{patch['training.learning_rate']:g}: the run goes on from its last save, or anew.",
        why=why,
        patch=patch,
    )


def no_gradient(step: int, count: int, spec: Spec, *, had_some: bool) -> JobError:
    """For a run that trains nothing, or, if it ``had_some``, nothing any more."""
    if had_some:
        patch = lower_rate(spec)
        return JobError(
            "no_gradient",
            f"Nothing is trained any more: the gradient is 0 since step {step - count + 1}.",
            cause="Earlier steps were so large that the weights no longer answer: the learning "
            "rate is too high.",
            remedy=f"Lower training.learning_rate, {spec.training.learning_rate:g} → "
            f"{patch['training.learning_rate']:g}, and start from an earlier save or anew.",
            patch=patch,
        )
    return JobError(
        "no_gradient",
        f"Nothing is trained: the gradient was exactly 0 in {count} steps up to step {step}.",
        cause="No trained weight takes part in the loss, or the gradient is lost on the way: a "
        "model whose layers the adapter does not reach, or a checkpointing that cuts it off.",
        remedy='Write lora.target_modules = "all-linear", or gradient_checkpointing = none.',
        patch={"training.gradient_checkpointing": "none"},
    )


def lower_rate(spec: Spec) -> dict[str, Any]:
    """The patch that lowers the learning rate, and that of the embeddings with it."""
    training = spec.training
    usual = USUAL_RATES[bool(spec.lora)]
    rate = gentler(training.learning_rate, usual)
    patch: dict[str, Any] = {"training.learning_rate": rate}
    if training.embedding_learning_rate and training.embedding_learning_rate > rate:
        patch["training.embedding_learning_rate"] = rate
    return patch


def why_grown(growth: float, losses: Losses | None) -> str:
    """What speaks for a learning rate that is too high."""
    parts = []
    if growth >= GROWN:
        parts.append(f"gradients grew {_times(growth)} in the last steps")
    if losses and losses.recent and losses.best and losses.recent > 1.5 * losses.best:
        parts.append(f"the steps' loss rose from {losses.best:.2f} to {losses.recent:.2f}")
    text = " and ".join(parts)
    return f"{text[0].upper()}{text[1:]}." if text else ""


# ---------------------------------------------------------------- what goes on


def tell_masked(report: Report, step: int) -> None:
    """A step without a single target."""
    report.found(
        "nothing_to_learn",
        f"Step {step} had nothing to learn: none of its tokens has a label.",
        cause="All of them are masked: within max_length its samples have no answer.",
        remedy="Raise training.max_length, or look at those rows.",
        step=step,
    )


def tell_unrepeated(report: Report, step: int, count: int) -> None:
    """A step that was no number, and is one when its samples are computed again."""
    report.found(
        "bad_step",
        f"Step {step} made no numbers and was left out.",
        cause=f"Computed again one by one, all of its {count} samples do. What happens once and "
        "not again is often the memory of the card, above all one that is overclocked.",
        remedy="Training goes on; the weights are as before. If it comes again, take back any "
        "overclocking.",
        step=step,
    )


def tell_samples(
    report: Report, step: int, bad: Sequence[int], *, spec: Spec, samples: Samples, model: Any,
    tokenizer: Any,
) -> None:  # fmt: skip
    """Samples that make no numbers by themselves."""
    places = [place_of(spec, samples, sample) for sample in bad[:_NAMED]]
    more = f" and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
    tokens = _suspicious(model, tokenizer, [int(t) for s in bad for t in samples[s][0]])
    who = f"{', '.join(places)}{more}"
    report.found(
        "bad_sample",
        f"Step {step} made no numbers because of {who}, and was left out.",
        cause=tokens or "By itself this data makes a loss or a gradient that is no number.",
        remedy=f"Training goes on; the weights are as before. Take {who} out of the data, or look "
        "at what is in there.",
        detail="\n\n".join(_shown(tokenizer, samples, sample) for sample in bad[:_NAMED]),
        why="Computed one by one, the other samples make numbers.",
        step=step,
    )


def _suspicious(model: Any, tokenizer: Any, ids: list[int]) -> str:
    """What is wrong with rows of the embedding that these tokens have; empty if nothing is."""
    used = sorted(set(ids))
    special = [token for token in used if token in tokenizer.added_tokens_decoder]
    weight = untrained_tokens.embedding_of(model)
    whole = torch.isfinite(weight[torch.tensor(used, device=weight.device)]).all(dim=1).tolist()
    broken = [token for token, fine in zip(used, whole, strict=True) if not fine]
    if broken:
        return (
            f"The row of {_tokens(tokenizer, broken)} in embed_tokens is not a number, so every "
            "loss with it is none."
        )
    rows = untrained_tokens.judge(weight, special, special) if special else None
    never = sorted({*rows.empty, *rows.alike}) if rows else []
    if never:
        return f"It holds {_tokens(tokenizer, never)}, which the model has never learnt."
    return ""


def _tokens(tokenizer: Any, ids: list[int]) -> str:
    return _listed([repr(tokenizer.convert_ids_to_tokens(token)) for token in ids])


def _shown(tokenizer: Any, samples: Samples, sample: int) -> str:
    text = str(tokenizer.decode(samples[sample][0]))
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"


def tell_finished(report: Report, step: int, loss: float) -> None:
    """There is no gradient, since there is nothing left to learn."""
    report.found(
        "nothing_left",
        f"There is nothing left to learn: at step {step} the loss is {loss:.1g}.",
        cause="The model says every answer of the data by heart; the gradient is 0.",
        remedy="Stop here. Fewer epochs, or more data, make a model that is of more use.",
        step=step,
    )


def tell_spike(
    report: Report, step: int, loss: float, usual: float, *, spec: Spec, samples: Samples,
    worst: Tried | None, growth: float,
) -> None:  # fmt: skip
    """A loss out of all proportion."""
    title = f"The loss jumped to {loss:.2f} at step {step}, from about {usual:.2f} before."
    if worst is not None:
        place = place_of(spec, samples, worst.sample)
        cause = f"It comes from {place} alone, whose loss is {worst.loss:.1f}."
        remedy = "Look at that row: broken text, another language or a list of numbers look so."
        patch: dict[str, Any] = {}
    else:
        cause = "Several samples of the step have a high loss, so it is hardly the data."
        remedy = "If it comes again, lower training.learning_rate."
        patch = lower_rate(spec)
    why = f"Gradients grew {_times(growth)} in the last steps." if growth >= GROWN else ""
    report.found(
        "loss_spike", title, cause=cause, remedy=remedy, why=why, patch=patch, step=step
    )  # fmt: skip


# ---------------------------------------------------------------- parts


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _times(growth: float) -> str:
    return f"{growth:,.0f}-fold".replace(",", " ") if growth < 1e6 else "a million-fold and more"


def _has_bf16() -> bool:
    if not torch.cuda.is_available():
        return False
    return torch.cuda.get_device_capability()[0] >= _BF16_CAPABILITY
