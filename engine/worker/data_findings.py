"""What a person should know of a dataset before a run is made of it, in words. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from engine.contract.dataset_report import RowFinding
from engine.worker import suspects

if TYPE_CHECKING:
    from engine.worker.inspection import Counted, Look

MAX_ROWS = 200
_MANY_COPIES = 0.5
"""Share of copies from which the data is mostly the same."""
_ENOUGH = 0.99
"""Share of samples that a proposed length leaves whole."""


def findings_of(look: Look, counted: Counted) -> list[RowFinding]:
    """All of them, the gravest first."""
    found = [finding for judge in _JUDGES for finding in judge(look, counted)]
    return sorted(found, key=lambda finding: _ORDER.index(finding.severity))


_ORDER = ("error", "warning", "info")


def _rows(look: Look, places: Iterable[int]) -> list[int]:
    """Rows of the dataset at these places among the samples."""
    origins = look.encoding.samples.origins
    assert origins is not None
    return [int(origins[place]) for place in places]


def _rows_of(look: Look, mask: np.ndarray) -> tuple[int, list[int]]:
    places = np.flatnonzero(mask)
    return len(places), _rows(look, places[:MAX_ROWS].tolist())


# ---------------------------------------------------------------- nothing, or nonsense


def _nothing_left(look: Look, counted: Counted) -> list[RowFinding]:
    if look.nothing is None:
        return []
    return [
        RowFinding(
            code="nothing_to_train_on",
            severity="error",
            title=look.nothing.title,
            cause=look.nothing.cause,
            remedy=look.nothing.remedy,
        )
    ]


def _outside(look: Look, counted: Counted) -> list[RowFinding]:
    """Tokens that the model has no row for."""
    samples = look.encoding.samples
    if look.vocabulary is None or _highest(samples.pieces()) < look.vocabulary:
        return []
    ids = ((place, samples[place][0]) for place in range(len(samples)))
    outside = [place for place, row in ids if len(row) and int(row.max()) >= look.vocabulary]
    return [
        RowFinding(
            code="ids_out_of_range",
            severity="error",
            title=_sentence(
                len(outside),
                "has tokens that the model does not know",
                "have tokens that the model does not know",
            ),
            cause=f"The tokenizer makes ids of {look.vocabulary} and more; the model has rows for "
            f"{look.vocabulary} tokens.",
            remedy="Use the tokenizer that came with the model.",
            row_count=len(outside),
            rows=_rows(look, outside[:MAX_ROWS]),
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
            title=_sentence(
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
    empty = counted.targets == 0
    cut_off = (counted.kept_targets == 0) & ~empty
    found = []
    if (number := _rows_of(look, empty))[0]:
        found.append(
            RowFinding(
                code="nothing_to_learn",
                severity="warning",
                title=_sentence(
                    number[0], "teaches nothing and is left out", "teach nothing and are left out"
                ),
                cause="They have no answer, or the chat template does not show it.",
                remedy="Look at them; a template that hides answers has to be another one.",
                row_count=number[0],
                rows=number[1],
            )
        )
    if (number := _rows_of(look, cut_off))[0]:
        found.append(
            RowFinding(
                code="answer_beyond_cut",
                severity="warning",
                title=_sentence(
                    number[0],
                    "has its whole answer beyond the cut and is left out",
                    "have their whole answer beyond the cut and are left out",
                ),
                cause=f"The question alone is longer than {look.spec.training.max_length} tokens.",
                remedy="Raise training.max_length, or shorten those questions.",
                row_count=number[0],
                rows=number[1],
            )
        )
    return found


# ---------------------------------------------------------------- what is cut


def _cut(look: Look, counted: Counted) -> list[RowFinding]:
    max_length = look.spec.training.max_length
    if look.spec.method == "pretrain" or not (counted.lengths > max_length).any():
        return []
    total, rows = _rows_of(look, counted.lengths > max_length)
    answers = int((counted.lost_targets > 0).sum())
    longer = min(proposed_length(counted.lengths), look.context or 1 << 30)
    still = int((counted.lengths > longer).sum())
    share = total / len(counted.lengths)
    helps = longer > max_length
    why = f"They are longer than {max_length} tokens."
    return [
        RowFinding(
            code="cut",
            severity="warning" if answers else "info",
            title=_sentence(total, f"loses its end ({share:.1%})", f"lose their end ({share:.1%})"),
            cause=f"{why} An answer is cut in {answers} of them." if answers else why,
            remedy=f"With max_length = {longer} {_would_be(still)}." if helps else "",
            row_count=total,
            rows=rows,
            patch={"training.max_length": longer} if helps else {},
        )
    ]


def _would_be(still: int) -> str:
    return f"it would be {still}" if still else "none would"


def proposed_length(lengths: Sequence[int] | np.ndarray) -> int:
    """A length in steps of 64 that leaves nearly all samples whole."""
    order = np.sort(np.asarray(lengths))
    wanted = int(order[math.ceil(_ENOUGH * len(order)) - 1])
    return 64 * math.ceil(wanted / 64)


# ---------------------------------------------------------------- copies


def _copies(look: Look, counted: Counted) -> list[RowFinding]:
    mask = counted.first_copy != np.arange(len(counted.first_copy))
    total, rows = _rows_of(look, mask)
    if not total:
        return []
    share = total / len(mask)
    many = share >= _MANY_COPIES
    return [
        RowFinding(
            code="duplicates",
            severity="warning" if many else "info",
            title=_sentence(
                total,
                f"is the same as an earlier one ({share:.1%})",
                f"are the same as an earlier one ({share:.1%})",
            ),
            cause="They are kept: each is learnt as often as it is there.",
            remedy="Most of the data says the same; remove the copies." if many else "",
            row_count=total,
            rows=rows,
        )
    ]


# ---------------------------------------------------------------- seen while reading

_WORDS: dict[str, tuple[str, str, str, str]] = {
    suspects.EMPTY_ANSWERS: (
        "has an empty answer",
        "have an empty answer",
        "The model learns to say nothing, and to stop at once.",
        "Write the answers, or remove those rows.",
    ),
    suspects.CONTROL_TOKENS: (
        "has a control token of the model in its text",
        "have a control token of the model in their text",
        "What was written there is taken for the chat template's own marks: turns end too early.",
        "Remove or rewrite those marks.",
    ),
    suspects.BROKEN_TEXT: (
        "has broken characters",
        "have broken characters",
        "The text was saved in one encoding and read in another on its way here.",
        "Make those rows again from their source, saved as UTF-8.",
    ),
    suspects.ROLE_ORDER: (
        "has turns in an unusual order",
        "have turns in an unusual order",
        "Somebody speaks twice in a row, or an answer comes before any question.",
        "Look whether a turn is missing.",
    ),
}


def _suspects(look: Look, counted: Counted) -> list[RowFinding]:
    found = []
    for kind, (of_one, of_many, cause, remedy) in _WORDS.items():
        if rows := look.encoding.meta.suspects.get(kind):
            found.append(
                RowFinding(
                    code=kind,
                    severity="info" if kind == suspects.ROLE_ORDER else "warning",
                    title=_sentence(len(rows), of_one, of_many),
                    cause=cause,
                    remedy=remedy,
                    row_count=len(rows),
                    rows=rows[:MAX_ROWS],
                )
            )
    return found


def _blank(look: Look, counted: Counted) -> list[RowFinding]:
    if not (blank := look.encoding.meta.blank):
        return []
    return [
        RowFinding(
            code="blank",
            severity="info",
            title=_sentence(blank, "has no text and is left out", "have no text and are left out"),
            row_count=blank,
        )
    ]


def _sentence(number: int, of_one: str, of_many: str) -> str:
    return f"1 row {of_one}." if number == 1 else f"{number} rows {of_many}."


_JUDGES: tuple[Callable[[Look, Counted], list[RowFinding]], ...] = (
    _nothing_left,
    _outside,
    _refused,
    _template,
    _untaught,
    _cut,
    _suspects,
    _copies,
    _blank,
)
