"""Passwords, hashed with argon2id (RFC 9106, the library's defaults): two at once at most, 64 MiB each."""

import threading
from functools import lru_cache
from typing import TYPE_CHECKING

from freehold.errors import UserError

if TYPE_CHECKING:
    from argon2 import PasswordHasher

SHORTEST = 10
_LONGEST = 1024
_AT_ONCE = threading.Semaphore(2)


def hashed(password: str) -> str:
    """The hash that is kept; raises `UserError` for one that is too short."""
    if not SHORTEST <= len(password) <= _LONGEST:
        raise UserError(f"a password has {SHORTEST} characters or more; a sentence is easy to remember")
    with _AT_ONCE:
        return _hasher().hash(password)


def matches(kept: str | None, password: str) -> bool:
    """Whether a password is the one that was hashed; takes as long where there is no such user (None)."""
    from argon2.exceptions import VerificationError

    with _AT_ONCE:
        try:
            _hasher().verify(kept or _nobody(), password[:_LONGEST])
        except VerificationError:
            return False
    return kept is not None


@lru_cache(maxsize=1)
def _hasher() -> "PasswordHasher":
    from argon2 import PasswordHasher

    return PasswordHasher()


@lru_cache(maxsize=1)
def _nobody() -> str:
    return _hasher().hash("nobody's password")
