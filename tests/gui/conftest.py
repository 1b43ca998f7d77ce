"""What holds for every test of the window."""

from tests.gui.tidy import _what_stays, collected_between_tests

__all__ = ["_what_stays", "collected_between_tests"]
