"""What each bundled chat template writes, against strings written by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.contract.template_names import BUNDLED, is_auto, is_file, meant
from engine.formats.example import Conversation, Turn
from engine.planning import chat_templates
from engine.worker.chat import ChatRenderer
from engine.worker.template_check import difference, of_template
from engine.worker.templates import mistake_in

TOOL = {"type": "function", "function": {"name": "now", "parameters": {}}}
LISTED = '{"type": "function", "function": {"name": "now", "parameters": {}}}'
CALL = {"id": "c1", "type": "function", "function": {"name": "now", "arguments": '{"zone": "UTC"}'}}
PLAIN = [("user", "Hi"), ("assistant", "Yes?"), ("user", "Bye"), ("assistant", "So long")]
WITH_SYSTEM = [("system", "Be brief."), *PLAIN]

EXPECTED: dict[str, tuple[str, str]] = {
    "chatml": (
        ("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nYes?<|im_end|>\n"
        "<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\nSo long<|im_end|>\n"),
        ("<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nYes?<|im_end|>\n"
        "<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\nSo long<|im_end|>\n"),
    ),
    "llama-2": (
        "<s>[INST] Hi [/INST] Yes? </s><s>[INST] Bye [/INST] So long </s>",
        ("<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST] Yes? </s>"
        "<s>[INST] Bye [/INST] So long </s>"),
    ),
    "llama-3": (
        ("<s><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nYes?<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nSo long<|eot_id|>"),
        ("<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nYes?<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nSo long<|eot_id|>"),
    ),
    "mistral": (
        "<s>[INST] Hi[/INST] Yes?</s>[INST] Bye[/INST] So long</s>",
        "<s>[INST] Be brief.\n\nHi[/INST] Yes?</s>[INST] Bye[/INST] So long</s>",
    ),
    "gemma": (
        ("<s><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\nYes?<end_of_turn>\n"
        "<start_of_turn>user\nBye<end_of_turn>\n<start_of_turn>model\nSo long<end_of_turn>\n"),
        ("<s><start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n"
        "<start_of_turn>model\nYes?<end_of_turn>\n"
        "<start_of_turn>user\nBye<end_of_turn>\n<start_of_turn>model\nSo long<end_of_turn>\n"),
    ),
    "qwen": (
        ("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nYes?<|im_end|>\n"
        "<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\nSo long<|im_end|>\n"),
        ("<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nYes?<|im_end|>\n"
        "<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\nSo long<|im_end|>\n"),
    ),
    "phi-3": (
        ("<|user|>\nHi<|end|>\n<|assistant|>\nYes?<|end|>\n"
        "<|user|>\nBye<|end|>\n<|assistant|>\nSo long<|end|>\n"),
        ("<|system|>\nBe brief.<|end|>\n<|user|>\nHi<|end|>\n<|assistant|>\nYes?<|end|>\n"
        "<|user|>\nBye<|end|>\n<|assistant|>\nSo long<|end|>\n"),
    ),
    "phi-4": (
        ("<|im_start|>user<|im_sep|>Hi<|im_end|><|im_start|>assistant<|im_sep|>Yes?<|im_end|>"
        "<|im_start|>user<|im_sep|>Bye<|im_end|><|im_start|>assistant<|im_sep|>So long<|im_end|>"),
        ("<|im_start|>system<|im_sep|>Be brief.<|im_end|>"
        "<|im_start|>user<|im_sep|>Hi<|im_end|><|im_start|>assistant<|im_sep|>Yes?<|im_end|>"
        "<|im_start|>user<|im_sep|>Bye<|im_end|><|im_start|>assistant<|im_sep|>So long<|im_end|>"),
    ),
    "zephyr": (
        ("<|user|>\nHi</s>\n<|assistant|>\nYes?</s>\n"
        "<|user|>\nBye</s>\n<|assistant|>\nSo long</s>\n"),
        ("<|system|>\nBe brief.</s>\n"
        "<|user|>\nHi</s>\n<|assistant|>\nYes?</s>\n"
        "<|user|>\nBye</s>\n<|assistant|>\nSo long</s>\n"),
    ),
    "alpaca": (
        ("<s>Below is an instruction that describes a task. Write a response that appropriately "
        "completes the request.\n\n### Instruction:\nHi\n\n### Response:\nYes?</s>"
        "\n\n### Instruction:\nBye\n\n### Response:\nSo long</s>"),
        ("<s>Be brief.\n\n### Instruction:\nHi\n\n### Response:\nYes?</s>"
        "\n\n### Instruction:\nBye\n\n### Response:\nSo long</s>"),
    ),
    "vicuna": (
        ("<s>A chat between a curious user and an artificial intelligence assistant. The assistant "
        "gives helpful, detailed, and polite answers to the user's questions. "
        "USER: Hi ASSISTANT: Yes?</s>USER: Bye ASSISTANT: So long</s>"),
        "<s>Be brief. USER: Hi ASSISTANT: Yes?</s>USER: Bye ASSISTANT: So long</s>",
    ),
    "plain": (
        ("<s>### User:\nHi\n\n### Assistant:\nYes?</s>\n\n"
        "### User:\nBye\n\n### Assistant:\nSo long</s>\n\n"),
        ("<s>Be brief.\n\n### User:\nHi\n\n### Assistant:\nYes?</s>\n\n"
        "### User:\nBye\n\n### Assistant:\nSo long</s>\n\n"),
    ),
}  # fmt: skip
"""Without and with a system turn, for a tokenizer with <s> and </s>."""

CALLS: dict[str, str] = {
    "llama-3": (
        "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.\n\n"
        f"You may call these functions:\n[{LISTED}]<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nTime?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
        '{"name": "now", "parameters": {"zone": "UTC"}}<|eot_id|>'
        "<|start_header_id|>ipython<|end_header_id|>\n\n12:00<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nNoon<|eot_id|>"
    ),
    "mistral": (
        f"<s>[AVAILABLE_TOOLS] [{LISTED}][/AVAILABLE_TOOLS][INST] Be brief.\n\nTime?[/INST]"
        '[TOOL_CALLS] [{"name": "now", "arguments": {"zone": "UTC"}, "id": "c1"}]</s>'
        '[TOOL_RESULTS] {"content": "12:00", "call_id": "c1"}[/TOOL_RESULTS] Noon</s>'
    ),
    "qwen": (
        "<|im_start|>system\nBe brief.\n\n# Tools\n\nThese functions may be called:\n<tools>\n"
        f"{LISTED}\n</tools>\n\nA call is written so:\n<tool_call>\n"
        '{"name": <function>, "arguments": <JSON object>}\n</tool_call><|im_end|>\n'
        "<|im_start|>user\nTime?<|im_end|>\n<|im_start|>assistant\n<tool_call>\n"
        '{"name": "now", "arguments": {"zone": "UTC"}}\n</tool_call><|im_end|>\n'
        "<|im_start|>user\n<tool_response>\n12:00\n</tool_response><|im_end|>\n"
        "<|im_start|>assistant\nNoon<|im_end|>\n"
    ),
}
"""Of the templates that know functions."""


def talk(turns: list[tuple[str, str]]) -> Conversation:
    return Conversation(messages=[Turn(role=role, content=said) for role, said in turns])  # type: ignore[arg-type]


ASKING = Conversation(
    messages=[
        Turn(role="system", content="Be brief."), Turn(role="user", content="Time?"),
        Turn(role="assistant", content="", tool_calls=[CALL]),
        Turn(role="tool", content="12:00", tool_call_id="c1"),
        Turn(role="assistant", content="Noon"),
    ],
    tools=[TOOL],
)  # fmt: skip


@pytest.fixture
def tokenizer(models: Callable[[str], Path]) -> Any:
    from transformers import AutoTokenizer

    made = AutoTokenizer.from_pretrained(models("llama"))
    made.bos_token, made.eos_token = "<s>", "</s>"
    return made


def test_every_name_has_its_file_and_facts_and_nothing_else_is_there() -> None:
    assert tuple(each.name for each in chat_templates.bundled()) == BUNDLED
    files = {path.stem for path in chat_templates.FOLDER.glob("*.jinja")}
    assert files == set(BUNDLED) == set(EXPECTED)


@pytest.mark.parametrize("name", BUNDLED)
def test_a_bundled_template_writes_what_is_documented(name: str, tokenizer: Any) -> None:
    text = chat_templates.text_of(name)
    assert mistake_in(text, tokenizer) is None
    tokenizer.chat_template = text
    renderer = ChatRenderer(tokenizer)
    for turns, expected in zip((PLAIN, WITH_SYSTEM), EXPECTED[name], strict=True):
        rendered = renderer(talk(turns))
        assert rendered.text == expected
        # What comes after the question alone is what is learnt, to the last sign that is no space.
        asked = renderer.prompt([{"role": r, "content": c} for r, c in turns[:-1]])
        assert rendered.text.startswith(asked)
        assert rendered.spans is not None
        begin, end = rendered.spans[-1]
        assert rendered.text[begin:end].strip() == rendered.text[len(asked) :].strip()
    facts = next(each for each in chat_templates.bundled() if each.name == name)
    assert EXPECTED[name][0].rstrip().endswith(facts.end_of_turn or "</s>")


@pytest.mark.parametrize("name", CALLS)
def test_calls_and_their_results_are_written_and_calls_are_learnt(
    name: str, tokenizer: Any
) -> None:
    tokenizer.chat_template = chat_templates.text_of(name)
    renderer = ChatRenderer(tokenizer)
    rendered = renderer(ASKING)
    assert rendered.text == CALLS[name]
    assert rendered.spans is not None
    learnt = [rendered.text[begin:end] for begin, end in rendered.spans]
    assert len(learnt) == 2
    assert '"now"' in learnt[0]
    assert learnt[1].strip().startswith("Noon")
    as_object = {**CALL, "function": {"name": "now", "arguments": {"zone": "UTC"}}}
    turns = list(ASKING.messages)
    turns[2] = Turn(role="assistant", content="", tool_calls=[as_object])
    again = renderer(Conversation(messages=turns, tools=ASKING.tools))
    assert again.text == rendered.text


@pytest.mark.parametrize("name", BUNDLED)
def test_its_marks_are_where_rendering_turn_by_turn_finds_answers(
    name: str, tokenizer: Any
) -> None:
    tokenizer.chat_template = chat_templates.text_of(name)
    renderer = ChatRenderer(tokenizer)
    for conversation in (talk(PLAIN), talk(WITH_SYSTEM), ASKING):
        fitting = renderer.fitting(conversation)
        turns = renderer.by_turns(fitting)
        assert None not in turns
        assert difference(tokenizer, renderer.marked(fitting), turns) is None
    codes = {found.code for found in of_template(tokenizer, [(0, talk(PLAIN))])}
    assert codes <= {"template_end_unknown"}


def test_names_are_told_from_files() -> None:
    assert is_auto("")
    assert is_auto("auto")
    assert not is_file("chatml")
    assert all(map(is_file, ("./mine", "mine.jinja", r"C:\t\mine", "a/b.txt")))
    assert [meant(n) for n in ("llama3", "ChatML", "phi_4", "zefyr", "nonsense")] == [
        "llama-3", "chatml", "phi-4", "zephyr", "",
    ]  # fmt: skip
