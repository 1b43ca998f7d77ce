"""Whether a resumed run is the run that was saved: one line where it is, the differences by name
where it is not."""

from __future__ import annotations

from PySide6.QtWidgets import QSizePolicy, QWidget

from app.certificate_words import check_text, tone_of
from app.theme import Tokens
from app.widgets.folder import Folder, Pool
from app.widgets.growing_area import GrowingArea
from app.widgets.parts import Card, column, label, set_look, set_tone
from engine.contract.messages import CertificateLine, ResumeCertificate

_MOST_PX = 330
_INDENT_PX = 18
_MARKS = {"same": "✓", "differs": "!", "unknown": "?"}
_ORDER = ("differs", "unknown", "same")
_WEIGHTS = ("yes", "last_digits", "no")
_FRAMES = {"other": "warning", "refused": "danger"}


class CheckLine(QWidget):
    """One thing that was compared, and what was found."""

    def __init__(self) -> None:
        super().__init__()
        self.title = label("", "verdict")
        self.text = label("", "small", wrap=True)
        self.text.setContentsMargins(_INDENT_PX, 0, 0, 0)
        for part in (self.title, self.text):
            part.setTextInteractionFlags(part.textInteractionFlags().TextSelectableByMouse)
        self.title.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
        self.setLayout(column(self.title, self.text, margins=(0, 0, 0, 6), spacing=0))

    def show_check(self, check: CertificateLine) -> None:
        """Show this one."""
        self.title.setText(f"{_MARKS[check.standing]}  {check.title}")
        set_tone(self.title, tone_of(check))
        self.text.setText(check_text(check))


class CertificateCard(Card):
    """Folded where nothing differs. Hidden for a run that was not resumed."""

    def __init__(self, tokens: Tokens) -> None:
        super().__init__()
        self.certificate: ResumeCertificate | None = None
        """The one that is shown."""
        self.column.setContentsMargins(16, 8, 16, 8)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
        self.lines: Pool[CheckLine] = Pool(CheckLine)
        body = QWidget()
        body.setObjectName("body")
        content = column(self.lines)
        content.addStretch(1)
        body.setLayout(content)
        # The list of what happened above it keeps its room.
        area = GrowingArea(body, _MOST_PX)
        area.set_grown(True)
        self.folder = Folder("Resume certificate", area, tokens)
        self.column.addWidget(self.folder)
        self.hide()

    def show_certificate(self, certificate: ResumeCertificate | None) -> None:
        """Show what a resume was found to be; None hides the card."""
        if certificate == self.certificate:
            return
        self.certificate = certificate
        self.setVisible(certificate is not None)
        if certificate is None:
            return
        set_look(self, "card", _FRAMES.get(certificate.verdict, "true"))
        self.setAccessibleName(certificate.title)
        self.folder.head.show_line(certificate.title, "")
        # What differs stands first, and what matters most of it.
        ordered = sorted(certificate.lines, key=_place)
        for line, check in zip(self.lines.take(len(ordered)), ordered, strict=True):
            line.show_check(check)
        self.folder.head.setChecked(certificate.verdict != "same")

    def set_tokens(self, tokens: Tokens) -> None:
        """Take another theme's colours."""
        self.folder.head.set_tokens(tokens)


def _place(line: CertificateLine) -> tuple[int, int]:
    return _ORDER.index(line.standing), _WEIGHTS.index(line.matters)
