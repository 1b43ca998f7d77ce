"""The page on which a run is made: model, data, settings, and what will come of them."""

from app.pages.new_run.page import NewRunPage

__all__ = ["NewRunPage"]
