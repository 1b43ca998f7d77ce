"""Lucide icons in the theme's colours, crisp at every scale of the screen."""

from __future__ import annotations

from functools import cache

from PySide6.QtCore import QByteArray, QRectF, Qt
from PySide6.QtGui import QIcon, QPainter, QPixmap
from PySide6.QtSvg import QSvgRenderer

from engine.paths import RESOURCES

SCALES = (1.0, 1.25, 1.5, 1.75, 2.0)
"""Of the screen, for which an icon is drawn from its lines rather than stretched."""


@cache
def _source(name: str) -> str:
    return (RESOURCES / "icons" / f"{name}.svg").read_text(encoding="utf-8")


def pixmap(name: str, color: str, size: int = 16, scale: float = 1.0) -> QPixmap:
    """One icon as pixels: ``size`` logical pixels at a screen scale, in ``#rrggbb``."""
    svg = _source(name).replace("currentColor", color)
    edge = round(size * scale)
    image = QPixmap(edge, edge)
    image.fill(Qt.GlobalColor.transparent)
    painter = QPainter(image)
    QSvgRenderer(QByteArray(svg.encode())).render(painter, QRectF(0, 0, edge, edge))
    painter.end()
    image.setDevicePixelRatio(scale)
    return image


def icon(name: str, color: str, size: int = 16, *, checked: str | None = None) -> QIcon:
    """An icon for a button; ``checked`` is the colour while the button is on."""
    made = QIcon()
    states = [(color, QIcon.State.Off), (checked or color, QIcon.State.On)]
    for tint, state in states:
        for scale in SCALES:
            made.addPixmap(pixmap(name, tint, size, scale), QIcon.Mode.Normal, state)
    return made


def window_icon() -> QIcon:
    """Fettle's own icon."""
    made = QIcon()
    renderer = QSvgRenderer(str(RESOURCES / "icons" / "fettle.svg"))
    for edge in (16, 24, 32, 48, 64, 128):
        image = QPixmap(edge, edge)
        image.fill(Qt.GlobalColor.transparent)
        painter = QPainter(image)
        renderer.render(painter)
        painter.end()
        made.addPixmap(image)
    return made
