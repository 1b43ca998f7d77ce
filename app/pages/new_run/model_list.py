"""The list of models that opens below the picker: groups, and each model's facts on the right."""

from __future__ import annotations

from PySide6.QtCore import QModelIndex, QObject, QPersistentModelIndex, QSize, Qt
from PySide6.QtGui import QPainter, QPalette, QStandardItem, QStandardItemModel
from PySide6.QtWidgets import QStyledItemDelegate, QStyleOptionViewItem

from app.pages.new_run.models import Option

OPTION_ROLE = Qt.ItemDataRole.UserRole
_ROW_PX = 28
_MARGIN_PX = 10

Index = QModelIndex | QPersistentModelIndex


def fill_list(options: list[Option], parent: QObject) -> QStandardItemModel:
    """The options with a title above each group; titles cannot be chosen."""
    model = QStandardItemModel(parent)
    group = ""
    for option in options:
        if option.group != group:
            group = option.group
            title = QStandardItem(group)
            title.setFlags(Qt.ItemFlag.NoItemFlags)
            model.appendRow(title)
        item = QStandardItem(option.path)
        item.setData(option, OPTION_ROLE)
        item.setToolTip(f"{option.facts}\n{option.note}".strip())
        item.setAccessibleDescription(option.facts)
        model.appendRow(item)
    return model


class ModelDelegate(QStyledItemDelegate):
    """Paints a model's id on the left and its facts, quieter, on the right."""

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:
        """Qt override."""
        return QSize(super().sizeHint(option, index).width(), _ROW_PX)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        """Qt override."""
        chosen = index.data(OPTION_ROLE)
        painter.save()
        if not isinstance(chosen, Option):
            self._quiet(painter, option, str(index.data()), Qt.AlignmentFlag.AlignLeft)
        else:
            super().paint(painter, option, index)
            facts = _fitting(chosen.facts, option, str(index.data()))
            self._quiet(painter, option, facts, Qt.AlignmentFlag.AlignRight)
        painter.restore()

    def _quiet(
        self,
        painter: QPainter,
        option: QStyleOptionViewItem,
        text: str,
        side: Qt.AlignmentFlag,
    ) -> None:
        font = painter.font()
        font.setPixelSize(11)
        painter.setFont(font)
        palette: QPalette = option.palette
        painter.setPen(palette.color(QPalette.ColorRole.PlaceholderText))
        room = option.rect.adjusted(4, 0, -_MARGIN_PX, 0)
        painter.drawText(room, side | Qt.AlignmentFlag.AlignVCenter, text)


def _fitting(facts: str, option: QStyleOptionViewItem, path: str) -> str:
    """As much of the facts as there is room for beside the id, the last of them first."""
    measure = option.fontMetrics
    room = option.rect.width() - measure.horizontalAdvance(path) - 3 * _MARGIN_PX
    parts = facts.split(" · ")
    while parts and measure.horizontalAdvance(" · ".join(parts)) > room:
        parts.pop(0)
    return " · ".join(parts)
