"""The three kinds of lines that a certificate has."""

from __future__ import annotations

from engine.contract.messages import CertificateLine, Matters


def same(subject: str, title: str, sentence: str) -> CertificateLine:
    return CertificateLine(subject=subject, title=title, standing="same", sentence=sentence)


def differs(
    subject: str, title: str, matters: Matters, before: str, now: str, sentence: str
) -> CertificateLine:
    return CertificateLine(
        subject=subject, title=title, standing="differs", matters=matters, before=before, now=now,
        sentence=sentence,
    )  # fmt: skip


def unknown(subject: str, title: str) -> CertificateLine:
    return CertificateLine(
        subject=subject, title=title, standing="unknown",
        sentence="The save was made by an older Fettle and does not tell.",
    )  # fmt: skip
