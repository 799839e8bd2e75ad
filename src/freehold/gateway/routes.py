"""Which targets a request may go to, in order: its share's or the main target, then the deployment's fallbacks.

A name that is not deployed goes to the default upstream, where there is one.
"""

import contextlib
import hashlib
import logging
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import aiohttp

from freehold.errors import FreeholdError
from freehold.gateway.breaker import Breaker
from freehold.gateway.call import Call, Caller
from freehold.gateway.embeddings import EmbedderSource
from freehold.gateway.endpoints import CHAT
from freehold.gateway.faults import GatewayError
from freehold.gateway.http_client import HttpClient
from freehold.gateway.reload import To
from freehold.gateway.roster import Roster, Served
from freehold.gateway.rules import Rules
from freehold.gateway.sources import OwnedSource, Source, failed
from freehold.gateway.translate import check_sayable, spoken
from freehold.gateway.upstream import Upstream, resolved_key
from freehold.store.deployments import Deployment, EmbedderTarget, RemoteTarget, Target, target_name

log = logging.getLogger(__name__)

DEPLOYED_TRIES = 2  # the default upstream is tried once: its callers retry themselves, as they did before


@dataclass(slots=True)
class Route:
    """One target of a request. `priced_as` is the model that its price is listed under, None for an owned one."""

    source: Source
    breaker: Breaker
    priced_as: str | None
    tries: int = 1


@dataclass(slots=True)
class Plan:
    """The targets in the order in which they are tried, the one that is asked beside them, and what rules hold."""

    routes: list[Route]
    shadow: Route | None = None
    rules: Rules | None = None
    judges: dict[str, list[Route]] = field(default_factory=dict)


@dataclass(slots=True)
class Routes:
    """Makes the plan of a request. `upstream_key` is a reference, for callers with one of Freehold's own keys.

    `upstream_guardrails` names the deployment whose guardrails hold for what goes to the upstream.
    """

    roster: Roster
    http: aiohttp.ClientSession
    client: HttpClient
    upstream: str | None = None
    upstream_key: str | None = None
    upstream_guardrails: str | None = None
    _breakers: dict[str, Breaker] = field(default_factory=dict)
    _remotes: dict[tuple[str, str | None, str | None], Upstream] = field(default_factory=dict)

    def redirect(self, to: To) -> None:
        """Send what is not owned elsewhere from the next request on."""
        if (self.upstream, self.upstream_key) != (to.upstream, to.upstream_key):
            log.warning("what is not owned here goes to %s now", to.upstream or "no upstream")
        self.upstream, self.upstream_key = to.upstream, to.upstream_key
        self.upstream_guardrails = to.upstream_guardrails

    def plan(self, call: Call) -> Plan:
        """Where this request may go; raises where that is nowhere."""
        served = self.roster.served.get(call.model)
        if served is None:
            return self._judged(Plan([self._default(call)], rules=self._upstream_rules()))
        deployment = served.deployment
        first = chosen(deployment, call.caller.session or call.id)
        routes: list[Route] = []
        refused: FreeholdError | None = None
        for target in _ordered(deployment, first):
            try:
                routes.append(self._route(served, target, call))
            except FreeholdError as error:
                refused = refused or error
        if not routes:
            assert refused is not None
            raise failed(refused)
        return self._judged(Plan(routes, self._shadow(served, call), served.rules))

    def _judged(self, plan: Plan) -> Plan:
        """With the targets of the models that guardrails ask."""
        if plan.rules is not None and plan.rules.judges:
            plan.judges = {name: self._judge(name) for name in plan.rules.judges}
        return plan

    def _judge(self, name: str) -> list[Route]:
        served, asking = self.roster.served.get(name), Call("", CHAT, name, False, b"", Caller())
        routes: list[Route] = []
        if served is None:
            return routes
        for target in (served.deployment.target, *served.deployment.fallbacks):
            with contextlib.suppress(FreeholdError):  # the guardrail fails where none answers, and says so
                routes.append(self._route(served, target, asking))
        return routes

    def _upstream_rules(self) -> Rules | None:
        """A deployment's guardrails for what goes to the upstream; its cache is its own."""
        if self.upstream_guardrails is None:
            return None
        served = self.roster.served.get(self.upstream_guardrails)
        if served is None:
            what = f"{self.upstream_guardrails} is not deployed, and what goes to the upstream is guarded as it is"
            raise GatewayError(503, what, code="guardrail_failed")
        return served.rules.guarding if served.rules is not None else None

    def _shadow(self, served: Served, call: Call) -> Route | None:
        shadow = served.deployment.shadow
        if shadow is None or random.random() >= shadow.share:
            return None
        try:
            return self._route(served, shadow.target, call)
        except FreeholdError:
            return None  # the roster has logged why; a shadow never troubles the request that it stands beside

    def _route(self, served: Served, target: Target, call: Call) -> Route:
        name = f"{served.deployment.name}: {target_name(target)}"
        if isinstance(target, RemoteTarget):
            key = resolved_key(target.api_key)
            source: Source = self._remote(target.base_url, target.model, key)
            if target.speaks == "chat":
                check_sayable(call)
                source = spoken(source, call)
            return Route(source, self._breaker(source.name), target.model, DEPLOYED_TRIES)
        if isinstance(target, EmbedderTarget):
            return Route(EmbedderSource(name, served.embedder(target)), self._breaker(name), None)
        return Route(spoken(OwnedSource(name, served.respondent(target)), call), self._breaker(name), None)

    def _default(self, call: Call) -> Route:
        if self.upstream is None:
            raise self.roster.unknown(call.model)
        key = resolved_key(self.upstream_key) if call.caller.secret is None else None
        return Route(self._remote(self.upstream, None, key), self._breaker(self.upstream), call.model)

    def _remote(self, base_url: str, model: str | None, key: str | None) -> Upstream:
        """One address, model and key is one object: a request makes none of its own."""
        known = (base_url, model, key)
        if known not in self._remotes:
            self._remotes[known] = Upstream(base_url, self.client, model, key)
        return self._remotes[known]

    def _breaker(self, name: str) -> Breaker:
        return self._breakers.setdefault(name, Breaker())


def _ordered(deployment: Deployment, first: Target) -> Iterator[Target]:
    """Every target that may answer, each once; behind the one that a cascade watches comes the one it passes on to."""
    cascade, seen = deployment.cascade, []
    for target in (first, deployment.target, *deployment.fallbacks):
        behind = (cascade.to,) if cascade is not None and cascade.of == target else ()
        for each in (target, *behind):
            if each not in seen:
                seen.append(each)
                yield each


def chosen(deployment: Deployment, session: str) -> Target:
    """The target of a session: by hash, so that it stays there while the shares stay."""
    at = int.from_bytes(hashlib.sha256(f"{deployment.name}\0{session}".encode()).digest()[:8]) / 2**64
    for share in deployment.shares:
        at -= share.share
        if at < 0:
            return share.target
    return deployment.target
