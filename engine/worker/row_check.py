"""Whether a model keeps the samples of a packed row apart, found out by trying it.

Where transformers builds a mask, it tells samples by their positions, which begin anew. Layers that
carry a state along the row, and families that build their own mask, know nothing of that: there a
sample would be learnt as the continuation of another one.
"""

from __future__ import annotations

from typing import Any

import torch

from engine.contract.spec import Spec
from engine.worker.by_sample import attends_by_sample
from engine.worker.loading import Compute
from engine.worker.packing import Ints, packed
from engine.worker.report import Report
from engine.worker.trying import COUNT, MISFITS, is_of_the_machine, some_tokens, trying

_EXACT = 1e-3
"""How far logits may be from each other, relative to their size."""
_COARSE = 0.1
"""As much in half precision, where experts add up in any order, and in layers of 8 bits, which
look at whole rows."""
_COARSE_ALONE = 0.6
"""As much for other kernels, in the median of the tokens: a few may go to other experts."""


def may_pack(spec: Spec, compute: Compute, model: Any) -> bool:
    """Whether samples may share rows with this model; it is tried only if the spec wants that."""
    return not spec.packs_rows or attends_by_sample(model) or keeps_apart(model, compute)


def settled(
    spec: Spec, model: Any, lengths: Ints, report: Report, *, may: bool, saved_rows: int | None
) -> bool:
    """Whether samples share rows, told where that is not what the spec says. A run that goes on
    keeps the rows of its save, ``saved_rows`` many: its place in the data is counted in them."""
    if not spec.packs_rows:
        return may
    shared = len(packed(lengths, spec.training.max_length))
    saved = {len(lengths): False, shared: True}.get(saved_rows) if saved_rows else None
    if saved is True and not may:
        report.decided(
            "Samples go on sharing rows, as at the save.",
            f"{_why(model)} The save is of a run that did not look at that, and with other rows "
            "its place in the data would mean another.",
            "Each sample sees what stands before it in its row. A new run gives each its own.",
        )
    elif saved is False and may:
        report.decided(
            "Each sample goes on in a row of its own, as at the save.",
            "With other rows the run's place in the data would mean another.",
            "Rows are padded. A new run packs them.",
        )
    elif not may:
        report.decided(
            "Samples are not packed: each is trained in a row of its own.",
            _why(model),
            "Rows are padded, and an epoch has more steps with fewer tokens in each. A larger "
            "training.per_device_train_batch_size makes up for it.",
        )
    return may if saved is None else saved


def _why(model: Any) -> str:
    return (
        f"This model ({model.config.model_type}) does not keep samples of a row apart: tried on "
        "two short ones, the first changed what came of the second."
    )


def keeps_apart(model: Any, compute: Compute) -> bool:
    """Whether a sample behind another one is to the model what it is alone."""
    first, other, last = (some_tokens(model, number) for number in range(3))
    kind, half = compute.device, compute.precision != "fp32"
    try:
        with trying(model), torch.autocast(kind, compute.dtype, enabled=half):
            behind, behind_other = (_behind(model, before, last) for before in (first, other))
            alone = model(
                input_ids=last, attention_mask=torch.ones_like(last), use_cache=False
            ).logits
    except MISFITS as error:
        if is_of_the_machine(error):
            raise
        return False
    is_coarse = half or getattr(model, "is_loaded_in_8bit", False)
    same, like_alone = (_COARSE, _COARSE_ALONE) if is_coarse else (_EXACT, _EXACT)
    moved = _apart(behind, behind_other)
    # What mixes moves nearly all tokens; rounding may send one or two to other experts.
    most = moved.median() if is_coarse else moved.max()
    return bool(most < same and _apart(behind, alone).median() < like_alone)


def _behind(model: Any, before: torch.Tensor, sample: torch.Tensor) -> torch.Tensor:
    """Logits of a sample in a row behind another one."""
    ids = torch.cat([before, sample], dim=1)
    positions = torch.arange(COUNT, device=ids.device).repeat(2)[None]
    found = model(input_ids=ids, position_ids=positions, use_cache=False)
    logits: torch.Tensor = found.logits[:, COUNT:]
    return logits


def _apart(some: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """How far logits are from others, token by token, relative to their size."""
    some, others = some.float(), others.float()
    size = (others - others.mean(dim=-1, keepdim=True)).norm(dim=-1)
    found: torch.Tensor = (some - others).norm(dim=-1) / size.clamp(min=1e-6)
    return found
