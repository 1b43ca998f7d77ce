"""Facts of a save against facts of now: what is named, and what it is said to mean."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from engine.cli.certificate import summary_of
from engine.cli.progress import sentence
from engine.contract.messages import (
    CertificateLine,
    Matters,
    ResumeCertificate,
    decode_line,
    encode,
)
from engine.contract.spec import DatasetSpec, LoraSpec, ModelSpec, Spec
from engine.diagnosis.certificate import Facts, certify, why_other_data
from engine.diagnosis.certificate.facts import (
    ComputeFacts,
    DataFacts,
    OptimizerFacts,
    OrderFacts,
    Place,
    ReplayFacts,
    ScheduleFacts,
    Tensors,
    flattened,
)
from engine.diagnosis.certificate.replay import TOLERANCES
from engine.diagnosis.certificate.settings import bearing_of
from engine.discreet import discreet

SPEC = Spec(
    name="night",
    model=ModelSpec(path="/models/tiny"),
    lora=LoraSpec(),
    dataset=DatasetSpec(path="chats.json"),
)
BEFORE = Facts(
    settings=flattened(msgspec.to_builtins(SPEC)),
    versions={"torch": "2.10.0", "peft": "0.21.0"},
    compute=ComputeFacts(device="cuda", name="RTX 3060", precision="bf16", driver="610.62"),
    data=DataFacts(digest="d1", samples=1000, tokens=50_000),
    order=OrderFacts(seed=42, rows=1000, epoch=1, digest="o1o1o1o1o1"),
    place=Place(step=200, cursor=1600),
    random="r1r1r1r1r1",
    optimizer=OptimizerFacts(
        kind="AdamW", tensors=Tensors(digest="m1", count=8, numbers=4096), updates=200
    ),
    schedule=ScheduleFacts(rates=[1.5e-4, 1.5e-4], scheduled=[1.5e-4, 1.5e-4]),
    trained=Tensors(digest="w1", count=4, numbers=2048),
    replay=ReplayFacts(loss=1.25, tokens=64),
)
EVERYTHING = [
    "files", "data", "order", "cursor", "random", "optimizer", "schedule", "batch", "spec",
    "trained", "versions", "device", "replay",
]  # fmt: skip


def now(**changes: Any) -> Facts:
    """The facts of the save with these parts replaced; ``settings`` are laid over those."""
    settings = {**(BEFORE.settings or {}), **changes.pop("settings", {})}
    return msgspec.structs.replace(BEFORE, settings=settings, **changes)


def certificate(facts: Facts, before: Facts = BEFORE, **more: Any) -> ResumeCertificate:
    return certify(before, facts, at=1.0, step=200, files=5, size_bytes=12 << 20, **more)


def differing(found: ResumeCertificate) -> dict[str, tuple[Matters, str, str]]:
    return {
        line.subject: (line.matters, line.before, line.now)
        for line in found.lines
        if line.standing == "differs"
    }


def test_what_is_the_same_is_the_same_run() -> None:
    found = certificate(now())
    assert found.verdict == "same"
    assert [line.subject for line in found.lines] == EVERYTHING
    assert {line.standing for line in found.lines} == {"same"}
    assert (found.loss, found.loss_before) == (1.25, 1.25)
    assert all(line.sentence.endswith(".") for line in found.lines)
    assert "5 files, 12 MiB" in found.lines[0].sentence


def replaced(part: str, **changes: Any) -> dict[str, Any]:
    return {part: msgspec.structs.replace(getattr(BEFORE, part), **changes)}


MICRO, ACCUMULATION = (
    "training.per_device_train_batch_size", "training.gradient_accumulation_steps"
)  # fmt: skip
OTHERWISE: dict[str, Any] = {
    "settings": {
        MICRO: 1, ACCUMULATION: 8, "training.gradient_checkpointing": "offload",
        "training.learning_rate": 1e-4,
    },
    **replaced("schedule", rates=[7.5e-5], scheduled=[7.5e-5]),
    **replaced("compute", driver="605.14"),
}  # fmt: skip
"""A resume on which much is another at once."""
CASES: dict[str, tuple[dict[str, Any], dict[str, tuple[Matters, str, str]]]] = {
    "data": (
        replaced("data", digest="d2", samples=1001, tokens=50_100),
        {"data": ("yes", "1 000 samples, 50 000 tokens", "1 001 samples, 50 100 tokens")},
    ),
    "learning rate": (
        {
            "settings": {"training.learning_rate": 1e-4},
            **replaced("schedule", rates=[7.5e-5], scheduled=[7.5e-5]),
        },
        {
            "schedule": ("yes", "0.00015", "7.5e-05"),
            "training.learning_rate": ("yes", "0.0002", "0.0001"),
        },
    ),
    "rate beside the schedule": (
        replaced("schedule", rates=[2e-4]), {"schedule": ("yes", "0.00015", "0.0002")}
    ),
    "batch halved by Fettle": (
        {"settings": {MICRO: 1, ACCUMULATION: 8}},
        {"batch": ("last_digits", "2 × 4 = 8", "1 × 8 = 8")},
    ),
    "other batch": ({"settings": {MICRO: 4}}, {"batch": ("yes", "2 × 4 = 8", "4 × 4 = 16")}),
    "package": (
        {"versions": {"torch": "2.11.0", "peft": "0.21.0"}},
        {"versions": ("last_digits", "torch 2.10.0", "torch 2.11.0")},
    ),
    "package missing": (
        {"versions": {"torch": "2.10.0"}},
        {"versions": ("last_digits", "peft 0.21.0", "peft missing")},
    ),
    "seed": (
        {"settings": {"training.seed": 7}, **replaced("order", seed=7, digest="o2")},
        {"order": ("yes", "seed 42, 1 000 rows, o1o1o1o1", "seed 7, 1 000 rows, o2")},
    ),
    "packing": (
        {"settings": {"training.packing": True}, **replaced("order", rows=120, digest="o3")},
        {
            "order": ("yes", "seed 42, 1 000 rows, o1o1o1o1", "seed 42, 120 rows, o3"),
            "training.packing": ("yes", "false", "true"),
        },
    ),
    "driver": (
        replaced("compute", driver="605.14"),
        {"device": ("last_digits", "driver 610.62", "driver 605.14")},
    ),
    "card": (
        replaced("compute", name="RTX 4090"), {"device": ("last_digits", "RTX 3060", "RTX 4090")}
    ),
    "precision": (
        replaced("compute", precision="fp16"), {"device": ("yes", "bf16", "fp16")}
    ),
    "cursor": (
        replaced("place", cursor=1592),
        {"cursor": ("yes", "step 200, row 1 600", "step 200, row 1 592")},
    ),
    "random state": ({"random": "r2"}, {"random": ("yes", "r1r1r1r1", "r2")}),
    "forgotten moments": (
        replaced("optimizer", updates=0),
        {
            "optimizer": (
                "yes", "AdamW, 8 tensors with 4 096 numbers, 200 updates",
                "AdamW, 8 tensors with 4 096 numbers, 0 updates",
            )
        },
    ),
    "trained weights": (
        replaced("trained", digest="w2", count=6),
        {
            "trained": (
                "yes", "4 tensors with 2 048 numbers", "6 tensors with 2 048 numbers"
            )
        },
    ),
    "checkpointing": (
        {"settings": {"training.gradient_checkpointing": "offload"}},
        {"training.gradient_checkpointing": ("no", "full", "offload")},
    ),
    "saves": (
        {"settings": {"training.save_steps": 50}}, {"training.save_steps": ("no", "0", "50")}
    ),
    "a table that is gone": (
        {"settings": {"lora.r": None}}, {"lora.r": ("yes", "16", "none")}
    ),
}  # fmt: skip


def test_much_at_once_is_named_one_by_one() -> None:
    assert list(differing(certificate(now(**OTHERWISE)))) == [
        "schedule", "batch", "training.learning_rate", "training.gradient_checkpointing", "device"
    ]  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_difference_is_named_with_what_it_means(name: str) -> None:
    changes, wanted = CASES[name]
    found = certificate(now(**changes))
    assert differing(found) == wanted
    worst = {matters for matters, _, _ in wanted.values()}
    verdict = "other" if "yes" in worst else "last_digits" if "last_digits" in worst else "same"
    assert found.verdict == verdict


@pytest.mark.parametrize(
    ("precision", "by", "matters"),
    [
        ("fp32", 1e-6, "last_digits"),
        ("fp32", 1e-4, "yes"),
        ("bf16", 1e-3, "last_digits"),
        ("bf16", 0.1, "yes"),
        ("fp16", 1e-3, "last_digits"),
        ("fp16", 1e-2, "yes"),
    ],
)
def test_a_replayed_loss_may_differ_by_what_rounding_explains(
    precision: str, by: float, matters: Matters
) -> None:
    before = msgspec.structs.replace(BEFORE, **replaced("compute", precision=precision))
    after = msgspec.structs.replace(before, replay=ReplayFacts(loss=1.25 * (1 + by), tokens=64))
    assert precision in TOLERANCES
    assert differing(certificate(after, before))["replay"][0] == matters


def test_a_save_without_a_replay_is_compared_by_the_rest() -> None:
    found = certificate(now(), msgspec.structs.replace(BEFORE, replay=None))
    assert found.verdict == "same"
    assert found.lines[-1].standing == "unknown"
    assert (found.loss, found.loss_before) == (1.25, None)


def test_a_loss_that_is_no_number_is_compared_too() -> None:
    lost = now(replay=ReplayFacts(loss=None, tokens=64))
    assert differing(certificate(lost))["replay"] == ("yes", "1.25", "no number")


@pytest.mark.parametrize("field", ["training.seed", "dataset.path", "training.max_length"])
def test_other_data_says_which_setting_makes_it(field: str) -> None:
    value = 7 if field == "training.seed" else "other.json" if "path" in field else 512
    changes = {"settings": {field: value}, **replaced("data", digest="d2")}
    line = next(line for line in certificate(now(**changes)).lines if line.subject == "data")
    assert field in line.sentence
    untouched = certificate(now(**replaced("data", digest="d2"))).lines[1]
    assert "the file has changed" in untouched.sentence


def test_a_setting_matters_by_what_comes_of_it() -> None:
    path = "dataset.path"
    assert bearing_of(path, "a", "b", same_data=True).matters == "no"
    assert bearing_of(path, "a", "b").matters == "yes"
    assert bearing_of("model.path", "a", "b", is_replay_equal=True).matters == "no"
    assert bearing_of("model.path", "a", "b").matters == "yes"
    assert bearing_of("training.optim", "adamw_8bit", "paged_adamw_8bit").matters == "no"
    assert bearing_of("training.optim", "adamw_torch", "sgd").matters == "yes"
    assert bearing_of("a.setting.to.come", 1, 2).matters == "yes"


def test_every_setting_is_looked_at() -> None:
    """One that nobody thought of is taken to change the result."""
    for field in set(BEFORE.settings or {}) - {MICRO, ACCUMULATION, "training.seed"}:
        assert field in differing(certificate(now(settings={field: "other"}))), field


def test_a_save_of_an_older_fettle_tells_little_and_accuses_nobody() -> None:
    old = Facts(data=DataFacts(digest="d1"), place=BEFORE.place, versions=BEFORE.versions)
    found = certificate(now(), old)
    assert found.verdict == "unknown"
    same = {line.subject for line in found.lines if line.standing == "same"}
    assert same == {"files", "data", "cursor", "versions"}
    assert not differing(found)


def test_what_was_not_reached_has_no_line() -> None:
    early = Facts(settings=BEFORE.settings, data=DataFacts(digest="d2", samples=3, tokens=9))
    found = certificate(early, is_refused=True)
    assert found.verdict == "refused"
    assert [line.subject for line in found.lines] == ["files", "data", "batch", "spec"]


def test_it_goes_over_the_wire_and_tells_no_token() -> None:
    token = "hf_" + "a" * 34
    line = CertificateLine(
        subject="model.path", title="model.path", standing="differs", matters="yes",
        before="m", now=f"https://{token}@host/m", sentence="Another.",
    )  # fmt: skip
    found = msgspec.structs.replace(certificate(now()), lines=[line])
    assert decode_line(encode(found)) == found
    assert token not in encode(discreet(found)).decode()


def test_the_terminal_names_what_differs() -> None:
    calm = certificate(now())
    assert sentence(calm) == ("Resumed, and it is the same run: 13 of 13 checks are the same.")
    no_replay = certificate(now(), msgspec.structs.replace(BEFORE, replay=None))
    assert sentence(no_replay) == (
        "Resumed, and it is the same run: 12 of 12 checks are the same. "
        "Not recorded at the save: replayed loss."
    )
    told = summary_of(certificate(now(settings={MICRO: 1, ACCUMULATION: 8})))
    assert told.splitlines()[0].startswith("Resumed: the same but for rounding: 12 of 13")
    assert "Effective batch 2 × 4 = 8 → 1 × 8 = 8 [may change the last digits]" in told


def test_a_loss_that_is_computed_in_another_way_is_another_result() -> None:
    computed = BEFORE.compute
    assert computed is not None
    own = msgspec.structs.replace(computed, loss="own")
    found = certificate(now(compute=own))
    assert found.verdict == "other"
    matters, before, after = differing(found)["loss"]
    assert (matters, before, after) == ("yes", "of a quicker head", "of the model's own logits")


# ---------------------------------------------------------------- the chat template


def test_the_template_has_a_line_only_where_one_was_chosen() -> None:
    assert "template" not in [line.subject for line in certificate(now()).lines]
    chosen = msgspec.structs.replace(BEFORE, template="t1t1t1t1t1")
    (line,) = [
        line for line in certificate(now(template="t1t1t1t1t1"), chosen).lines
        if line.subject == "template"
    ]  # fmt: skip
    assert line.standing == "same"


def test_an_edited_template_is_named_as_what_made_the_samples_others() -> None:
    chosen = msgspec.structs.replace(BEFORE, template="t1t1t1t1t1")
    other = now(template="t2t2t2t2t2", data=DataFacts(digest="d2", samples=1000))
    found = certificate(other, chosen)
    assert differing(found)["template"] == ("yes", "t1t1t1t1", "t2t2t2t2")
    (data,) = [line for line in found.lines if line.subject == "data"]
    assert "the file of the chat template has changed" in data.sentence
    assert differing(certificate(now(template="t2t2t2t2t2"), chosen))["template"][0] == "no"
    setting = {"dataset.chat_template": "chatml"}
    found = certificate(now(settings=setting, data=DataFacts(digest="d2", samples=1000)), BEFORE)
    (data,) = [line for line in found.lines if line.subject == "data"]
    assert "since dataset.chat_template changed" in data.sentence


def test_a_save_that_is_older_than_the_settings_meant_their_defaults() -> None:
    new = ("dataset.chat_template", "dataset.loss_on", "dataset.fixes")
    settings = {key: value for key, value in (BEFORE.settings or {}).items() if key not in new}
    older = msgspec.structs.replace(BEFORE, settings=settings, template=None)
    assert differing(certificate(now(template=""), older)) == {}


def test_a_setting_that_shapes_the_trained_weights_says_so() -> None:
    found = certificate(now(settings={"lora.r": 8}))
    (line,) = [line for line in found.lines if line.subject == "lora.r"]
    assert line.sentence == "Other weights are trained, or of other sizes, than were saved."


@pytest.mark.parametrize(
    ("settings", "file", "title", "cause", "remedy"),
    [
        ({}, "f2", "The data has changed", "chats.json has changed", "Put the old file back"),
        ({}, "f1", "The same files", "no file of the data changed", "packages back"),
        ({"training.seed": 7}, "f1", "With these", "training.seed changed.", "training.seed = 42"),
        ({"model.revision": "b"}, "f1", "With these", "model.revision changed.", "= none, as"),
        (
            {"training.seed": 7}, "f2", "With these",
            "training.seed changed, and chats.json has changed", "put the old file back",
        ),
    ],
)  # fmt: skip
def test_other_data_is_blamed_on_what_did_change(
    settings: dict[str, Any], file: str, title: str, cause: str, remedy: str
) -> None:
    data = DataFacts(digest="d1", samples=1000, sources={"/x/chats.json": "f1"})
    before = msgspec.structs.replace(BEFORE, data=data)
    other = DataFacts(digest="d2", samples=1001, sources={"/x/chats.json": file})
    found = why_other_data(before, now(settings=settings, data=other))
    assert found.title.startswith(title)
    assert cause in found.cause
    assert remedy in found.remedy
