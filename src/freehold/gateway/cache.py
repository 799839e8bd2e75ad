"""Answers kept in memory, for requests that are equal to the last byte of what decides them. Off unless a deployment
has a rule for it; nothing of it is on any disk.

A key is a digest over whose request it is (unless shared), the address, the target, the headers that an upstream reads,
and the body's fields in one order. Where redaction is on, an answer in which it finds something to hide is not kept
(invariant 5). A changed deployment begins with an empty cache.
"""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from freehold.gateway.call import Call
from freehold.gateway.endpoints import EMBEDDINGS
from freehold.store.deployments import Deployment
from freehold.store.guardrails import CacheRule

_READ_UPSTREAM = ("openai-", "anthropic-")
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_OVERHEAD_BYTES = 512


@dataclass(frozen=True, slots=True)
class Kept:
    """One answer: its content, or its stream's events; who gave it (and with which adapter file, by SHA-256), and the
    currency of what it cost then."""

    content: bytes
    events: tuple[bytes, ...]
    answered_by: str
    currency: str | None
    adapter: str | None = None

    @property
    def size(self) -> int:
        return len(self.content) + sum(map(len, self.events)) + _OVERHEAD_BYTES


class Cache:
    """The answers of one deployment, the least recently asked for going first. Sizes are in bytes."""

    def __init__(self, rule: CacheRule, clock: Callable[[], float] = time.monotonic) -> None:
        self._rule = rule
        self._clock = clock
        self._kept: OrderedDict[bytes, tuple[float, Kept]] = OrderedDict()
        self.size = 0

    def get(self, key: bytes) -> Kept | None:
        found = self._kept.get(key)
        if found is None:
            return None
        at, kept = found
        if self._clock() - at > self._rule.max_age_s:
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        return kept

    def put(self, key: bytes, kept: Kept) -> None:
        """Keep it; one that is larger than all may be together is left out."""
        if kept.size > self._rule.max_bytes:
            return
        if key in self._kept:
            self._drop(key)
        self._kept[key] = (self._clock(), kept)
        self.size += kept.size
        while self.size > self._rule.max_bytes:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: bytes) -> None:
        _, kept = self._kept.pop(key)
        self.size -= kept.size


@dataclass(slots=True)
class Caches:
    """A cache a deployment; one that has changed gets a new one, and what is under way goes into the old."""

    _of: dict[str, tuple[Deployment, Cache]] = field(default_factory=dict)

    def of(self, deployment: Deployment) -> Cache:
        assert deployment.cache is not None
        held = self._of.get(deployment.name)
        if held is None or (held[0] is not deployment and held[0] != deployment):
            held = self._of[deployment.name] = (deployment, Cache(deployment.cache))
        return held[1]

    @property
    def size(self) -> int:
        """Bytes kept, all deployments together."""
        return sum(cache.size for _, cache in self._of.values())


def key_of(call: Call, whose: str, target: str) -> bytes:
    """The digest that an answer is kept under; `whose` is "" where callers share."""
    fields = _FIELDS.decode(call.content)
    read = sorted(each for each in call.caller.headers if each[0].startswith(_READ_UPSTREAM))
    decides = (whose, call.endpoint.name, target, read, sorted((name, bytes(raw)) for name, raw in fields.items()))
    return hashlib.sha256(msgspec.msgpack.encode(decides)).digest()


class _Sampling(msgspec.Struct):
    temperature: float | None = None
    seed: int | None = None


_SAMPLING = msgspec.json.Decoder(_Sampling)


def is_settled(call: Call, owned: bool) -> bool:
    """Whether the caller asks for the likeliest answer, or for the same one again: temperature 0, or a seed.

    An owned model that is told no temperature answers at 0; embeddings are never drawn.
    """
    if call.endpoint is EMBEDDINGS:
        return True
    try:
        asked = _SAMPLING.decode(call.content)
    except msgspec.MsgspecError:
        return False
    return asked.seed is not None or asked.temperature == 0 or (owned and asked.temperature is None)
