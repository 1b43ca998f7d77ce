"""The training engine of Fettle: a light side (no torch) and, in worker processes, a heavy one."""

__version__ = "0.1.0"
