"""Whether a resumed run is the run that was saved: facts of then, facts of now, and what the
differences mean. Pure."""

from engine.diagnosis.certificate.data import OtherData, why_other_data
from engine.diagnosis.certificate.facts import Facts
from engine.diagnosis.certificate.verdict import certify
from engine.diagnosis.certificate.weights import OtherWeights, why_other_weights

__all__ = [
    "Facts",
    "OtherData",
    "OtherWeights",
    "certify",
    "why_other_data",
    "why_other_weights",
]
