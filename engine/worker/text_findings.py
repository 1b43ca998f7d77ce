"""What is said of the texts of rows, as they were seen while they were read. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np

from engine.contract.dataset_report import RowFinding
from engine.worker import suspects
from engine.worker.finding_parts import MAX_ROWS, fix, rows_at, rows_of
from engine.worker.row_words import sentence

if TYPE_CHECKING:
    from engine.worker.inspection import Counted, Look


class _Words(msgspec.Struct, frozen=True):
    """What is said of a kind of suspects."""

    of_one: str
    of_many: str
    cause: str
    remedy: str
    fix: str = ""
    severity: Literal["warning", "info"] = "warning"


WORDS: dict[str, _Words] = {
    suspects.EMPTY_ANSWERS: _Words(
        "has an empty answer",
        "have an empty answer",
        "The model learns to say nothing, and to stop at once.",
        "Write the answers, or leave those rows out.",
        "drop_empty",
    ),
    suspects.EMPTY_QUESTIONS: _Words(
        "has an empty question",
        "have an empty question",
        "The model learns to give these answers whatever it is asked; mostly the column with the "
        "questions was not found.",
        "Choose the column with the questions, or write them.",
    ),
    suspects.PLACEHOLDERS: _Words(
        "has a placeholder for an answer",
        "have a placeholder for an answer",
        "A table wrote NaN, None or the like where it had nothing; the model learns to say that.",
        "Look at them; where it is no answer, leave those rows out.",
        "drop_placeholders",
    ),
    suspects.ECHOES: _Words(
        "has its question for an answer",
        "have their question for an answer",
        "The model learns to repeat what it is asked; mostly one column was taken twice.",
        "Choose the column with the answers, or leave those rows out.",
        "drop_echoes",
    ),
    suspects.CONTROL_TOKENS: _Words(
        "has a control token of the model in its text",
        "have a control token of the model in their text",
        "What was written there is taken for the chat template's own marks: turns end too early.",
        "Rewrite those marks, or leave those rows out.",
        "drop_control_tokens",
    ),
    suspects.MOJIBAKE: _Words(
        "has text that was read in the wrong encoding",
        "have text that was read in the wrong encoding",
        "Signs such as Ã© stand where é was: it was saved as UTF-8 and read as something else.",
        "What can be nothing else is repaired at one click; the file stays as it is.",
        "reencode",
    ),
    suspects.BROKEN_TEXT: _Words(
        "has lost characters",
        "have lost characters",
        "They hold the sign that stands for what could not be read (U+FFFD): nobody can tell what "
        "was there.",
        "Make those rows again from their source, saved as UTF-8, or leave them out.",
        "drop_broken_text",
    ),
    suspects.MARKUP: _Words(
        "is full of HTML",
        "are full of HTML",
        "Much of the text is tags and entities; the model learns to write them.",
        "Take the text out of the pages, unless HTML is what is to be learnt.",
        severity="info",
    ),
    suspects.UNFILLED: _Words(
        "has a blank that nothing was put in",
        "have a blank that nothing was put in",
        "Something such as {{name}} stands where a value should, and the model learns with that "
        "there.",
        "Fill them in, unless templates are what is to be learnt.",
    ),
    suspects.INVISIBLE: _Words(
        "has invisible characters",
        "have invisible characters",
        "Zero-width or control characters are tokens of their own, and nobody sees them.",
        "Take them out of the file.",
        severity="info",
    ),
    suspects.LATE_SYSTEM: _Words(
        "has a system message that is not the first turn",
        "have a system message that is not the first turn",
        "Chat templates are made for one system message in front; some write a later one "
        "somewhere else or leave it out, and nobody who chats with the model ever sends one there.",
        "Put its text into the first system message, or into the question before it.",
    ),
    suspects.ROLE_ORDER: _Words(
        "has turns in an unusual order",
        "have turns in an unusual order",
        "Somebody speaks twice in a row, an answer comes before any question, or a function "
        "answers that nobody called.",
        "Look whether a turn is missing, or join the two.",
        severity="info",
    ),
}


def _suspects(look: Look, counted: Counted) -> list[RowFinding]:
    found = []
    for kind, words in WORDS.items():
        rows = _left(look, look.encoding.meta.suspects.get(kind, []))
        if not rows:
            continue
        found.append(
            RowFinding(
                code=kind,
                severity=words.severity,
                title=sentence(len(rows), words.of_one, words.of_many),
                cause=words.cause,
                remedy=words.remedy,
                row_count=len(rows),
                rows=rows[:MAX_ROWS],
                **_fix(look, words.fix, len(rows)),
            )
        )
    return found


def _left(look: Look, rows: list[int]) -> list[int]:
    """Those that no fix leaves out."""
    if not rows or look.encoding.base is None:
        return rows
    every, origins = look.encoding.base.samples.origins, look.encoding.samples.origins
    assert every is not None
    assert origins is not None
    out = np.setdiff1d(every, origins, assume_unique=True)
    found: list[int] = np.asarray(rows)[~np.isin(rows, out)].tolist()
    return found


def _fix(look: Look, name: str, count: int) -> dict[str, Any]:
    """None that would leave nothing to train on."""
    leaves_none = name.startswith("drop_") and count >= len(look.encoding.samples)
    if not name or leaves_none or name in look.spec.dataset.fixes:
        return {}
    return fix(look.spec, name)


def _languages(look: Look, counted: Counted) -> list[RowFinding]:
    mix = counted.mix
    if len(mix.shares) < 2:
        return []
    told = ", ".join(f"{_percent(share)} {name}" for name, share in mix.shares.items())
    whole = len(counted.lengths)
    among = f"{mix.looked} of {whole} rows" if mix.looked < whole else "the rows"
    untold = f"; {mix.untold} of them do not tell" if mix.untold else ""
    return [
        RowFinding(
            code="languages",
            severity="info",
            title=f"What is learnt is {told}.",
            cause=f"Estimated by script and common words of {among}{untold}. Shown are those that "
            f"are not {next(iter(mix.shares))}.",
            row_count=len(mix.others),
            rows=rows_of(look, mix.others[:MAX_ROWS]),
        )
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _unlearnt(look: Look, counted: Counted) -> list[RowFinding]:
    unlearnt = look.unlearnt
    if unlearnt is None:
        return []
    mask = look.encoding.samples.with_tokens(lambda ids: np.isin(ids, unlearnt.ids))
    total, rows = rows_at(look, mask)
    return [
        RowFinding(
            code="untrained_tokens",
            severity="warning",
            title=unlearnt.title,
            cause=unlearnt.cause,
            remedy=unlearnt.remedy,
            row_count=total,
            rows=rows,
            patch=unlearnt.patch,
            action="Train their rows" if unlearnt.patch else "",
        )
    ]


JUDGES: tuple[Callable[[Look, Counted], list[RowFinding]], ...] = (
    _unlearnt, _suspects, _languages,
)  # fmt: skip
