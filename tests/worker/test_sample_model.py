"""Sample models load as models of their family, and their templates render any conversation."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
torch = pytest.importorskip("torch")

from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402

from engine.formats import Conversation, Turn, as_messages, without_tools  # noqa: E402
from engine.worker.sample_model import FAMILIES, write_sample_model  # noqa: E402

CLASSES = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen": "Qwen3ForCausalLM",
    "gemma": "Gemma3ForCausalLM",
}
TOOL_TALK = Conversation(
    messages=[
        Turn(role="system", content="Be brief."),
        Turn(role="user", content="How warm is it in Oslo?"),
        Turn(
            role="assistant",
            content="",
            tool_calls=[{"function": {"name": "weather", "arguments": {"city": "Oslo"}}}],
        ),
        Turn(role="tool", content='{"celsius": 12}'),
        Turn(role="assistant", content="It is 12 degrees."),
    ],
    tools=[{"name": "weather", "parameters": {"city": "string"}}],
)


@pytest.fixture(scope="module", params=list(FAMILIES))
def sample(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Family name, folder, tokenizer."""
    folder = write_sample_model(tmp_path_factory.mktemp("m") / request.param, request.param)
    return request.param, folder, AutoTokenizer.from_pretrained(folder)


def digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


def test_it_loads_as_its_family_and_learns(sample: Any) -> None:
    family, folder, tokenizer = sample
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert type(model).__name__ == CLASSES[family]
    assert model.get_input_embeddings().num_embeddings == len(tokenizer)
    ids = tokenizer("The river is wide.", return_tensors="pt")["input_ids"]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    model.train()
    losses = []
    for _ in range(8):
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


def test_only_safetensors_and_text(sample: Any) -> None:
    _, folder, _ = sample
    assert {p.suffix for p in folder.iterdir()} == {".safetensors", ".json", ".jinja"}


@pytest.mark.parametrize("text", ["你好，世界", "ünï 🎉\n  x", "Привет", "  two  spaces "])
def test_any_text_survives_the_tokenizer(sample: Any, text: str) -> None:
    tokenizer = sample[2]
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


@pytest.mark.parametrize("tools", [True, False])
def test_the_mask_marks_what_the_assistant_says(sample: Any, tools: bool) -> None:
    family, _, tokenizer = sample
    talk = TOOL_TALK if tools else without_tools(TOOL_TALK)
    got = tokenizer.apply_chat_template(
        as_messages(talk), tools=talk.tools, return_dict=True, return_assistant_tokens_mask=True
    )
    learnt = [t for t, m in zip(got["input_ids"], got["assistant_masks"], strict=True) if m]
    end = FAMILIES[family].end_of_turn
    said = [part.strip() for part in tokenizer.decode(learnt).split(end)]
    assert said[1:] == ["It is 12 degrees.", ""]
    assert '"weather"' in said[0]
    assert "Oslo" in said[0]


def test_everything_said_is_rendered_once(sample: Any) -> None:
    tokenizer = sample[2]
    text = tokenizer.apply_chat_template(
        as_messages(TOOL_TALK), tools=TOOL_TALK.tools, tokenize=False
    )
    for part in ("Be brief.", "How warm is it", "celsius", "It is 12 degrees.", "You may call"):
        assert text.count(part) == 1, part


def test_special_tokens_are_single_tokens(sample: Any) -> None:
    family, _, tokenizer = sample
    kind = FAMILIES[family]
    for token in (kind.eos, kind.pad, kind.end_of_turn, *kind.extra):
        assert len(tokenizer.encode(token, add_special_tokens=False)) == 1
    assert tokenizer.pad_token_id != tokenizer.eos_token_id


def test_a_prompt_is_the_beginning_of_the_answered_chat(sample: Any) -> None:
    tokenizer = sample[2]
    asked = [{"role": "user", "content": "Who are you?"}]
    answered = [*asked, {"role": "assistant", "content": "A model."}]
    prompt = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    whole = tokenizer.apply_chat_template(answered, tokenize=False)
    assert whole.startswith(prompt)


def test_the_seed_decides_the_weights(tmp_path: Path) -> None:
    one = digests(write_sample_model(tmp_path / "a", seed=1, hidden=32, layers=1))
    same = digests(write_sample_model(tmp_path / "b", seed=1, hidden=32, layers=1))
    other = digests(write_sample_model(tmp_path / "c", seed=2, hidden=32, layers=1))
    assert one == same
    changed = {name for name in one if one[name] != other[name]}
    assert changed == {"model.safetensors"}


def test_the_random_state_of_the_caller_is_left_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    write_sample_model(tmp_path / "a", hidden=32, layers=1)
    assert torch.equal(before, torch.get_rng_state())


def test_a_folder_with_something_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="not empty"):
        write_sample_model(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    "wrong", [{"family": "bert"}, {"hidden": 48}, {"layers": 0}, {"vocab": 10}]
)
def test_impossible_wishes_are_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must be|no family"):
        write_sample_model(tmp_path / "m", **wrong)
    assert not (tmp_path / "m").exists()
