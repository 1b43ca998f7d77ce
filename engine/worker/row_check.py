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
from engine.worker.report import Report
from engine.worker.trying import COUNT, MISFITS, is_out_of_memory, some_tokens, trying

_EXACT = 1e-3
"""How far logits may be from each other, relative to their size."""
_COARSE = 0.1
"""As much in half precision, where experts add up in any order, and in layers of 8 bits, which
look at whole rows."""
_COARSE_ALONE = 0.6
"""As much for other kernels, in the median of the tokens: a few may go to other experts."""


def may_pack(spec: Spec, compute: Compute, model: Any, report: Report) -> bool:
    """Whether samples may share rows with this model; tells it if the spec wants it in vain."""
    if not spec.packs_rows or attends_by_sample(model) or keeps_apart(model, compute):
        return True
    report.decided(
        "Samples are not packed: each is trained in a row of its own.",
        f"This model ({model.config.model_type}) does not keep samples of a row apart: tried on "
        "two short ones, the first changed what came of the second.",
        "Rows are padded, and an epoch has more steps with fewer tokens in each. A larger "
        "training.per_device_train_batch_size makes up for it.",
    )
    return False


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
        if is_out_of_memory(error):
            raise
        return False
    is_coarse = half or getattr(model, "is_loaded_in_8bit", False)
    same, like_alone = (_COARSE, _COARSE_ALONE) if is_coarse else (_EXACT, _EXACT)
    return bool(
        _apart(behind, behind_other).max() < same and _apart(behind, alone).median() < like_alone
    )


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
