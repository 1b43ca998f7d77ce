"""Keeps PySide from reading the source of every module that is imported after it.

WORKAROUND(https://code.qt.io/cgit/pyside/pyside-setup.git/tree/sources/shiboken6/shibokenmodule/files.dir/shibokensupport/feature.py):
it looks in the source for its own name, to know whose calls may choose other names for Qt's
methods (``snake_case``). Nobody does here, so any answer will do. That was 6 % of the time until
the window is there, and 8 % until its graphs are.
"""

from __future__ import annotations

import sys

from PySide6 import QtCore

assert QtCore  # With it comes the module that looks.


def install() -> None:
    """From now on nothing is read. Where PySide does it another way, this does nothing."""
    feature = sys.modules.get("shibokensupport.feature")
    if hasattr(feature, "_mod_uses_pyside"):
        vars(feature)["_mod_uses_pyside"] = _any_may


def _any_may(module: object) -> bool:
    return True


install()
