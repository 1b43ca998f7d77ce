"""A chat template that is chosen: what is wrong with it, what it learns, and what is said of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.contract.messages import Decision, Finding, Job
from engine.contract.validate import check
from engine.formats.example import Conversation, PromptCompletion, Turn
from engine.planning import chat_templates
from engine.worker import inspect_job, template_job, templates
from engine.worker.chat import ChatRenderer
from engine.worker.encoding_key import key_of
from engine.worker.failures import JobError
from engine.worker.render import Renderer
from engine.worker.template_check import closing_of, of_template
from engine.worker.templates import TRIAL, mistake_in
from tests.worker.conftest import Heard, make_spec
from tests.worker.test_chat import FORGETFUL, MARKED, TWO, UNMARKED

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


@pytest.fixture
def tokenizer(models: Callable[[str], Path]) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(models("llama"))


def learnt(tokenizer: Any, template: str, loss_on: Any, talk: Conversation = TWO) -> list[str]:
    tokenizer.chat_template = template
    rendered = ChatRenderer(tokenizer, loss_on)(talk)
    spans = rendered.spans if rendered.spans is not None else [(0, len(rendered.text))]
    return [rendered.text[begin:end] for begin, end in spans]


# ---------------------------------------------------------------- what is learnt


@pytest.mark.parametrize("template", [MARKED, UNMARKED])
def test_the_loss_counts_what_is_chosen(tokenizer: Any, template: str) -> None:
    both = ["ab|cd</s>", "ef|gh</s>"]
    assert learnt(tokenizer, template, "answers") == both
    assert learnt(tokenizer, template, "last_answer") == both[1:]
    (everything,) = learnt(tokenizer, template, "everything")
    assert everything.startswith("<user>one</s>")
    assert everything.endswith("<assistant>ef|gh</s>")


@pytest.mark.parametrize("template", [MARKED, UNMARKED])
def test_the_last_answer_need_not_be_the_last_turn(tokenizer: Any, template: str) -> None:
    asked = Conversation(messages=[*TWO.messages, Turn(role="user", content="more?")])
    assert learnt(tokenizer, template, "last_answer", asked) == ["ef|gh</s>"]


def test_an_answer_in_several_marks_is_one_answer(tokenizer: Any) -> None:
    parted = MARKED.replace(
        "{{ m['content'] }}</s>{% endgeneration %}",
        "{{ m['content'] }}{% endgeneration %}{% generation %}</s>{% endgeneration %}",
    )
    assert learnt(tokenizer, parted, "last_answer") == ["ef|gh", "</s>"]


def test_a_completion_is_learnt_alone_or_with_its_prompt() -> None:
    row = PromptCompletion(prompt="one ", completion="two")
    for loss_on, spans in (("answers", [(4, 7)]), ("last_answer", [(4, 7)]), ("everything", None)):
        assert Renderer(lambda: None, loss_on)(row).spans == spans  # type: ignore[arg-type, return-value]


# ---------------------------------------------------------------- what is wrong


@pytest.mark.parametrize(
    ("template", "line", "words"),
    [
        ("{% for m in messages %}\n{{ m.content }", 2, "unexpected '}'"),
        ("\n{% for m in mesages %}x{% endfor %}", 2, "'mesages'. Did you mean messages?"),
        ("{% for message in messages %}{{ mesage.role }}{% endfor %}", 1, "mean message?"),
        ("{{ messages | nofilter }}", 1, "nofilter"),
        ("\n\n{{ messages[0].content + 1 }}", 3, "concatenate"),
        ("{{ messages[9].content.x }}", 1, "no element 9"),
        ("{{ ''.__class__.__mro__ }}", 1, "unsafe"),
        (
            "a\n{% for i in range(99999) %}\n{% for j in range(99999) %}x{% endfor %}{% endfor %}",
            3, "does not come to an end",
        ),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", 1, "recursion"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_line(
    tokenizer: Any, template: str, line: int, words: str
) -> None:
    before = tokenizer.chat_template
    found = mistake_in(template, tokenizer)
    assert found is not None
    assert found.line == line
    assert found.sentence.startswith(f"Line {line}: ")
    assert words in found.sentence
    assert tokenizer.chat_template == before


@pytest.mark.parametrize(
    "template",
    [
        "{% if enable_thinking %}{{ enable_thinking }}{% endif %}{{ messages[0].content }}",
        "{{ date_string | default('') }}{% if x is defined %}{{ x }}{% endif %}",
        "{{ raise_exception('I want a system turn') }}",
        "{% set a = 1 %}{% macro f(b) %}{{ a }}{{ b }}{% endmacro %}{{ f(2) }}{{ bos_token }}",
    ],
)
def test_options_and_refusals_are_no_mistakes(tokenizer: Any, template: str) -> None:
    assert mistake_in(template, tokenizer) is None


def test_a_file_that_cannot_be_used_is_refused_before_anything_is_read(
    tokenizer: Any, tmp_path: Path, models: Callable[[str], Path], report: Heard
) -> None:
    broken = tmp_path / "mine.jinja"
    raw = make_spec(models("llama"), tmp_path / "d.json")
    raw["dataset"]["chat_template"] = str(broken)
    spec, _ = check(raw)
    assert spec is not None
    for content, words in ((None, "no file"), (b"  ", "is empty"), (b"\xff\xfe{", "UTF-8"),
                           (b"\n{% if %}", "mine.jinja: Line 2: ")):  # fmt: skip
        if content is not None:
            broken.write_bytes(content)
        with pytest.raises(JobError) as caught:
            templates.dress(tokenizer, spec, report)
        assert words in caught.value.cause
    found = inspect_job.answer(Job(kind="inspect", spec=raw), report)
    assert found.complaint is not None
    assert found.complaint.field == "dataset.chat_template"
    assert "Line 2" in found.complaint.problem


# ---------------------------------------------------------------- what is found


def codes(tokenizer: Any, template: str, talk: Conversation = TWO) -> dict[str, Any]:
    tokenizer.chat_template = template
    return {found.code: found for found in of_template(tokenizer, [(7, talk)])}


def test_an_end_that_the_model_does_not_know_is_told_with_the_remedy(tokenizer: Any) -> None:
    found = codes(tokenizer, chat_templates.text_of("chatml"))["template_end_unknown"]
    assert "<|im_end|>" in found.title
    assert "plain" in found.remedy
    assert "qwen" not in found.remedy
    assert found.patch == {"dataset.chat_template": "plain"}
    assert "template_end_unknown" not in codes(tokenizer, chat_templates.text_of("llama-3"))
    assert "template_end_unknown" not in codes(tokenizer, chat_templates.text_of("plain"))


def test_text_in_front_of_the_beginning_is_told(tokenizer: Any) -> None:
    llama = chat_templates.text_of("llama-3")
    assert codes(tokenizer, llama) == {}
    (told,) = codes(tokenizer, f"HELLO {llama}").values()
    assert told.code == "template_before_begin"
    assert tokenizer.bos_token in told.title
    assert "'HELLO'" in told.cause


def test_a_template_without_an_end_is_told(tokenizer: Any) -> None:
    endless = UNMARKED.replace("</s>", "\n")
    assert set(codes(tokenizer, endless)) == {"template_without_end"}
    tokenizer.chat_template = UNMARKED
    assert closing_of(ChatRenderer(tokenizer)) == "</s>"


def test_marks_that_leave_out_the_end_are_told(tokenizer: Any) -> None:
    short = MARKED.replace("</s>{% endgeneration %}", "{% endgeneration %}</s>")
    found = codes(tokenizer, short)["marks_differ"]
    assert "leave out '</s>'" in found.cause
    assert "inside {% generation %}" in found.remedy
    assert found.rows == [7]
    assert "marks_differ" not in codes(tokenizer, MARKED)


def test_marks_around_questions_are_told(tokenizer: Any) -> None:
    wide = MARKED.replace(
        "{% else %}{{ m['content'] }}</s>",
        "{% else %}{% generation %}{{ m['content'] }}</s>{% endgeneration %}",
    )
    found = codes(tokenizer, wide)["marks_differ"]
    assert "take in" in found.cause
    missing = MARKED.replace(
        "{% if m['role'] == 'assistant' %}", "{% if m['role'] == 'assistant' and loop.last %}"
    )
    assert "leave out 'ab|cd</s>'" in codes(tokenizer, missing)["marks_differ"].cause


def test_earlier_turns_that_change_are_told(tokenizer: Any) -> None:
    found = codes(tokenizer, FORGETFUL)["template_rewrites"]
    assert found.severity == "info"
    assert "by their words" in found.cause


# ---------------------------------------------------------------- in a run


def test_a_chosen_template_makes_other_tokens_and_is_said(
    models: Callable[[str], Path], tmp_path: Path, tokenizer: Any, report: Heard
) -> None:
    data = tmp_path / "d.jsonl"
    rows = [{"instruction": f"say {i}", "output": f"well {i}"} for i in range(8)]
    data.write_text("\n".join(map(json.dumps, rows)))
    raw = make_spec(models("llama"), data)
    own = inspect_job.answer(Job(kind="inspect", spec=raw), report).report
    raw["dataset"] |= {"chat_template": "alpaca", "loss_on": "everything"}
    other = inspect_job.answer(Job(kind="inspect", spec=raw), report).report
    assert own is not None
    assert other is not None
    assert other.data != own.data
    # A sample's first token has nothing before it to be told from.
    assert other.trained_tokens == other.tokens - other.train
    spec, _ = check(raw)
    assert spec is not None
    templates.dress(tokenizer, spec, report)
    assert tokenizer.chat_template == chat_templates.text_of("alpaca")
    (said,) = [d for d in report.of(Decision) if "alpaca" in d.title]
    assert "saved with the result" in said.cost
    keys = set()
    for loss_on in ("answers", "last_answer", "everything"):
        raw["dataset"]["loss_on"] = loss_on
        spec, _ = check(raw)
        assert spec is not None
        keys.add(key_of(spec, tokenizer))
    assert len(keys) == 3


def test_a_run_keeps_the_template_and_says_what_is_odd(
    models: Callable[[str], Path], chats: Path, tmp_path: Path, report: Heard
) -> None:
    from transformers import AutoTokenizer

    from tests.worker.conftest import run_here

    spec = make_spec(models("llama"), chats, max_steps=1, max_length=256)
    mine = tmp_path / "mine.jinja"
    mine.write_text(chat_templates.text_of("chatml").replace("<|im_end|>", "<|over|>"))
    spec["dataset"]["chat_template"] = str(mine)
    done = run_here(tmp_path / "run", spec, report)
    assert done.output
    kept = AutoTokenizer.from_pretrained(done.output)
    # As a file of text keeps it: its last line end is no part of what is rendered.
    assert kept.chat_template.rstrip() == mine.read_text().rstrip()
    assert "mine.jinja" in (Path(done.output) / "README.md").read_text()
    assert "template_end_unknown" in [finding.code for finding in report.of(Finding)]


def test_a_row_is_written_as_the_edited_template_says(
    models: Callable[[str], Path], tmp_path: Path
) -> None:
    spec = make_spec(models("llama"), tmp_path / "d.json", max_length=8)
    spec["dataset"]["loss_on"] = "last_answer"
    row = '{"instruction": "one", "output": "ab|cd"}'

    def answer(**asked: Any) -> Any:
        job = {"spec": spec, "template": MARKED, "row": row, "format": "alpaca", **asked}
        return template_job.answer(Job(kind="template", spec=job))

    found = answer()
    assert found.problem == ""
    assert found.sample["text"] == "<user>one</s><assistant>ab|cd</s>"
    told = [found.sample["text"][t[0] : t[1]] for t in found.sample["tokens"] if t[3]]
    assert "".join(told) == "ab|cd</s>"
    assert [each.code for each in found.findings] == ["template_end_unknown"]
    assert answer(template=None).text == answer(template=None, row="").text != MARKED
    broken = answer(template="\n{{ nothing.there }}")
    assert (broken.line, broken.sample) == (2, None)
    assert "too long" in answer(row=row[:20]).problem
    assert "Ask first" in answer(template="{{ raise_exception('Ask first') }}").problem


def test_every_conversation_can_be_tried() -> None:
    assert [turn.role for turn in TRIAL.messages] == ["user", "assistant"] * 2
