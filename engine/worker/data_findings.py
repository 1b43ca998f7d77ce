"""What a person should know of a dataset before a run is made of it, in words. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec.structs import replace

from engine.contract.dataset_fixes import FIELD, FIXES
from engine.contract.dataset_report import RowFinding
from engine.formats.answers import is_wasted
from engine.worker import copy_findings, large, suspects, text_findings
from engine.worker.finding_parts import MAX_ROWS, fix, rows_at
from engine.worker.row_words import sentence

if TYPE_CHECKING:
    from engine.contract.spec import Spec
    from engine.worker.inspection import Counted, Look

_NOTHING = "nothing_to_train_on"
_ENOUGH = 0.99
"""Share of samples that a proposed length leaves whole."""


def findings_of(look: Look, counted: Counted) -> list[RowFinding]:
    """All of them, the gravest first."""
    found = [finding for judge in _JUDGES for finding in judge(look, counted)]
    return sorted(_said_once(look, found), key=lambda finding: _ORDER.index(finding.severity))


_ORDER = ("error", "warning", "info")


# ---------------------------------------------------------------- nothing, or nonsense


def _nothing_left(look: Look, counted: Counted) -> list[RowFinding]:
    if look.nothing is None:
        return []
    return [
        RowFinding(
            code=_NOTHING,
            severity="error",
            title=look.nothing.title,
            cause=look.nothing.cause,
            remedy=look.nothing.remedy,
            patch=look.nothing.patch,
            action=_action(look.spec, look.nothing.patch),
        )
    ]


def _said_once(look: Look, found: list[RowFinding]) -> list[RowFinding]:
    """That nothing is left to train on, and which rows are the reason, is one finding."""
    grave = next((each for each in found if each.code == _NOTHING), None)
    reason = next((each for each in found if _is_reason(look, each)), None)
    if grave is None or reason is None:
        return found
    whole = replace(grave, rows=reason.rows, row_count=reason.row_count)
    return [whole, *(each for each in found if each is not grave and each is not reason)]


def _is_reason(look: Look, finding: RowFinding) -> bool:
    """Whether its rows alone can leave nothing."""
    samples = len(look.encoding.samples)
    if finding.code == suspects.EMPTY_ANSWERS:
        return is_wasted(look.spec.dataset, finding.row_count, samples)
    return finding.code in ("nothing_to_learn", "answer_beyond_cut") and (
        finding.row_count >= samples
    )


def _action(spec: Spec, patch: dict[str, Any]) -> str:
    """What a button says that adds the fix; empty where the patch is another. The patch has those
    that are set already, too, and in an order of their own."""
    added = [fix for fix in patch.get(FIELD, []) if fix not in spec.dataset.fixes]
    return FIXES[added[0]].action if added else ""


def _outside(look: Look, counted: Counted) -> list[RowFinding]:
    """Tokens that the model has no row for."""
    samples = look.encoding.samples
    if look.vocabulary is None or _highest(samples.pieces()) < look.vocabulary:
        return []
    vocabulary = look.vocabulary
    mask = samples.with_tokens(lambda ids: ids >= vocabulary)
    total, rows = rows_at(look, mask)
    return [
        RowFinding(
            code="ids_out_of_range",
            severity="error",
            title=sentence(
                total,
                "has tokens that the model does not know",
                "have tokens that the model does not know",
            ),
            cause=f"The tokenizer makes ids of {look.vocabulary} and more; the model has rows for "
            f"{look.vocabulary} tokens.",
            remedy="Use the tokenizer that came with the model.",
            row_count=total,
            rows=rows,
        )
    ]


def _highest(pieces: Iterable[tuple[np.ndarray, np.ndarray]]) -> int:
    return max((int(ids.max()) for ids, _ in pieces if len(ids)), default=-1)


def _refused(look: Look, counted: Counted) -> list[RowFinding]:
    meta = look.encoding.meta
    if not meta.refused_count:
        return []
    return [
        RowFinding(
            code="template_refused",
            severity="warning",
            title=sentence(
                meta.refused_count,
                "does not fit the chat template and is left out",
                "do not fit the chat template and are left out",
            ),
            cause=meta.refused[0].reason,
            remedy="Questions and answers must alternate, beginning with a question.",
            row_count=meta.refused_count,
            rows=[refused.row for refused in meta.refused[:MAX_ROWS]],
        )
    ]


def _template(look: Look, counted: Counted) -> list[RowFinding]:
    return look.template


def _untaught(look: Look, counted: Counted) -> list[RowFinding]:
    if look.spec.method == "pretrain":
        return []
    targets, kept = counted.targets, counted.kept_targets
    empty = large.flags(lambda part: targets[part] == 0, targets)
    cut_off = large.flags(lambda part: (kept[part] == 0) & (targets[part] > 0), targets, kept)
    found = []
    if (number := rows_at(look, empty))[0]:
        found.append(
            RowFinding(
                code="nothing_to_learn",
                severity="warning",
                title=sentence(
                    number[0], "teaches nothing and is left out", "teach nothing and are left out"
                ),
                cause="They have no answer, or the chat template does not show it.",
                remedy="Look at them; a template that hides answers has to be another one.",
                row_count=number[0],
                rows=number[1],
            )
        )
    if (number := rows_at(look, cut_off))[0]:
        found.append(
            RowFinding(
                code="answer_beyond_cut",
                severity="warning",
                title=sentence(
                    number[0],
                    "has its whole answer beyond the cut and is left out",
                    "have their whole answer beyond the cut and are left out",
                ),
                cause=f"The question alone is longer than {look.spec.training.max_length} tokens.",
                remedy=_room_for_questions(look),
                row_count=number[0],
                rows=number[1],
            )
        )
    return found


def _room_for_questions(look: Look) -> str:
    max_length, context = look.spec.training.max_length, look.context
    if context and max_length >= context:
        return f"The model was made for {context} tokens: shorten those questions."
    return "Raise training.max_length, or shorten those questions."


# ---------------------------------------------------------------- what is cut


def _cut(look: Look, counted: Counted) -> list[RowFinding]:
    max_length = look.spec.training.max_length
    if look.spec.method == "pretrain":
        return []
    total, rows = rows_at(look, large.over(counted.lengths, max_length))
    if not total:
        return []
    answers = large.total(large.over(counted.lost_targets, 0))
    longer = min(proposed_length(counted.lengths), look.context or 1 << 30)
    still = large.total(large.over(counted.lengths, longer))
    share = total / len(counted.lengths)
    helps = longer > max_length and still < total
    fixed = fix(look.spec, "drop_overlong") if total < len(counted.lengths) else {}
    remedies = [f"With max_length = {longer} {_would_be(still)}."] if helps else []
    if fixed:
        remedies.append("With the fix drop_overlong they are left out instead.")
    why = f"Longer than {max_length} tokens."
    return [
        RowFinding(
            code="cut",
            severity="warning" if answers else "info",
            title=sentence(total, f"loses its end ({share:.1%})", f"lose their end ({share:.1%})"),
            cause=f"{why} An answer is cut in {answers}." if answers else why,
            remedy=" ".join(remedies) or "Shorten those rows.",
            row_count=total,
            rows=rows,
            patch={"training.max_length": longer} if helps else {},
            instead=fixed.get("patch", {}),
            instead_action=fixed.get("action", ""),
        ),
    ]


def _beyond_context(look: Look, counted: Counted) -> list[RowFinding]:
    """Of what is left by the cut; ``fettle plan`` warns of the length itself."""
    context, max_length = look.context, look.spec.training.max_length
    if not context or max_length <= context or look.spec.method == "pretrain":
        return []
    total, rows = rows_at(look, large.over(counted.lengths, context))
    if not total:
        return []
    return [
        RowFinding(
            code="beyond_context",
            severity="warning",
            title=sentence(
                total,
                "is longer than the model was made for",
                "are longer than the model was made for",
            ),
            cause=f"It was made for {context} tokens, and max_length is {max_length}: what it "
            "learns beyond that it may not be able to use.",
            remedy=f"Write max_length = {context}, or shorten those rows.",
            row_count=total,
            rows=rows,
            patch={"training.max_length": context},
        )
    ]


def _would_be(still: int) -> str:
    return f"it would be {still}" if still else "none would"


def proposed_length(lengths: Sequence[int] | np.ndarray) -> int:
    """A length in steps of 64 that leaves nearly all samples whole."""
    numbers, often = large.counts_of(np.asarray(lengths, np.int64))
    enough = math.ceil(_ENOUGH * len(lengths)) - 1
    wanted = int(numbers[np.searchsorted(np.cumsum(often), enough, "right")])
    return 64 * math.ceil(wanted / 64)


def _blank(look: Look, counted: Counted) -> list[RowFinding]:
    if not (blank := look.encoding.meta.blank):
        return []
    return [
        RowFinding(
            code="blank",
            severity="info",
            title=sentence(blank, "has no text and is left out", "have no text and are left out"),
            remedy="Nothing needs to be done, unless there should be text in them.",
            row_count=blank,
            rows=look.encoding.meta.suspects.get(suspects.BLANK, [])[:MAX_ROWS],
        )
    ]


_JUDGES: tuple[Callable[[Look, Counted], list[RowFinding]], ...] = (
    _nothing_left,
    _outside,
    _refused,
    _template,
    _untaught,
    _cut,
    _beyond_context,
    *copy_findings.JUDGES,
    *text_findings.JUDGES,
    _blank,
)
