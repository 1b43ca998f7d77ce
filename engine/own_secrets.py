"""The tokens that this user has here: looked up only to be kept out of everything that is written.

They are never shown, sent or kept.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote

from engine import hugging_face
from engine.contract.masking import LEAST_LENGTH, masked

_NAME = re.compile(
    r"(?:^|_)(?:TOKEN|API_?KEY|SECRET|PASSWORD|PASSWD|ACCESS_KEY|CREDENTIAL)(?:_|$)"
    r"|PASSWORD$|(?:^|_)(?:KEY|PASS|PASSPHRASE|PAT|AUTH)$|_PWD$"
)
_LOGIN = re.compile(r"[a-z][a-z0-9+.-]{1,20}://([^\s/@:'\"]*):([^\s/'\"]+)@", re.IGNORECASE)
_TOKEN_AS_USER = re.compile(r"[a-z][a-z0-9+.-]{1,20}://([^\s/@:'\"]{16,}):?@", re.IGNORECASE)
_PATH = re.compile(r"[/~.\\]|[A-Za-z]:[\\/]|file:")
_COMMON = frozenset(
    {"password", "passwort", "changeme", "postgres", "rabbitmq", "required", "optional", "disabled",
     "external", "kerberos", "negotiate", "anonymous", "keyboard", "publickey", "undefined",
     "x-access-token", "x-oauth-basic"}
)  # fmt: skip
"""What stands in such variables and is no secret, or a word of half of all messages."""
_TOKEN_FILES = ("token", "stored_tokens")
_LARGEST_BYTES = 1 << 16
_GOOD_FOR_SECONDS = 30.0


class MaskedFormatter(logging.Formatter):
    """Writes no token into a log, whoever raised or logged it."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, with its traceback."""
        return masked(super().format(record), known())


def known() -> tuple[str, ...]:
    """The secrets of this user, the longest first; looked for anew once in a while, since somebody
    may log in."""
    return _known(int(time.monotonic() / _GOOD_FOR_SECONDS))


@lru_cache(maxsize=1)
def _known(period: int) -> tuple[str, ...]:
    return find(os.environ)


def find(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The secrets in an environment and in the files that it points to."""
    found = {value for name, value in environ.items() if _NAME.search(name.upper())}
    found |= {word for value in environ.values() for word in _in_urls(value)}
    found |= {word for path in _files(environ) for word in _words(path)}
    return tuple(sorted(filter(_is_secret, found), key=len, reverse=True))


def _is_secret(value: str) -> bool:
    is_word = len(value) < LEAST_LENGTH or value.lower() in _COMMON
    return not (is_word or _PATH.match(value))


def _in_urls(value: str) -> Iterator[str]:
    """Passwords in URLs, and tokens that stand in place of a user, as they are written there and as
    they are."""
    if "://" not in value:
        return
    passwords = [password for _, password in _LOGIN.findall(value)]
    for secret in [*passwords, *_TOKEN_AS_USER.findall(value)]:
        yield from (secret, unquote(secret))


def _files(environ: Mapping[str, str]) -> Iterator[Path]:
    """Where Hugging Face's libraries keep their tokens."""
    if given := environ.get("HF_TOKEN_PATH"):
        yield Path(given)
    yield from (hugging_face.home(environ) / name for name in _TOKEN_FILES)


def _words(path: Path) -> Iterator[str]:
    """The words of a small file that may be secrets: not its names and brackets."""
    try:
        text = path.read_text("utf-8", "replace") if path.stat().st_size < _LARGEST_BYTES else ""
    except OSError:
        return
    for word in text.split():
        if len(word) >= 2 * LEAST_LENGTH and word[0] != "[":
            yield word.strip("\"'")
