"""What of a conversation is learnt, on templates of all sorts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.contract.messages import Decision, Finding
from engine.contract.validate import check
from engine.formats.example import Conversation, Turn
from engine.worker.chat import (
    PLAIN_TEMPLATE,
    CannotRender,
    ChatRenderer,
    Rendered,
    ensure_template,
)
from engine.worker.failures import JobError
from engine.worker.tokenise import encode_all, learnt
from tests.worker.conftest import FAMILIES, Heard, make_spec

MARKED = (
    "{% for m in messages %}<{{ m['role'] }}>"
    "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] }}</s>{% endgeneration %}"
    "{% else %}{{ m['content'] }}</s>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
UNMARKED = MARKED.replace("{% generation %}", "").replace("{% endgeneration %}", "")
FORGETFUL = (
    "{% for m in messages %}<{{ m['role'] }}>"
    "{% if m['role'] == 'assistant' and not loop.last %}{{ m['content'].split('|')[-1] }}"
    "{% else %}{{ m['content'] }}{% endif %}</s>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
"""Drops the thoughts of all but the last answer, as some reasoning models' templates do."""
NO_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('No system role') }}{% endif %}"
)
STRICT = "{% if messages[0]['role'] == 'assistant' %}{{ raise_exception('Ask first') }}{% endif %}"


def _talk(*turns: tuple[str, str], **fields: Any) -> Conversation:
    return Conversation(
        messages=[Turn(role=role, content=content) for role, content in turns],  # type: ignore[arg-type]
        **fields,
    )


TWO = _talk(("user", "one"), ("assistant", "ab|cd"), ("user", "two"), ("assistant", "ef|gh"))


@pytest.fixture
def tokenizer(models: Callable[[str], Path]) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(models("llama"))


def _learnt(rendered: Rendered) -> list[str]:
    assert rendered.spans is not None
    return [rendered.text[begin:end] for begin, end in rendered.spans]


@pytest.mark.parametrize("template", [MARKED, UNMARKED])
def test_only_answers_are_learnt_with_their_end(tokenizer: Any, template: str) -> None:
    tokenizer.chat_template = template
    assert _learnt(ChatRenderer(tokenizer)(TWO)) == ["ab|cd</s>", "ef|gh</s>"]


def test_a_template_that_changes_earlier_turns_is_seen_through(tokenizer: Any) -> None:
    tokenizer.chat_template = FORGETFUL
    rendered = ChatRenderer(tokenizer)(TWO)
    assert "ab" not in rendered.text
    # The shortened answer is not in the data; what was really written last is learnt.
    assert _learnt(rendered) == ["ef|gh</s>"]


def test_a_refused_system_turn_goes_into_the_first_question(tokenizer: Any) -> None:
    tokenizer.chat_template = NO_SYSTEM + MARKED
    renderer = ChatRenderer(tokenizer)
    rendered = renderer(_talk(("system", "be kind"), ("user", "hi"), ("assistant", "yes")))
    assert rendered.text == "<user>be kind\n\nhi</s><assistant>yes</s>"
    assert renderer.merged_systems == 1


def test_what_a_template_refuses_for_good_is_told(tokenizer: Any) -> None:
    tokenizer.chat_template = STRICT + MARKED
    with pytest.raises(CannotRender, match="Ask first"):
        ChatRenderer(tokenizer)(_talk(("assistant", "hm"), ("user", "what")))


def test_tools_are_written_out_for_a_template_that_knows_none(tokenizer: Any) -> None:
    tokenizer.chat_template = MARKED
    tools = [{"type": "function", "function": {"name": "now", "parameters": {}}}]
    rendered = ChatRenderer(tokenizer)(_talk(("user", "time?"), ("assistant", "12"), tools=tools))
    assert '"now"' in rendered.text
    assert _learnt(rendered) == ["12</s>"]


def test_a_model_without_a_template_gets_a_plain_one_and_a_word_of_it(
    tokenizer: Any, report: Heard
) -> None:
    tokenizer.chat_template = None
    ensure_template(tokenizer, report)
    assert tokenizer.chat_template == PLAIN_TEMPLATE
    assert "base model" in report.of(Decision)[0].reason
    rendered = ChatRenderer(tokenizer)(TWO)
    assert _learnt(rendered) == [f"ab|cd{tokenizer.eos_token}", f"ef|gh{tokenizer.eos_token}"]
    prompt = ChatRenderer(tokenizer).prompt([{"role": "user", "content": "one"}])
    assert rendered.text.startswith(prompt)


@pytest.mark.parametrize("family", FAMILIES)
def test_our_flags_are_those_of_transformers(
    family: str, models: Callable[[str], Path], chats: Path
) -> None:
    from transformers import AutoTokenizer

    from engine.formats.dataset import read_examples
    from engine.formats.rendering import as_messages

    tokenizer = AutoTokenizer.from_pretrained(models(family))
    talks = [e for e in read_examples(chats, "auto", "sft") if isinstance(e, Conversation)]
    ours = list(encode_all(tokenizer, map(ChatRenderer(tokenizer), talks)))
    for talk, encoded in zip(talks, ours, strict=True):
        theirs = tokenizer.apply_chat_template(
            as_messages(talk), return_dict=True, return_assistant_tokens_mask=True
        )
        assert encoded.ids.tolist() == theirs["input_ids"]
        assert encoded.flags.astype(int).tolist() == theirs["assistant_masks"]
        assert 0 < encoded.flags.sum() < len(encoded.flags)


def test_a_token_across_the_border_is_learnt() -> None:
    places = np.array([(0, 0), (0, 2), (2, 5), (5, 7), (7, 9)])
    assert learnt(places, [(4, 7)]).tolist() == [False, False, True, True, False]


# ---------------------------------------------------------------- whole datasets


def _prepare(spec: dict[str, Any], tokenizer: Any, report: Heard) -> Any:
    from engine.methods.sft.train import prepare

    sound, complaints = check(spec)
    assert sound, complaints
    return prepare(sound, tokenizer, report)


def test_rows_with_nothing_to_learn_are_counted_and_left_out(
    tokenizer: Any, models: Callable[[str], Path], tmp_path: Path, report: Heard
) -> None:
    long = {"instruction": "the river ran over stones " * 40, "output": "never seen"}
    short_ones = [{"instruction": f"say {i}", "output": f"well {i}"} for i in range(9)]
    data = tmp_path / "d.json"
    data.write_text(json.dumps([*short_ones, long, {**long, "output": "nor this"}]))
    spec = make_spec(models("llama"), data, max_length=40)
    spec["dataset"]["eval_fraction"] = 0.0
    short = _prepare(spec, tokenizer, report)
    (finding,) = report.of(Finding)
    assert finding.title == "2 of 11 samples teach nothing and are left out."
    assert len(short.train) == 9
    assert (short.train.target_counts > 0).all()
    assert short.train.lengths.max() <= 40


def test_a_dataset_with_nothing_to_learn_at_all_is_refused(
    tokenizer: Any, models: Callable[[str], Path], chats: Path, report: Heard
) -> None:
    with pytest.raises(JobError, match="nothing to train on"):
        _prepare(make_spec(models("llama"), chats, max_length=8), tokenizer, report)


def test_prompt_and_completion_learn_the_completion_and_the_end(
    tokenizer: Any, models: Callable[[str], Path], tmp_path: Path, report: Heard
) -> None:
    data = tmp_path / "d.jsonl"
    data.write_text('{"prompt": "the river ", "completion": "ran over"}\n' * 2)
    spec = make_spec(models("llama"), data)
    spec["dataset"]["eval_fraction"] = 0.0
    ids, flags = _prepare(spec, tokenizer, report).train[0]
    told = [token for token, flag in zip(ids, flags, strict=True) if flag]
    assert tokenizer.decode(told).strip() == f"ran over{tokenizer.eos_token}"
    assert ids[-1] == tokenizer.eos_token_id


def test_pretraining_learns_every_token_of_full_blocks(
    tokenizer: Any, models: Callable[[str], Path], texts: Path, report: Heard
) -> None:
    from engine.methods.pretrain.train import prepare

    spec = {**make_spec(models("llama"), texts, max_length=32), "method": "pretrain"}
    sound, _ = check(spec)
    assert sound
    made = prepare(sound, tokenizer, report)
    assert set(made.train.lengths[:-1].tolist()) == {32}
    assert all(flags.all() for _, flags in made.train.pieces())
    ends = [
        int((ids == tokenizer.eos_token_id).sum())
        for part in (made.train, made.evaluation)
        for ids, _ in part.pieces()
    ]
    assert sum(ends) == 30
    assert len(made.evaluation) >= 1


def test_one_long_document_is_held_back_by_blocks(
    tokenizer: Any, models: Callable[[str], Path], tmp_path: Path, report: Heard
) -> None:
    from engine.methods.pretrain.train import prepare

    data = tmp_path / "book.txt"
    data.write_text("\n".join(f"line {i} of a long book" for i in range(200)))
    spec = {**make_spec(models("llama"), data, max_length=32), "method": "pretrain"}
    sound, _ = check(spec)
    assert sound
    made = prepare(sound, tokenizer, report)
    total = len(made.train) + len(made.evaluation)
    assert len(made.evaluation) == round(total * 0.1)
