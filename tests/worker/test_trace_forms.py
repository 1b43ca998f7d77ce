"""What a trace foretells of cards and large models, against calculations by hand."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
import torch

from engine.planning import catalogue
from engine.planning.form import Form, Layout, Point, Segment, peak, value
from engine.worker.trace import CannotTrace, sizes, subject, trace
from engine.worker.trace.live_bytes import LiveBytes
from engine.worker.trace.sizes import Sizes, choose
from engine.worker.trace.stand_ins import Linear8bit
from tests.worker.trace_truth import FAMILIES, Case

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

LORA = {"target_modules": "all-linear"}
POINT = Point(batch=2, length=1024, rank=16)
GIB = 1 << 30


_SHALLOWER = {"num_hidden_layers": 12}
"""Enough for more than are traced, few enough for a test."""


def _layout(name: str, **fields: Any) -> Layout:
    config = catalogue.config_of(name)
    assert config is not None
    return Layout(config=config, **{"device": "cuda", "precision": "bf16", "lora": LORA, **fields})


@pytest.fixture(scope="module")
def llama() -> Form:
    return trace(_layout("meta-llama/Llama-3.1-8B", bits=4))


def test_weights_of_a_quantized_model_are_those_of_a_calculation_by_hand(llama: Form) -> None:
    linear = 32 * (2 * 4096**2 + 2 * 4096 * 1024 + 3 * 4096 * 14336)
    rest = 2 * 128256 * 4096 + 65 * 4096
    packed = linear / 2 + linear / 64 + 4 * linear / 64 / 256
    found = peak(llama, POINT, "export").parts["weights"]
    assert found == pytest.approx(packed + 2 * rest, rel=0.0005)
    assert value(llama.parameters, POINT) == linear + rest


def test_adapter_optimizer_and_file_are_those_of_a_calculation_by_hand(llama: Form) -> None:
    numbers = 32 * 16 * (2 * 8192 + 2 * 5120 + 3 * 18432)
    assert value(llama.trainable, POINT) == numbers
    assert value(llama.adapter_file, POINT) == 4 * numbers
    assert peak(llama, POINT, "export").parts["optimizer"] == 8 * numbers


@pytest.mark.parametrize("bits", [4, 8])
def test_adapters_share_the_inputs_of_quantized_layers(bits: int) -> None:
    """On a 16-bit layer PEFT casts them to fp32 first, and autocast casts that back: a copy for
    each. On a quantized one it leaves them."""
    name, fields = "HuggingFaceTB/SmolLM2-360M", {"gradient_checkpointing": "none"}
    whole, packed = trace(_layout(name, **fields)), trace(_layout(name, bits=bits, **fields))
    tokens, hidden, layers = 1024, 960, 32
    # Of q, k and v two of three are spared, of gate and up one of two, and o's input is attention's
    # result. Of the results of 4-bit layers it makes copies, but none stays.
    copies = 2 * tokens * (2 + 1 + 1) * hidden * layers
    assert _kept(whole) - _kept(packed) == pytest.approx(copies, rel=0.02)


def _kept(form: Form) -> int:
    # Of samples in line, o's input is a copy of attention's results.
    return peak(form, msgspec.structs.replace(POINT, batch=1)).parts["activations"]


def test_an_8_bit_product_takes_sums_and_two_results_for_a_moment() -> None:
    rows, wide, out = 64, 128, 96
    with torch.device("meta"):
        layer = Linear8bit(torch.nn.Linear(wide, out, bias=False))
        inputs = torch.empty(1, rows, wide, dtype=torch.bfloat16)
    live = LiveBytes(sees_inputs=False)
    live.hold([inputs, layer.weight], "weights")
    before = live.total
    with live, torch.no_grad():
        layer(inputs)
    assert live.peak - before == rows * wide + rows * out * (4 + 2 + 2)


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings")
def test_a_head_that_is_trained_leaves_no_gap_of_its_size() -> None:
    """AdamW's roots are a block for each weight: they fit where casts and logits were."""
    lora = {**LORA, "modules_to_save": ["lm_head"]}
    form = trace(_layout("meta-llama/Llama-3.2-1B", lora=lora))
    head = 4 * 128256 * 2048
    assert peak(form, POINT).parts["rounding"] < 0.35 * head


def test_going_on_takes_no_more_than_training(llama: Form) -> None:
    training = peak(llama, POINT).total
    for moment in ("resume", "evaluate", "export"):
        assert peak(llama, POINT, moment).total < training  # type: ignore[arg-type]


def test_operations_are_two_a_weight_and_token(llama: Form) -> None:
    tokens = 2 * 1024
    linear = value(llama.parameters, POINT) - 128256 * 4096
    forward = value(llama.forward_flops, POINT)
    assert forward == pytest.approx(2 * linear * tokens, rel=0.05)
    # Computed again, and once more for the gradient of the inputs.
    assert value(llama.backward_flops, POINT) == pytest.approx(2 * forward, rel=0.1)


def test_offloading_moves_the_inputs_of_layers_to_ram(llama: Form) -> None:
    form = trace(_layout("meta-llama/Llama-3.1-8B", bits=4, gradient_checkpointing="offload"))
    inputs = 32 * 2 * 1024 * 4096 * 2
    assert value(form.ram, POINT) == pytest.approx(inputs, rel=0.01)
    before, after = (peak(f, POINT) for f in (llama, form))
    idle = before.parts["rounding"] - after.parts["rounding"]
    assert 0.8 * inputs < before.total - after.total - idle < inputs


def test_without_triton_the_head_takes_more() -> None:
    name = "HuggingFaceTB/SmolLM2-135M"
    with_it, without = (trace(_layout(name, triton=triton)) for triton in (True, False))
    assert peak(without, POINT).total > peak(with_it, POINT).total + 4096 * 32768 * 2


def test_attention_needs_no_square_of_the_length_but_where_a_mask_is(llama: Form) -> None:
    assert {s.max_batch for s in llama.segments} == {1, None}
    assert not _squares(llama.segments)
    padded = trace(_layout("google/gemma-2-2b", bits=4))
    assert _squares(s for s in padded.segments if s.min_batch == 2 and s.name == "backward")


def _squares(segments: Iterable[Segment]) -> bool:
    """Whether something grows with the square of the length: b·s², or s² itself."""
    parts = [c for segment in segments for c in segment.parts.values()]
    return any(c[place] for c in parts for place in (3, 7) if len(c) > place)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("Qwen/Qwen2.5-0.5B", {"bits": 4}),
        ("google/gemma-2-2b", {"lora": None, "optim": "adamw_8bit"}),
        ("mistralai/Mistral-7B-v0.1", {"gradient_checkpointing": "none", "device": "cpu",
                                       "precision": "fp32"}),
    ],
)  # fmt: skip
def test_few_layers_foretell_what_all_show(name: str, fields: dict[str, Any]) -> None:
    """``tests/bench/trace_catalogue.py`` does it for every model, as deep as it is."""
    layout = _layout(name, **fields)
    layout = msgspec.structs.replace(layout, config={**layout.config, **_SHALLOWER})
    few, everything = trace(layout), trace(layout, whole=True)
    for point in (POINT, Point(batch=1, length=8192, rank=64, accumulates=False)):
        for moment in ("train", "evaluate", "resume", "export"):
            ours, theirs = (peak(form, point, moment) for form in (few, everything))  # type: ignore[arg-type]
            asked, shown = (
                found.total - found.parts.get("rounding", 0) for found in (ours, theirs)
            )
            assert asked == pytest.approx(shown, rel=0.001)
    assert value(few.parameters, POINT) == value(everything.parameters, POINT)


@pytest.mark.parametrize(
    ("family", "fields"),
    [("mistral", {}), ("gemma2", {}), ("mistral", {"lora": None}),
     ("mistral", {"device": "cpu", "precision": "fp32"})],
)  # fmt: skip
def test_rows_within_a_window_are_traced_without_longer_ones(
    family: str, fields: dict[str, Any]
) -> None:
    case = Case(family=family, lora=LORA, checkpointing="full", batch=2, length=8, layers=9)
    fields = {"device": "cuda", "precision": "bf16", **fields}
    layout = msgspec.structs.replace(case.layout, **fields)
    within, of_any = trace(layout, longest=599), trace(layout, longest=600)
    assert (within.longest, of_any.longest) == (599, None)
    assert within.holds_for(599)
    assert not within.holds_for(600)
    for point in (Point(batch=2, length=599, rank=8), Point(batch=1, length=64, rank=16)):
        assert _told(within, point) == _told(of_any, point), "one plan, whatever was asked for"


def _told(form: Form, point: Point) -> list[Any]:
    """All that a plan is made of, for a point."""
    moments: tuple[Any, ...] = ("train", "evaluate", "resume", "export")
    numbers = ("parameters", "trainable", "adapter_file", "ram", "forward_flops", "backward_flops",
               "saved_bytes_moved")  # fmt: skip
    return [
        *(peak(form, point, moment).parts for moment in moments),
        *(value(getattr(form, name), point) for name in numbers),
    ]


def test_longer_rows_have_their_own_rounding() -> None:
    case = Case(family="mistral", lora=LORA, checkpointing="none", batch=2, length=8, layers=9)
    form = trace(msgspec.structs.replace(case.layout, device="cuda", precision="bf16"))
    assert form.long_from == 600
    assert form.long_rounding != form.rounding
    short, long = (
        peak(form, Point(batch=1, length=length, rank=8)).parts["rounding"] for length in (599, 600)
    )
    without = msgspec.structs.replace(form, long_rounding=[])
    assert peak(without, Point(batch=1, length=599, rank=8)).parts["rounding"] == short
    assert peak(without, Point(batch=1, length=600, rank=8)).parts["rounding"] != long


def test_several_full_rows_beyond_a_window_take_masks() -> None:
    case = Case(family="mistral", lora=LORA, checkpointing="none", batch=2, length=8, layers=5)
    card = {"device": "cuda", "precision": "bf16", "padded": False}
    form = trace(msgspec.structs.replace(case.layout, **card))
    within, beyond = (
        peak(form, Point(batch=2, length=length, rank=8)).parts["activations"]
        for length in (599, 600)
    )
    assert beyond > within + 600**2, "of every pair of tokens a byte at least"


_MIXED = {
    "gemma3_text": {},
    "gemma4_text": {
        "global_head_dim": 32, "num_global_key_value_heads": 1, "hidden_size_per_layer_input": 0
    },
    "cohere2": {},
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "depths"), [("gemma3_text", [4]), ("gemma4_text", [4, 12]), ("cohere2", [4, 12])]
)
def test_layers_that_see_all_of_a_row_are_alike_if_nothing_else_tells_them_apart(
    monkeypatch: pytest.MonkeyPatch, kind: str, depths: list[int]
) -> None:
    """Gemma 3 has one kind of layer and two of rope; in Gemma 4 the heads are of two sizes, and in
    Cohere 2 only layers with a window have a rope."""
    layout = _mixed(kind)
    few, traced = _traced(monkeypatch, layout, longest=64)
    everything = trace(layout, whole=True)
    assert traced == depths
    for point in (Point(batch=2, length=599, rank=8), Point(batch=1, length=64, rank=16)):
        ours, theirs = (_told(form, point) for form in (few, everything))
        for one, other in zip(ours, theirs, strict=True):
            if isinstance(one, dict):
                # How blocks fit into each other depends on the layers that were traced.
                one, other = one | {"rounding": 0}, other | {"rounding": 0}
            assert one == pytest.approx(other, rel=1e-6)


def test_where_all_scores_are_computed_no_window_leaves_anything_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layout = _mixed("gemma3_text")
    assert _traced(monkeypatch, layout)[1] == [4, 12], "both kinds of layers, each twice"
    eager = msgspec.structs.replace(layout, attn_implementation="eager")
    assert _traced(monkeypatch, eager)[1] == [4]


def _mixed(kind: str) -> Layout:
    case = Case(family="mistral", lora=LORA, checkpointing="full", batch=2, length=8, layers=12)
    config = {**case.config, "model_type": kind, "head_dim": 16, **_MIXED[kind]}
    config["layer_types"] = [*["sliding_attention"] * 3, "full_attention"] * 3
    return msgspec.structs.replace(case.layout, config=config, device="cuda", precision="bf16")


def _traced(
    monkeypatch: pytest.MonkeyPatch, layout: Layout, **options: Any
) -> tuple[Form, list[int]]:
    """A form, and how many layers each model had that was built for it."""
    depths = []

    def built(layout: Layout, layers: int, **kind: Any) -> Any:
        depths.append(layers)
        return real(layout, layers, **kind)

    real = subject.model_of
    with monkeypatch.context() as patch:
        patch.setattr(subject, "model_of", built)
        return trace(layout, **options), depths


def test_a_point_that_was_not_traced_is_met_by_another_trace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = Case(family="qwen3", lora={"r": 8}, checkpointing="full", batch=2, length=64)
    usual = trace(case.layout)
    monkeypatch.setattr(sizes, "_BATCHES", (5, 7))
    monkeypatch.setattr(sizes, "_USUAL_KEY", 150)
    monkeypatch.setattr(subject, "_RANK", 23)
    other = trace(case.layout)
    assert other.traced_at != usual.traced_at
    for point in (case.point, Point(batch=1, length=300, rank=64), Point(batch=9, length=700)):
        assert peak(other, point).total == pytest.approx(peak(usual, point).total, abs=4096)


def test_sizes_say_what_a_number_is_a_product_of() -> None:
    found = choose([4096, 128256], batch=True, rank=211)
    assert isinstance(found, Sizes)
    point = Point(batch=found.batch, length=found.length, rank=found.rank)
    for number in (
        128 * found.batch * found.length, 4 * found.batch * found.length**2, 4096 * found.rank,
        6 * found.rank * found.batch * found.length, 24 * found.length**2, 77,
        8 * found.batch * (found.length - 1),
    ):  # fmt: skip
        assert sum(
            c * m for c, m in zip(found.formula(number), point.monomials(), strict=True)
        ) == pytest.approx(number)
    assert found.formula(512 * found.rows)[8] == 512


def test_on_a_card_the_mask_of_a_long_window_is_kept_for_the_backward_pass() -> None:
    case = Case(family="mistral", lora={"r": 8}, checkpointing="none", batch=2, length=64)
    config = {**case.config, "sliding_window": 600}
    form = trace(
        msgspec.structs.replace(case.layout, config=config, device="cuda", precision="bf16")
    )
    short, long = (Point(batch=2, length=length, rank=8) for length in (599, 1200))
    # Each layer makes one for each sample, of 2 bytes for each pair of tokens.
    masks = case.layers * 2 * 2 * 1200**2
    for part, point in ((0, short), (masks, long)):
        backward = [s for s in form.segments if s.name == "backward" and s.holds_at(point)]
        # What b·s² is multiplied with.
        squares = max(sum(s.parts.get("activations", ())[3:4]) for s in backward)
        assert squares * 2 * point.length**2 == pytest.approx(part, rel=0.01)


@pytest.mark.parametrize("window", [150, 32768, 262144])
def test_a_window_of_any_size_can_be_traced(window: int) -> None:
    case = Case(family="mistral", lora={"r": 8}, checkpointing="full", batch=2, length=64)
    config = {**case.config, "sliding_window": window}
    form = trace(msgspec.structs.replace(case.layout, config=config))
    for length in (window // 2, 2 * window):
        assert peak(form, Point(batch=2, length=length, rank=8)).total > 0


def test_what_transformers_does_not_know_is_refused() -> None:
    for config in ({"model_type": "no-such-model"}, {}):
        with pytest.raises(CannotTrace, match="no model of the kind"):
            trace(Layout(config=config, device="cpu", precision="fp32"))
    lora = {"target_modules": ["nothing_like_it"]}
    config = Case(family="llama", lora=None, checkpointing="full", batch=1, length=8).config
    with pytest.raises(CannotTrace, match="adapter does not fit"):
        trace(Layout(config=config, device="cpu", precision="fp32", lora=lora))


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_half_precision_on_a_card_is_traced_for_every_family(family: str) -> None:
    case = Case(family=family, lora={"r": 8}, checkpointing="full", batch=2, length=64)
    for fields in ({"bits": 8, "lora": LORA}, {"lora": None, "optim": "adamw_torch"}):
        layout = Layout(config=case.config, device="cuda", precision="fp16", **fields)  # type: ignore[arg-type]
        assert peak(trace(layout), POINT).parts["rounding"] > 0
