"""Whose key a request carries: one of Freehold's own, with its limits, or the caller's own for the upstream."""

import asyncio
import time

from freehold.gateway.faults import GatewayError
from freehold.gateway.limits import Allowed
from freehold.store.database import Store
from freehold.store.keys import PREFIX, Key, every, hashed, spent


class Keyring:
    """The keys as the store has them, looked at again every second: a revoked key ends within that."""

    def __init__(self, store: Store, required: bool) -> None:
        self._store = store
        self._required = required
        self._allowed: dict[str, Allowed] = {}

    async def refresh(self) -> None:
        """Follow what changed; a key that stays keeps what it has used."""
        known = await asyncio.to_thread(every, self._store)
        self._allowed = {key.sha256: self._same_or_new(key) for key in known}

    def name_of(self, id: str) -> str:
        """A key's name, for the log."""
        return next((each.key.name for each in self._allowed.values() if each.key.id == id), id)

    def of(self, id: str) -> Allowed | None:
        """A key's limits by its id."""
        return next((each for each in self._allowed.values() if each.key.id == id), None)

    def whose(self, secret: str | None) -> Allowed | None:
        """The key's limits, None for a caller with a key of another house. Raises `GatewayError` of 401."""
        allowed = self._living(secret)
        if allowed is not None and allowed.key.allowance.origins is not None:
            raise GatewayError(403, "this key is for a site's chat widget, and answers nothing else", code="widget_key")
        return allowed

    def visitor(self, secret: str | None, origin: str | None) -> Allowed:
        """The limits of a publishable key, asked from a page of its sites. Raises `GatewayError` of 401 or 403."""
        allowed = self._living(secret)
        if allowed is None or allowed.key.allowance.origins is None:
            raise _unauthorised("a publishable key is needed here; the console's page Keys makes one")
        if origin not in allowed.key.allowance.origins:
            what = f"this key is not for pages of {origin or 'no site'}; an admin adds a site by making another key"
            raise GatewayError(403, what, code="origin_not_allowed")
        return allowed

    def _living(self, secret: str | None) -> Allowed | None:
        if secret is None or not secret.startswith(PREFIX):
            if self._required:
                raise _unauthorised("a key is needed here; `freehold keys create NAME` makes one")
            return None
        return _unended(self._allowed.get(hashed(secret)))

    def holder(self, id: str) -> Allowed:
        """The limits of a key by its id: for work that its holder left here. Raises `GatewayError` of 401."""
        return _unended(next((each for each in self._allowed.values() if each.key.id == id), None))

    def _same_or_new(self, key: Key) -> Allowed:
        held = self._allowed.get(key.sha256)
        if held is not None:
            held.key = key
            return held
        currency = key.allowance.currency
        return Allowed(key, lambda since: spent(self._store, key.id, currency, since))


def _unended(allowed: Allowed | None) -> Allowed:
    """A key that is known and may still be used."""
    if allowed is None:
        raise _unauthorised("this key is not known here; `freehold keys list` shows which are")
    if allowed.key.revoked_at is not None:
        raise _unauthorised("this key was revoked")
    expires = allowed.key.allowance.expires_at
    if expires is not None and expires <= time.time_ns() // 1000:
        raise _unauthorised("this key has expired")
    return allowed


def _unauthorised(why: str) -> GatewayError:
    return GatewayError(401, why, code="invalid_api_key")
