"""Which part of the axis the graphs show, and whether it goes along with the newest point."""

from __future__ import annotations

LIVE_MARGIN = 0.02


class Stretch:
    """A stretch of the axis, in its units."""

    def __init__(self) -> None:
        self.x0, self.x1 = 0.0, 1.0
        self.is_following = True
        self._window: float | None = None
        """Width of the stretch; None shows everything."""

    def show_all(self) -> None:
        """Show the whole run and follow it."""
        self._window = None
        self.is_following = True

    def move(self, x0: float, x1: float, end: float) -> None:
        """Show this part; it is followed if the newest point, at ``end``, lies in it."""
        self.x0, self.x1 = x0, x1
        self._window = x1 - x0
        self.is_following = x0 <= end <= x1 and x1 - x0 < end

    def follow(self, end: float) -> None:
        """The newest point is at ``end``: keep it in view, if that is wanted."""
        if not self.is_following:
            return
        end = max(end, 1.0)
        window = self._window or end
        margin = LIVE_MARGIN * window
        self.x1 = end + margin
        self.x0 = self.x1 - window - 2 * margin if self._window else -margin
