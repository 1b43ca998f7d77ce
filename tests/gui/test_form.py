"""The form's values: every setting there is, what texts mean, undo, complaints."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel
from pytestqt.qtbot import QtBot

from app.form import Draft, Form
from app.form_editors import make_editor
from app.form_fields import Field, fields, read_text, show_value
from app.form_words import BASIC, CHOICES, ELSEWHERE, GROUPS, LABELS
from engine.contract.messages import Complaint
from engine.contract.toml import EXAMPLE, to_raw
from engine.contract.validate import check

RATE = "training.learning_rate"
STEPS = "training.max_steps"


@pytest.fixture
def form(qapp: object) -> Form:
    made = Form()
    made.restore(Draft.from_raw(to_raw(EXAMPLE)))
    return made


def test_every_setting_has_a_name_a_meaning_and_a_place() -> None:
    assert set(LABELS) == set(fields())
    assert [path for path, field in fields().items() if not field.help] == []
    tables = {table for table, _ in GROUPS}
    homeless = [
        path for path in fields() if path not in ELSEWHERE and path.partition(".")[0] not in tables
    ]
    assert homeless == []
    assert set(BASIC) < set(fields())


def test_an_imported_profile_is_kept() -> None:
    raw = to_raw(EXAMPLE) | {"hardware": {"profile": "rtx-3060-12"}}
    draft = Draft.from_raw(raw)
    assert draft.raw()["hardware"] == {"profile": "rtx-3060-12"}
    assert draft.unknown == {}


def test_a_patch_is_one_step_to_undo(form: Form) -> None:
    before = form.draft
    patch = {"training.per_device_train_batch_size": 1, "training.gradient_accumulation_steps": 8}
    assert form.apply(patch)
    assert {path: form.draft.get(path) for path in patch} == patch
    assert not form.apply(patch)
    form.undo()
    assert form.draft == before


def test_a_patch_brings_its_table_and_takes_it_out(form: Form) -> None:
    form.set_tuning("full")
    assert form.apply({"lora": {"r": 8}, "quantization.bits": 4})
    assert (form.draft.tuning, form.draft.get("lora.r")) == ("lora4", 8)
    assert form.apply({"quantization": None, "lora.r": None, "no.such": 1})
    assert (form.draft.tuning, form.draft.get("lora.r")) == ("lora16", 16)
    assert form.spec is not None


def test_every_named_choice_exists() -> None:
    for path, names in CHOICES.items():
        assert set(names) <= set(fields()[path].choices), path


@pytest.mark.parametrize("field", fields().values(), ids=list(fields()))
def test_a_default_survives_being_shown_and_read(field: Field) -> None:
    if field.kind in ("bool", "choice") or field.default in (None, [], {}):
        return
    assert read_text(field, show_value(field, field.default)) == field.default


@given(st.integers(min_value=-1, max_value=10**12))
def test_whole_numbers_survive(number: int) -> None:
    field = fields()[STEPS]
    assert read_text(field, show_value(field, number)) == number
    assert type(read_text(field, show_value(field, number))) is int


@given(st.floats(min_value=1e-12, max_value=10))
def test_rates_survive_to_the_last_digit(number: float) -> None:
    field = fields()[RATE]
    assert read_text(field, show_value(field, number)) == number


@pytest.mark.parametrize(
    ("path", "text", "value"),
    [
        (STEPS, "2 048", 2048),
        (STEPS, "2\u202f048", 2048),
        (STEPS, "1e3", 1000),
        (STEPS, "2.5", 2.5),
        (STEPS, "many", "many"),
        (STEPS, "  ", None),
        (RATE, "2e-4", 2e-4),
        ("lora.target_modules", "all-linear", "all-linear"),
        ("lora.target_modules", "q_proj, v_proj", ["q_proj", "v_proj"]),
        ("lora.modules_to_save", "lm_head", ["lm_head"]),
        ("lora.modules_to_save", ", ,", []),
    ],
)
def test_texts_mean(path: str, text: str, value: Any) -> None:
    assert read_text(fields()[path], text) == value


def test_a_sound_file_comes_through_unchanged() -> None:
    raw = to_raw(EXAMPLE)
    assert check(Draft.from_raw(raw).raw())[0] == EXAMPLE


def test_mistakes_in_a_file_are_kept_and_named() -> None:
    raw = to_raw(EXAMPLE) | {"training": {"lerning_rate": 1e-4, "seed": "x"}, "fluff": 3}
    draft = Draft.from_raw(raw)
    assert draft.raw()["training"] == {"lerning_rate": 1e-4, "seed": "x"}
    wrong = {complaint.field for complaint in check(draft.raw())[1]}
    assert wrong == {"training.lerning_rate", "training.seed", "fluff"}


@pytest.mark.parametrize("table", ["model", "training"])
def test_a_table_that_is_no_table_is_complained_about(table: str) -> None:
    draft = Draft.from_raw(to_raw(EXAMPLE) | {table: 3})
    assert check(draft.raw())[1]


@pytest.mark.parametrize(
    ("tuning", "kind"),
    [("lora4", "QLoRA 4-bit"), ("lora8", "LoRA 8-bit"), ("lora16", "LoRA"), ("full", "Full")],
)
def test_a_way_of_tuning_sets_the_tables(form: Form, tuning: Any, kind: str) -> None:
    form.set_tuning("full" if tuning != "full" else "lora4")
    form.set_tuning(tuning)
    assert form.draft.tuning == tuning
    assert form.spec is not None
    assert form.spec.kind == kind


def test_the_rate_follows_the_tuning_until_it_is_written(form: Form) -> None:
    form.set_tuning("full")
    assert form.draft.get(RATE) == 2e-5
    form.set_tuning("lora4")
    assert form.draft.get(RATE) == 2e-4
    form.set_value(RATE, 1e-4)
    form.set_tuning("full")
    assert form.draft.get(RATE) == 1e-4


def test_switching_the_tuning_keeps_the_adapter_s_settings(form: Form) -> None:
    form.set_value("lora.r", 64)
    form.set_tuning("full")
    assert "lora" not in form.draft.raw()
    form.set_tuning("lora16")
    assert form.draft.raw()["lora"]["r"] == 64


def test_typing_in_one_field_is_one_step_to_undo(form: Form) -> None:
    before = form.draft
    for text in ("1", "12", "128"):
        form.set_value("lora.r", int(text))
    form.undo()
    assert form.draft == before
    form.redo()
    assert form.draft.get("lora.r") == 128


def test_leaving_a_field_begins_a_new_step(form: Form) -> None:
    form.set_value("lora.r", 32)
    form.seal()
    form.set_value("lora.r", 64)
    form.undo()
    assert form.draft.get("lora.r") == 32


def test_a_change_after_undo_ends_the_redo(form: Form) -> None:
    form.set_value("lora.r", 32)
    form.undo()
    form.set_value(STEPS, 5)
    assert not form.can_redo


def test_all_complaints_are_live(form: Form) -> None:
    form.set_value(RATE, "fast")
    form.set_value(STEPS, 0.5)
    assert {complaint.field for complaint in form.complaints} == {RATE, STEPS}
    form.set_value(RATE, 1e-4)
    form.set_value(STEPS, 5)
    assert form.complaints == []
    assert form.spec is not None


def test_what_the_host_refused_stands_until_it_is_changed(form: Form) -> None:
    form.refuse([Complaint(field="dataset.path", problem="There is no such file.")])
    assert [complaint.field for complaint in form.complaints] == ["dataset.path"]
    form.set_value(STEPS, 5)
    assert form.complaints
    form.set_value("dataset.path", "/other.jsonl")
    assert form.complaints == []


def test_a_name_is_made_from_model_and_data(qapp: object) -> None:
    form = Form()
    assert "name" not in form.draft.raw()
    form.set_value("model.path", "mistralai/Mistral-7B-v0.3")
    form.set_value("dataset.path", r"C:\data\chats.jsonl")
    assert form.draft.name == "Mistral-7B-v0.3 · chats"
    form.set_value("name", "mine")
    assert form.draft.raw()["name"] == "mine"


def test_what_was_typed_is_quoted_as_it_is(qtbot: QtBot) -> None:
    editor = make_editor(fields()["training.seed"])
    qtbot.addWidget(editor)
    editor.complain("'<b>7</b>' does not fit: expected a whole number.")
    (problem,) = (part for part in editor.findChildren(QLabel) if "fit" in part.text())
    assert problem.textFormat() is Qt.TextFormat.PlainText
