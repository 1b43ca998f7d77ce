"""Wires the choice of a chat template, its editor and the preview of it."""

from __future__ import annotations

from typing import Any

import msgspec
from PySide6.QtCore import QObject, Signal

from app.form import Draft
from app.link import HostLink
from app.pages.data.sample_card import SampleCard
from app.pages.data.template_bar import TemplateBar, file_name
from app.pages.data.template_card import TemplateCard
from app.pages.new_run.starter import as_the_engine_reads
from app.preferences import Preferences
from app.template_trier import TemplateTrier, Wanted
from app.theme import Tokens
from engine.contract.messages import TemplateTried
from engine.contract.template_names import AUTO, BUNDLED, is_auto, is_file
from engine.planning.chat_templates import FIELD, text_of
from engine.store.encoded_view import Sample

_WRITTEN = "data/template"
"""Preference: what was written last and not used, with what it was made of."""


class TemplateDesk(QObject):
    """Shows the sample that is looked at as the edited template writes it.

    Signals:
        patch_wanted: settings to change (dict); the data is to be looked at anew.
        editing_changed: whether the editor is open.
    """

    patch_wanted = Signal(object)
    editing_changed = Signal(bool)

    def __init__(
        self, link: HostLink, preferences: Preferences, samples: SampleCard, tokens: Tokens,
        parent: QObject,
    ) -> None:  # fmt: skip
        super().__init__(parent)
        self._link = link
        self._preferences = preferences
        self._samples = samples
        self._draft = Draft()
        self._format = "auto"
        self._base = ""
        """Text of what is chosen now; empty until the engine has said it."""
        self.is_editing = False
        self.bar = TemplateBar(link)
        self.card = TemplateCard(tokens)
        self.card.hide()
        self.trier = TemplateTrier(link, self)
        self._connect()

    def _connect(self) -> None:
        self.bar.patch_wanted.connect(self.patch_wanted)
        self.bar.edit_wanted.connect(self.edit)
        self.card.edited.connect(self._on_edited)
        self.card.use_wanted.connect(self._on_use)
        self.card.start_over_wanted.connect(self._on_start_over)
        self.card.close_wanted.connect(self.close)
        self.trier.tried.connect(self._on_tried)
        self.trier.kept.connect(self._on_kept)
        self.trier.refused.connect(self.card.show_refused)

    # ------------------------------------------------------------ what is looked at

    def show_draft(self, draft: Draft, format: str = "auto") -> None:
        """Work on this run's template; rows have the ``format``."""
        if draft.get(FIELD) != self._draft.get(FIELD) and self.is_editing:
            self.close()
        self._draft, self._format = draft, format
        self.bar.show_draft(draft)

    def on_shown(self, sample: Sample) -> None:
        """Another sample is looked at."""
        if self.is_editing and self._base:
            self._try(self.card.text.toPlainText())

    # ------------------------------------------------------------ editing

    def edit(self) -> None:
        """Open the editor; what was written there before and not used is there again."""
        if self.is_editing:
            return
        self.is_editing, self._base = True, ""
        self.card.aside.setText(self._name())
        self.card.show_text("")
        self.card.text.setReadOnly(True)
        self.card.show()
        self.editing_changed.emit(True)
        self._try(None)

    def close(self) -> None:
        """Show the data as it is again."""
        if not self.is_editing:
            return
        self.is_editing = False
        self.card.hide()
        self.editing_changed.emit(False)
        if self._samples.sample is not None:
            self._samples.show_sample(self._samples.sample)

    def _name(self) -> str:
        chosen = str(self._draft.get(FIELD))
        if is_auto(chosen):
            return "the model's own"
        return file_name(chosen) if is_file(chosen) else chosen

    def _try(self, text: str | None) -> None:
        sample = self._samples.sample
        raw = as_the_engine_reads(self._draft.raw(), self._link.place)
        self.trier.ask(Wanted(raw, text, sample.raw if sample else "", self._format))

    def _on_edited(self, text: str) -> None:
        if self._base:
            self._preferences.set_data(_WRITTEN, {"of": str(self._draft.get(FIELD)), "text": text})
            self._try(text)

    def _on_start_over(self) -> None:
        self._preferences.set_data(_WRITTEN, None)
        self.card.show_text(self._base)
        self._try(self._base)

    def _on_use(self) -> None:
        text = self.card.text.toPlainText()
        if text == self._base:
            self.close()
            return
        same = [name for name in BUNDLED if text_of(name).rstrip() == text.rstrip()]
        if same:
            self._on_kept(same[0])
            return
        name = self._name()
        self.trier.keep(text, "model" if is_auto(str(self._draft.get(FIELD))) else name)

    # ------------------------------------------------------------ what arrives

    def _on_tried(self, tried: TemplateTried) -> None:
        if not self.is_editing:
            return
        if not self._base:
            self._begin(tried)
            return
        self.card.show_tried(tried)
        if tried.sample is not None:
            self._samples.show_preview(_sample(tried.sample, self._samples.sample))

    def _begin(self, tried: TemplateTried) -> None:
        """The text to begin with is there."""
        if not tried.text:
            self.card.show_refused(tried.problem)
            return
        self._base = tried.text
        written: Any = self._preferences.data(_WRITTEN)
        text = tried.text
        if isinstance(written, dict) and written.get("of") == str(self._draft.get(FIELD)):
            text = str(written.get("text") or text)
        self.card.text.setReadOnly(False)
        self.card.show_text(text)
        self.card.text.setFocus()
        if text == tried.text:
            self._on_tried(tried)
        else:
            self._try(text)

    def _on_kept(self, chosen: str) -> None:
        self._preferences.set_data(_WRITTEN, None)
        self.close()
        self.patch_wanted.emit({FIELD: chosen or AUTO})


def _sample(raw: dict[str, Any], of: Sample | None) -> Sample:
    made = msgspec.convert(raw, Sample, str_keys=True)
    if of is None:
        return made
    return msgspec.structs.replace(made, row=of.row, place=of.place, hash=of.hash, raw=of.raw)
