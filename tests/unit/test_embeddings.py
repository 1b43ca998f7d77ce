"""What training the embeddings costs, the ways to choose from, and the sentences about it."""

from __future__ import annotations

from typing import Any

import pytest

from engine.contract.spec import Spec
from engine.contract.validate import check
from engine.planning import catalogue
from engine.planning.embedding_words import advice
from engine.planning.embeddings import Option, cost_of, options

BOTH = ["embed_tokens", "lm_head"]
GIB = 1 << 30
UNTIED, TIED = "meta-llama/Meta-Llama-3-8B", "meta-llama/Llama-3.2-1B"


def spec_of(lora: dict[str, Any] | None = None, method: str = "sft", **training: Any) -> Spec:
    raw = {
        "name": "x", "method": method, "model": {"path": "x"}, "dataset": {"path": "x"},
        "training": training,
    }  # fmt: skip
    spec, complaints = check(raw if lora is None else {**raw, "lora": lora})
    assert spec is not None, complaints
    return spec


def config_of(id: str) -> dict[str, Any]:
    return catalogue.config_of(id) or {}


def by_way(spec: Spec, id: str, tokens: tuple[str, ...] = ()) -> dict[str, Option]:
    return {option.way: option for option in options(spec, config_of(id), tokens)}


def test_both_matrices_of_llama_3_8b_cost_sixteen_bytes_a_number() -> None:
    cost = cost_of("both", spec_of({}), config_of(UNTIED))
    numbers = 2 * 128256 * 4096
    assert cost.weights_bytes == cost.gradients_bytes == 4 * numbers
    assert cost.optimizer_bytes == 8 * numbers
    assert cost.total_bytes == 16 * numbers
    assert 15.6 < cost.total_bytes / GIB < 15.7


def test_a_tied_matrix_is_trained_once_and_saved_twice() -> None:
    ways = by_way(spec_of({}), TIED)
    assert ways["both"].cost == ways["head"].cost
    extra = {way: (ways[way].file_bytes or 0) - (ways["none"].file_bytes or 0) for way in ways}
    assert 1.99 < extra["both"] / extra["head"] < 2.01


@pytest.mark.parametrize(
    ("optim", "way", "bytes_a_number"),
    [
        ("adamw_torch", "head", 8.0),
        ("adamw_8bit", "head", 2 + 2 * 4 / 256),
        ("adamw_8bit", "input", 8.0),
        ("paged_adamw_8bit", "head", 0.0),
        ("sgd", "both", 0.0),
        ("adafactor", "both", 4 * (128256 + 4096) / (128256 * 4096)),
    ],
)
def test_optimizer_states(optim: str, way: Any, bytes_a_number: float) -> None:
    cost = cost_of(way, spec_of({}, optim=optim), config_of(UNTIED))
    numbers = cost.weights_bytes / 4
    assert cost.optimizer_bytes == pytest.approx(bytes_a_number * numbers, abs=1)


def test_ways_are_offered_cheapest_first_and_the_chosen_one_is_marked() -> None:
    ways = options(spec_of({"modules_to_save": ["lm_head"]}), config_of(UNTIED))
    assert [option.way for option in ways] == ["none", "head", "both"]
    assert [option.way for option in ways if option.is_chosen] == ["head"]
    costs = [option.cost.total_bytes for option in ways]
    assert costs == sorted(costs)


def test_a_way_that_was_chosen_is_always_among_them() -> None:
    assert "input" in by_way(spec_of({"modules_to_save": ["embed_tokens"]}), UNTIED)
    assert by_way(spec_of({"trainable_tokens": ["<s>"]}), UNTIED)["tokens"].is_chosen
    assert "tokens" in by_way(spec_of({}), UNTIED, tokens=("<|im_start|>",))


@pytest.mark.parametrize(
    "now", [{}, {"modules_to_save": [*BOTH, "norm"]}, {"trainable_tokens": ["<s>"]}]
)
def test_a_patch_gives_a_sound_spec_trained_that_way(now: dict[str, Any]) -> None:
    spec = spec_of(now)
    for option in options(spec, config_of(UNTIED), ("<|new|>",)):
        lora = {k.removeprefix("lora."): v for k, v in option.patch.items() if k.startswith("lora")}
        rate = option.patch["training.embedding_learning_rate"]
        changed = spec_of(
            {**now, **lora}, **({} if rate is None else {"embedding_learning_rate": rate})
        )
        again = [o.way for o in options(changed, config_of(UNTIED)) if o.is_chosen]
        assert again == [option.way]
        assert ("norm" in changed.lora.modules_to_save) == (
            "norm" in now.get("modules_to_save", [])
        )


def test_the_embeddings_rate_is_a_tenth_unless_there_is_one() -> None:
    field = "training.embedding_learning_rate"
    assert by_way(spec_of({}, learning_rate=3e-4), UNTIED)["both"].patch[field] == 3e-5
    own = spec_of({"modules_to_save": BOTH}, embedding_learning_rate=7e-6)
    assert by_way(own, UNTIED)["head"].patch[field] == 7e-6


def test_single_tokens_cost_next_to_nothing_in_the_file() -> None:
    ways = by_way(spec_of({}), UNTIED, tokens=("<|im_start|>", "<|im_end|>"))
    tokens, none = ways["tokens"], ways["none"]
    assert 0 < (tokens.file_bytes or 0) - (none.file_bytes or 0) - 2 * 2 * 4096 * 4 < 400
    assert tokens.cost.passing_bytes == 4 * 128256 * 4096


# ---------------------------------------------------------------- sentences


def test_the_price_is_told_in_gib_and_mb() -> None:
    text = " ".join(advice(spec_of({"modules_to_save": BOTH}), config_of(UNTIED)))
    assert "takes 15.7 GiB more memory: 3.9 GiB for a copy in fp32, 3.9 GiB for gradients" in text
    assert "becomes 4.1 GiB instead of 160 MiB" in text
    assert "lm_head alone takes 7.8 GiB less" in text
    assert "training.embedding_learning_rate = 2e-05" in text
    assert "lora.trainable_tokens" in text


def test_a_tie_is_told() -> None:
    both = advice(spec_of({"modules_to_save": BOTH}), config_of(TIED))
    assert any("one matrix" in text and "twice" in text for text in both)
    head = advice(spec_of({"modules_to_save": ["lm_head"]}), config_of(TIED))
    assert any("lm_head becomes a matrix of its own" in text for text in head)


def test_an_eight_bit_optimizer_does_not_help_an_embedding() -> None:
    texts = advice(spec_of({"modules_to_save": BOTH}, optim="adamw_8bit"), config_of(TIED))
    assert any("32 bits; adafactor would take about 2.0 GiB less" in text for text in texts)


def test_nothing_is_said_where_there_is_nothing_to_say() -> None:
    assert advice(spec_of({}), config_of(UNTIED)) == []
    assert advice(spec_of(None), config_of(UNTIED)) == []
    assert advice(spec_of({"modules_to_save": BOTH}), {"model_type": "mamba"}) == []
    own = spec_of({"trainable_tokens": ["<s>"]}, embedding_learning_rate=1e-5)
    assert len(advice(own, config_of(UNTIED))) == 1


def test_pretraining_is_told_what_embeddings_would_cost() -> None:
    (text,) = advice(spec_of({}, "pretrain"), config_of(UNTIED))
    assert "training lm_head would take 7.8 GiB, both 15.7 GiB more memory" in text
    (tied,) = advice(spec_of({}, "pretrain"), config_of(TIED))
    assert "training them would take 3.9 GiB more memory" in tied


def test_a_family_that_is_not_known_has_a_price_but_no_file() -> None:
    config = {"model_type": "granite", "vocab_size": 1000, "hidden_size": 64}
    texts = advice(spec_of({"modules_to_save": BOTH}), config)
    assert "file" not in texts[0]
    assert "more memory" in texts[0]
