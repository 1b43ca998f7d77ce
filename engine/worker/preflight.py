"""What must hold before the first step, and would end or waste a run: looked at before the weights
are loaded, where the model's files say enough."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from engine.contract.spec import Spec
from engine.formats.answers import SAYS_NOTHING, WASTED, is_wasted, way_out
from engine.worker import large, suspects, untrained_tokens
from engine.worker.encoded_parts import Encoding
from engine.worker.failures import JobError
from engine.worker.origins import place_of
from engine.worker.prepared import Prepared
from engine.worker.report import Report
from engine.worker.row_hashes import first_copies
from engine.worker.row_words import sentence
from engine.worker.same_answers import OTHER_COLUMN, SAYS_ONE, same_answers
from engine.worker.samples import Samples
from engine.worker.text_findings import WORDS
from engine.worker.untrained_tokens import Weight


def check(
    spec: Spec, weight: Weight, tokenizer: PreTrainedTokenizerBase, prepared: Prepared,
    report: Report,
) -> None:  # fmt: skip
    """``weight``: the model's embedding, with a row for each token. Raises JobError."""
    must_fit_vocabulary(spec, prepared.train, len(weight))
    must_fit_vocabulary(spec, prepared.evaluation, len(weight))
    pad_within(tokenizer, len(weight), report)
    untrained_tokens.look(spec, weight, tokenizer, prepared.train, report)
    if spec.dataset.eval_fraction > 0 and not len(prepared.evaluation):
        report.found(
            "nothing_held_back",
            "No row is held back, so no loss is measured on what was not trained on.",
            cause=f"eval_fraction is {spec.dataset.eval_fraction:g}, but of the rows that it takes "
            "none has a token to learn.",
            remedy="Raise dataset.eval_fraction or training.max_length, or write "
            "eval_fraction = 0.",
        )


def must_fit_vocabulary(spec: Spec, samples: Samples, embedding_rows: int) -> None:
    """Raises :class:`JobError` if a token has no row in the model's embedding. Its id is its label
    too, so labels are in range as well."""
    highest = max((int(ids.max()) for ids, _ in samples.pieces() if len(ids)), default=0)
    if highest < embedding_rows:
        return
    ids = (samples[place][0] for place in range(len(samples)))
    first = next(place for place, row in enumerate(ids) if (row >= embedding_rows).any())
    raise JobError(
        "tokenizer_mismatch",
        "The tokenizer does not belong to the model.",
        cause=f"It made token {highest}, but the model knows only {embedding_rows} tokens; the "
        f"first such token is in {place_of(spec, samples, first)}.",
        remedy="Use the tokenizer that came with the model.",
    )


def pad_within(tokenizer: PreTrainedTokenizerBase, embedding_rows: int, report: Report) -> None:
    """Pad with a token that the model has a row for: a new row would mean another size, which
    quantized weights cannot take."""
    pad = tokenizer.pad_token_id
    if pad is not None and pad < embedding_rows:
        return
    named = tokenizer.pad_token
    end = tokenizer.eos_token_id
    if end is None or end >= embedding_rows:
        raise JobError(
            "tokenizer_mismatch",
            "The tokenizer does not belong to the model.",
            cause=f"It pads with token {pad} and ends with token {end}, but the model knows only "
            f"{embedding_rows} tokens.",
            remedy="Use the tokenizer that came with the model.",
        )
    tokenizer.pad_token = tokenizer.eos_token
    report.decided(
        f"Rows are padded with {tokenizer.eos_token}.",
        f"The tokenizer's own {named} is token {pad}, for which the model has no row. Padding is "
        "never learnt, so the result is the same.",
    )


def tell_copies(encoding: Encoding, report: Report) -> None:
    """Say if most rows are the same as others."""
    count = len(encoding.hashes)
    copies = large.total(large.moved(first_copies(encoding.hashes)))
    if count and copies / count >= WASTED:
        report.found(
            "mostly_copies",
            f"{copies} of {count} rows are the same as an earlier one.",
            cause="Each is learnt as often as it is there, so the run learns little else.",
            remedy='Leave them out: dataset.fixes = ["drop_duplicates"].',
        )


def tell_same_answers(encoding: Encoding, report: Report) -> None:
    """Say if nearly all rows have one answer."""
    if found := same_answers(encoding, first_copies(encoding.hashes)):
        report.found("same_answers", found.words, cause=SAYS_ONE, remedy=OTHER_COLUMN)


def tell_suspects(encoding: Encoding, report: Report) -> None:
    """Say what is odd about most rows. Empty answers end the run."""
    origins = encoding.samples.origins
    if origins is None or not len(origins):
        return
    for kind, words in WORDS.items():
        rows = encoding.meta.suspects.get(kind, [])
        count = large.total(large.are_in(origins, rows)) if rows else 0
        if words.severity != "warning" or count < WASTED * len(origins):
            continue
        fix = f' dataset.fixes = ["{words.fix}"] does that.' if words.fix else ""
        report.found(
            f"mostly_{kind}",
            f"{sentence(count, words.of_one, words.of_many)[:-1]}, of {len(origins)}.",
            cause=words.cause,
            remedy=words.remedy + fix,
        )


def must_have_answers(spec: Spec, encoding: Encoding) -> None:
    """Raises JobError if most rows would teach the model to say nothing."""
    origins = encoding.samples.origins
    if origins is None or not len(origins):
        return
    rows = encoding.meta.suspects.get(suspects.EMPTY_ANSWERS, [])
    is_empty = large.are_in(origins, rows)
    empty = large.total(is_empty)
    if not is_wasted(spec.dataset, empty, len(origins)):
        return
    first = int(large.places_of(is_empty)[0])
    remedy, patch = way_out(spec.dataset, empty, len(origins))
    raise JobError(
        "bad_data",
        f"{empty} of {len(origins)} rows have an empty answer.",
        cause=f"{SAYS_NOTHING} The first is {place_of(spec, encoding.samples, first)}.",
        remedy=remedy,
        patch=patch,
    )
