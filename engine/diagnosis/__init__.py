"""Why a run ended before its time: evidence in, findings with their reasons out. Pure.

What is known to go wrong is data, in ``resources/problems``; :func:`diagnose` weighs it against the
:class:`Evidence`.
"""

from engine.diagnosis.diagnose import Diagnosis, diagnose
from engine.diagnosis.evidence import ErrorSeen, Evidence

__all__ = ["Diagnosis", "ErrorSeen", "Evidence", "diagnose"]
