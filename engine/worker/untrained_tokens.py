"""Special tokens of the data that the model has a row for, but never learnt.

A base model often has the tokens of a chat markup without ever having met them: their rows in
``embed_tokens`` are zero, or all the same. Trained on with frozen embeddings they stay without a
meaning, and in half precision their gradients can end in NaN.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from engine.contract.spec import Spec
from engine.planning import catalogue
from engine.worker.embedding_file import StoredRows
from engine.worker.failures import JobError
from engine.worker.report import Report
from engine.worker.samples import Samples

NEAR = 0.1
"""Nearer to zero, or to the mean of all rows, than this share of an ordinary row's distance."""
_ORDINARY_ROWS = 512
_OTHERS = 512
"""Special tokens beside those of the data that rows are compared with."""
_NAMED = 4
_LOOKED_UP = 1 << 16
"""Tokens looked up together, so that what is found stays in the processor's cache."""


class Rows(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with rows of the embedding, by token id."""

    broken: list[int]
    """They hold NaN or infinity."""
    empty: list[int]
    """Zero, or as good as."""
    alike: list[int]
    """The same as another token's row, or as the mean of all."""


Weight = torch.Tensor | StoredRows


class Unlearnt(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of the data that the model has never learnt, in words."""

    ids: list[int]
    title: str
    cause: str
    remedy: str
    patch: dict[str, Any]
    """Has their rows trained; empty where there is no adapter."""


def look(
    spec: Spec, weight: Weight, tokenizer: PreTrainedTokenizerBase, samples: Samples,
    report: Report,
) -> None:  # fmt: skip
    """Say which special tokens of the samples the model has never learnt. Raises JobError if a
    row of one would make every loss NaN."""
    if (found := unlearnt(spec, weight, tokenizer, samples)) is not None:
        report.found("untrained_tokens", found.title, cause=found.cause, remedy=found.remedy)


def unlearnt(
    spec: Spec, weight: Weight, tokenizer: PreTrainedTokenizerBase, samples: Samples
) -> Unlearnt | None:
    """What :func:`look` says; None if there is nothing to say. Raises JobError as it does."""
    special = sorted(id for id in tokenizer.added_tokens_decoder if id < len(weight))
    used = _used(samples, special, len(weight))
    if not used:
        return None
    rows = judge(weight, used, special)
    if rows.broken:
        raise _certain_nan(_names(tokenizer, rows.broken))
    untrained = sorted({*rows.empty, *rows.alike} - _trained_now(spec, tokenizer))
    return _in_words(spec, tokenizer, untrained, rows) if untrained else None


def judge(weight: Weight, used: list[int], special: list[int]) -> Rows:
    """Look at the rows of the ``used`` tokens, which are some of the ``special`` ones."""
    others = [id for id in special if id not in set(used)][:_OTHERS]
    places = torch.tensor([*used, *others], device=weight.device)
    rows = weight[places].detach().float().cpu()
    ordinary = _ordinary(weight, special)
    own = rows[: len(used)]
    empty = _near(own, ordinary, torch.zeros(weight.shape[1]))
    mean = _near(own, ordinary, ordinary.mean(dim=0))
    shared = _shared(rows)[: len(used)]
    whole = torch.isfinite(own).all(dim=1).tolist()
    alike = [a or b for a, b in zip(mean, shared, strict=True)]
    return Rows(
        broken=_chosen(used, (not fine for fine in whole)),
        empty=_chosen(used, empty),
        alike=_chosen(used, (same and not none for same, none in zip(alike, empty, strict=True))),
    )


def _near(rows: torch.Tensor, ordinary: torch.Tensor, point: torch.Tensor) -> list[bool]:
    usual = (ordinary - point).norm(dim=1).median()
    near: list[bool] = ((rows - point).norm(dim=1) < NEAR * usual).tolist()
    return near


def _chosen(ids: list[int], flags: Iterable[bool]) -> list[int]:
    return [id for id, flag in zip(ids, flags, strict=True) if flag]


def embedding_of(model: Any) -> torch.Tensor:
    """The rows as they were loaded, whatever has been put around them."""
    embedding = model.get_input_embeddings()
    weight: torch.Tensor = getattr(embedding, "original_module", embedding).weight
    return weight


def _used(samples: Samples, special: list[int], rows: int) -> list[int]:
    """The special tokens that occur."""
    # What has no row is looked up in the last place.
    is_special = np.zeros(rows + 1, np.bool_)
    is_special[special] = True
    seen = np.zeros(rows, np.bool_)
    for ids, _ in samples.pieces():
        for at in range(0, len(ids), _LOOKED_UP):
            here = ids[at : at + _LOOKED_UP]
            seen[here[is_special.take(here, mode="clip")]] = True
    return [id for id in special if seen[id]]


def _ordinary(weight: Weight, special: list[int]) -> torch.Tensor:
    """Rows of some tokens that are not special, evenly spread."""
    spread = np.linspace(0, len(weight) - 1, _ORDINARY_ROWS + len(special)).astype(int)
    places = np.setdiff1d(np.unique(spread), special)[:_ORDINARY_ROWS]
    return weight[torch.tensor(places, device=weight.device)].detach().float().cpu()


def _shared(rows: torch.Tensor) -> list[bool]:
    """Of each row, whether there is another like it, bit by bit."""
    contents = [row.tobytes() for row in rows.numpy()]
    counts: dict[bytes, int] = {}
    for content in contents:
        counts[content] = counts.get(content, 0) + 1
    return [counts[content] > 1 for content in contents]


def _trained_now(spec: Spec, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Tokens whose rows this run trains."""
    if not spec.lora or "embed_tokens" in spec.lora.modules_to_save:
        return set(tokenizer.added_tokens_decoder)
    vocabulary = tokenizer.get_vocab()
    return {vocabulary[token] for token in spec.lora.trainable_tokens}


# ---------------------------------------------------------------- words


def _names(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    names = [str(tokenizer.convert_ids_to_tokens(id)) for id in ids[:_NAMED]]
    more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
    return ", ".join(names) + more


def _in_words(
    spec: Spec, tokenizer: PreTrainedTokenizerBase, ids: list[int], rows: Rows
) -> Unlearnt:
    names, one = _names(tokenizer, ids), len(ids) == 1
    whose = "Its row in embed_tokens is" if one else "Their rows in embed_tokens are"
    how = "zero" if set(ids) <= set(rows.empty) else "like another's or zero"
    tokens = [str(tokenizer.convert_ids_to_tokens(id)) for id in ids]
    trained = [*spec.lora.trainable_tokens, *tokens] if spec.lora else []
    return Unlearnt(
        ids=ids,
        title=f"The model has never learnt {'a token' if one else f'{len(ids)} tokens'} of the "
        f"data: {names}.",
        cause=f"{whose} {how}, as in a base model that got a chat markup before it was taught one. "
        "Without a meaning they disturb the training, and in fp16 they can end it in NaN.",
        remedy=_remedy(spec, tokenizer, ids),
        patch={"lora.trainable_tokens": trained} if trained else {},
    )


def _remedy(spec: Spec, tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    tuned = catalogue.instruct_of(spec.model.path)
    model = tuned.id if tuned else "the instruct variant of this model, if there is one"
    listed = ", ".join(f'"{tokenizer.convert_ids_to_tokens(id)}"' for id in ids)
    ways = [f"Start from {model}", f"or train their rows: lora.trainable_tokens = [{listed}]"]
    if spec.method == "sft" and any(_is_in_template(tokenizer, id) for id in ids):
        ways.append('or take a chat template without them: dataset.chat_template = "plain"')
    return ", ".join(ways) + "."


def _is_in_template(tokenizer: PreTrainedTokenizerBase, id: int) -> bool:
    return str(tokenizer.convert_ids_to_tokens(id)) in str(tokenizer.chat_template or "")


def _certain_nan(names: str) -> JobError:
    return JobError(
        "bad_model",
        f"The model cannot be trained on this data: the row of {names} is not a number.",
        cause="embed_tokens holds NaN or infinity there, so every loss with such a token is NaN.",
        remedy="Download the model again, or choose another one.",
    )
