"""Whose a file or a batch is: the key that it was made with. Another key does not see it.

One of Freehold's keys is known by its id. A key of another house is known by its pseudonym (a hash under the
workspace's own key), and the key itself is held in memory only (invariant 5): a batch that needs it after a restart
goes on when its owner asks for it again. Of several worker processes each tells the house such a key, so that the one
that works on batches has it, whichever it came to. Callers without a key are one owner.
"""

from collections.abc import Callable

from freehold.gateway.call import Caller
from freehold.gateway.keyring import Keyring
from freehold.gateway.limits import Allowed
from freehold.gateway.shared import Own
from freehold.gateway.wire import Asking

NOBODY = ""
_OURS, _THEIRS = "key:", "own:"


class Owners:
    """The owners, and the keys that they were seen with since the start, here or (of several workers) anywhere."""

    def __init__(self, keyring: Keyring, pseudonym: Callable[[str], str], house: Asking | None = None) -> None:
        self._house = house
        self._keyring = keyring
        self._pseudonym = pseudonym
        self._secrets: dict[str, str] = {}

    def of(self, caller: Caller) -> str:
        """The owner that a caller is; raises `GatewayError` of 401 as any request does."""
        allowed = self._keyring.whose(caller.secret)
        if allowed is not None:
            return _OURS + allowed.key.id
        if not caller.secret:
            return NOBODY
        owner = _THEIRS + self._pseudonym(caller.secret)
        if owner not in self._secrets and self._house is not None:
            self._house.tell("own", Own(owner, caller.secret))
        self._secrets[owner] = caller.secret
        return owner

    async def learn(self, owner: str) -> None:
        """Ask the house for an owner's own key, where it came to another worker."""
        if self._house is None or self.is_known(owner):
            return
        secret = await self._house.ask("owner", owner, str)
        if secret:
            self._secrets[owner] = secret

    def allowed(self, owner: str) -> Allowed | None:
        """The limits of an owner with one of our keys; raises `GatewayError` of 401 where it was revoked."""
        return self._keyring.holder(owner.removeprefix(_OURS)) if owner.startswith(_OURS) else None

    def secret(self, owner: str) -> str | None:
        """An owner's own key for an upstream, where it is known."""
        return self._secrets.get(owner)

    def is_known(self, owner: str) -> bool:
        """Whether an upstream can be asked in this owner's name now."""
        return not owner.startswith(_THEIRS) or owner in self._secrets
