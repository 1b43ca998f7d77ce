"""Tokens and passwords in texts: found by their form, or because they are known, and masked. Pure.

Nothing that Fettle writes or sends may hold one: run folders are attached to bug reports.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

MASK = "[removed]"
LEAST_LENGTH = 8
"""Of a known secret: a shorter one would be found in half of all words."""

_TOKENS = re.compile(
    r"\b(?:hf_(?:oauth_)?[A-Za-z0-9]{16,}|api_org_[A-Za-z0-9]{16,}"
    r"|sk-[A-Za-z0-9_-]{20,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}"
    r"|xox[abprs]-[\w-]{10,}|AKIA[0-9A-Z]{16}|AIza[\w-]{30,}"
    r"|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,})"
)
_IN_URL = re.compile(r"(?P<kept>\b[a-z][a-z0-9+.-]{1,20}://)[^\s/@'\"]+@", re.IGNORECASE)
_IN_PATH = re.compile(
    r"(?P<kept>\b[a-z][a-z0-9+.-]{1,20}:/)[^\s/@'\":]+:[^\s/@'\"]+@", re.IGNORECASE
)
"""As a path a URL has lost one of its slashes."""
_IN_QUERY = re.compile(
    r"(?P<kept>[?&](?:\w{0,30}token|\w{0,30}key|key-pair-id|sig|\w{0,30}signature|password|policy|secret"
    r"|x-amz-[\w-]+)=)[^&\s'\"]+",
    re.IGNORECASE,
)
_HEADER = re.compile(
    r"(?P<kept>\bauthorization['\"]?\s*[:=]\s*['\"]?(?:(?:bearer|basic|token)\s+)?)[^\s'\",]+",
    re.IGNORECASE,
)
_NAMED = re.compile(
    r"(?P<kept>(?:\b[A-Z0-9_]{0,60}(?:_TOKEN|API_KEY|SECRET|PASSWORD)[A-Z0-9_]{0,60}"
    r"|\b(?:api_key|password|passwd|secret|auth_token|access_token|hf_token))"
    r"['\"]?\s*[:=]\s*['\"]?)(?!None\b|null\b|True\b|False\b)[^\s'\",;)]{6,}"
)
_KEY_BLOCK = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
)
_WITH_NAME = (_IN_URL, _IN_PATH, _IN_QUERY, _HEADER, _NAMED)


def has_secret(text: str) -> bool:
    """Whether a text, such as a setting, holds what looks like a token or a password."""
    patterns = (_TOKENS, _IN_URL, _IN_PATH, _KEY_BLOCK)
    return any(pattern.search(text) for pattern in patterns)


def masked(text: str, known: Iterable[str] = ()) -> str:
    """The text without tokens and passwords: those that are ``known``, and what looks like one."""
    for secret in known:
        if len(secret) >= LEAST_LENGTH:
            text = text.replace(secret, MASK)
    text = _KEY_BLOCK.sub(MASK, text)
    for pattern in _WITH_NAME:
        end = "@" if pattern in (_IN_URL, _IN_PATH) else ""
        text = pattern.sub(rf"\g<kept>{MASK}{end}", text)
    return _TOKENS.sub(MASK, text)
