"""The list of models that opens below the picker: groups, and each model's facts on the right."""

from __future__ import annotations

from PySide6.QtCore import (
    QAbstractItemModel,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    QSize,
    Qt,
)
from PySide6.QtGui import QFontMetrics, QPainter, QPalette, QStandardItem, QStandardItemModel
from PySide6.QtWidgets import QStyledItemDelegate, QStyleOptionViewItem

from app.pages.new_run.models import IN_FOLDERS, Option

OPTION_ROLE = Qt.ItemDataRole.UserRole
_ROW_PX = 28
_MARGIN_PX = 10
SIZE_ALONE = 2
"""Last of the levels of :func:`facts_at`."""

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

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._model: QAbstractItemModel | None = None
        self._levels: dict[int, int] = {}
        """Of that list, for its width in pixels."""

    def _facts(
        self, chosen: Option, option: QStyleOptionViewItem, model: QAbstractItemModel
    ) -> str:
        width, metrics = option.rect.width(), option.fontMetrics
        if model is not self._model:
            self._model = model
            self._levels.clear()
        if width not in self._levels:
            found = (model.index(row, 0).data(OPTION_ROLE) for row in range(model.rowCount()))
            self._levels[width] = level_for(
                [each for each in found if isinstance(each, Option) and each.group != IN_FOLDERS],
                width,
                metrics,
            )
        # The path of a folder may be of any length, and must not cost all others their facts.
        own = level_for([chosen], width, metrics) if chosen.group == IN_FOLDERS else 0
        return facts_at(max(own, self._levels[width]), chosen)

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
            facts = self._facts(chosen, option, index.model())
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


def facts_at(level: int, option: Option) -> str:
    """What is told of a model: all, all but the licence, or its size alone."""
    if level == 0:
        return option.facts
    short = option.facts_of(with_licence=False)
    return short if level == 1 else short.rpartition(" · ")[2]


def level_for(options: list[Option], width: int, metrics: QFontMetrics) -> int:
    """Least level at which the facts of all models have room beside their ids, so that
    every row tells the same of its model."""
    for level in range(SIZE_ALONE):
        tight = 0
        for each in options:
            taken = sum(map(metrics.horizontalAdvance, (each.path, facts_at(level, each))))
            tight += taken + 3 * _MARGIN_PX > width
        if not tight:
            return level
    return SIZE_ALONE
