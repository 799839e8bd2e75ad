"""What a deployment asks of each request beyond an answer: its guardrails and its cache, or nothing."""

from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from freehold.store.deployments import Deployment
from freehold.store.guardrails import MODEL, CacheRule, Guardrail


class Rules(msgspec.Struct, frozen=True):
    """The guardrails in their order, and the cache's rule; `judges` are the public names that guardrails ask."""

    deployment: Deployment
    before: tuple[Guardrail, ...]
    after: tuple[Guardrail, ...]
    cache: CacheRule | None
    judges: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether a stream must wait for its end: what was sent cannot be taken back."""
        return any(each.holds for each in self.after)

    @property
    def guarding(self) -> "Rules | None":
        """The same without the cache."""
        return replace(self, cache=None) if self.before or self.after else None


def rules_of(deployment: Deployment) -> Rules | None:
    """A deployment's rules; None where it has none, so that its requests pay nothing for them."""
    if not deployment.guardrails and deployment.cache is None:
        return None
    return Rules(
        deployment=deployment,
        before=_when(deployment.guardrails, "before"),
        after=_when(deployment.guardrails, "after"),
        cache=deployment.cache,
        judges=tuple(each.settings["model"] for each in deployment.guardrails if each.check == MODEL),
    )


def _when(guardrails: Sequence[Guardrail], when: str) -> tuple[Guardrail, ...]:
    return tuple(each for each in guardrails if each.when == when)
