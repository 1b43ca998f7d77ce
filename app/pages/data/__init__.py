"""The Data page: what a model will see of a dataset, before a run starts."""

from app.pages.data.page import DataPage

__all__ = ["DataPage"]
