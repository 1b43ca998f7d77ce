"""Traces steps of real models on the meta device."""

from engine.worker.trace.sizes import CannotTrace
from engine.worker.trace.trace import trace

__all__ = ["CannotTrace", "trace"]
