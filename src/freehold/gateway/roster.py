"""Which public model name is answered by what, as the store says; followed while the gateway runs."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

import msgspec
from msgspec.structs import replace

from freehold.data.patterns import Patterns
from freehold.errors import FreeholdError, NotFoundError, did_you_mean
from freehold.gateway.children import Children, RunningChild
from freehold.gateway.classify import ClassifierModel, Predictor
from freehold.gateway.embedders import Embedders, RunningEmbedder, no_embedder
from freehold.gateway.faults import GatewayError
from freehold.gateway.owned import OwnedModel, Respondent
from freehold.gateway.placeholders import Placeholders
from freehold.gateway.rules import Rules, rules_of
from freehold.gateway.sure import Sure
from freehold.records import Base, Dataset
from freehold.render import Renderer
from freehold.store.database import Store
from freehold.store.deployments import (
    AdapterTarget,
    BaseTarget,
    ClassifierTarget,
    Deployment,
    EmbedderTarget,
    RemoteTarget,
    Target,
    all_current,
    revision,
    target_name,
)
from freehold.store.guardrails import Guardrail
from freehold.store.layout import BASE_FILE, DATASET_FILE
from freehold.store.taints import require_clean
from freehold.store.workspace import Workspace, read_record
from freehold.tuning.adapter import read_adapter

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0


Prepare = Callable[[list[Guardrail]], Awaitable[dict[str, str]]]
"""Makes guardrails' checks ready; why some cannot be, by guardrail name."""


class Served(msgspec.Struct, frozen=True):
    """A public name, what answers for each of its owned targets or why it cannot, and its rules where it has any."""

    deployment: Deployment
    answers: dict[Target, Respondent | FreeholdError]
    embedders: dict[Target, RunningEmbedder | FreeholdError] = {}
    rules: Rules | None = None

    def respondent(self, target: Target) -> Respondent:
        """What answers for an owned target; raises why it cannot."""
        found = self.answers[target]
        if isinstance(found, FreeholdError):
            raise found
        return found

    def embedder(self, target: EmbedderTarget) -> RunningEmbedder:
        """What embeds for a target; raises why it cannot."""
        found = self.embedders[target]
        if isinstance(found, FreeholdError):
            raise found
        return found


class Roster:
    """The served names. Replaced as a whole, so a request sees one state or the other."""

    def __init__(
        self,
        workspace: Workspace,
        store: Store,
        children: Children,
        load_classifier: Callable[[Path], Predictor],
        embedders: Embedders | None = None,
        prepare: Prepare | None = None,
    ) -> None:
        self._workspace = workspace
        self._store = store
        self._children = children
        self._load_classifier = load_classifier
        self._embedders = embedders or Embedders(no_embedder)
        self._prepare = prepare
        self._served: dict[str, Served] = {}
        self._revision = -1

    @property
    def names(self) -> list[str]:
        return sorted(self._served)

    @property
    def revision(self) -> int:
        """The newest row of the deployments that is followed."""
        return self._revision

    @property
    def served(self) -> dict[str, Served]:
        return self._served

    def unknown(self, name: str) -> GatewayError:
        near = did_you_mean(name, self._served)
        known = "" if near or not self._served else f"; there is {', '.join(self.names[:8])}"
        return GatewayError(
            404, f"the model {name!r} does not exist{near}{known}", code="model_not_found", param="model"
        )

    async def refresh(self) -> None:
        """Look at the store and follow what changed."""
        newest = await asyncio.to_thread(revision, self._store)
        if newest == self._revision:
            return
        await self.adopt(await asyncio.to_thread(all_current, self._store))
        self._revision = newest

    async def adopt(self, deployments: dict[str, Deployment]) -> None:
        """Serve exactly these. A target that cannot be served is kept with its reason."""
        every = {target for each in deployments.values() for target in each.targets}
        owned = {target for target in every if not isinstance(target, RemoteTarget | EmbedderTarget)}
        refused: dict[Target, FreeholdError] = {}
        for target in owned:
            try:
                await asyncio.to_thread(self._check, target)
            except FreeholdError as error:
                refused[target] = error
                log.error("%s is deployed but cannot be served: %s", target_name(target), error)
        children, failed = await self._children.want(needs_of(owned - refused.keys()))
        for target in owned - refused.keys():
            if isinstance(target, AdapterTarget | BaseTarget) and target.base in failed:
                refused[target] = failed[target.base]
                log.error("%s is deployed but cannot be served: %s", target_name(target), failed[target.base])
        embedders, vectors = await self._vectors(every)
        served = {}
        for name, deployment in deployments.items():
            wanted = [target for target in deployment.targets if target in owned]
            answers: dict[Target, Respondent | FreeholdError] = {
                t: refused.get(t) or await self._respondent(deployment, t, children) for t in wanted
            }
            served[name] = Served(deployment, answers, vectors, rules_of(deployment))
        await self._prepared(deployments)
        self._served = served
        self._children.keep_only(children)
        self._embedders.keep_only(embedders)

    async def _vectors(
        self, targets: Iterable[Target]
    ) -> tuple[dict[str, RunningEmbedder], dict[Target, RunningEmbedder | FreeholdError]]:
        """The embedders that must run, by base, and what embeds for each target or why it cannot."""
        wanted = [target for target in targets if isinstance(target, EmbedderTarget)]
        running, failed = await self._embedders.want(sorted({target.base for target in wanted}))
        for base, error in failed.items():
            log.error("%s is deployed but cannot be served: %s", base, error)
        return running, {target: running.get(target.base) or failed[target.base] for target in wanted}

    async def _prepared(self, deployments: dict[str, Deployment]) -> None:
        """Guardrails are made before they are served; one that cannot be fails at each request, as it says."""
        guardrails = [each for deployment in deployments.values() for each in deployment.guardrails]
        if self._prepare is not None:
            for name, why in (await self._prepare(guardrails)).items():
                log.error("the guardrail %s cannot be checked: %s", name, why)

    async def follow(self) -> None:
        """Refresh for ever."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                await self.refresh()
            except Exception as error:  # the store is down, in whatever words: what is served stays
                log.error("the deployments changed but cannot be followed: %s", error)

    async def _respondent(
        self, deployment: Deployment, target: Target, children: dict[str, RunningChild]
    ) -> Respondent | FreeholdError:
        try:
            plain: Respondent = await self._plain(deployment, target, children)
            if await asyncio.to_thread(self._learned_redacted, deployment):
                plain = Placeholders(plain, await asyncio.to_thread(Patterns, self._workspace.root))
            cascade = deployment.cascade
            return Sure(plain, cascade) if cascade is not None and cascade.of == target else plain
        except FreeholdError as error:
            log.error("%s is deployed but cannot be served: %s", target_name(target), error)
            return error

    async def _plain(
        self, deployment: Deployment, target: Target, children: dict[str, RunningChild]
    ) -> ClassifierModel | OwnedModel:
        if isinstance(target, ClassifierTarget):
            folder = self._workspace.root / target.folder
            return ClassifierModel(target, await asyncio.to_thread(self._load_classifier, folder))
        assert isinstance(target, AdapterTarget | BaseTarget)
        renderer = await asyncio.to_thread(Renderer, self._workspace.models / target.base)
        return OwnedModel(deployment, target, renderer, children[target.base])

    def _learned_redacted(self, deployment: Deployment) -> bool:
        """Whether the dataset that the deployment rests on holds placeholders; one that is gone is asked as it is."""
        record = self._workspace.datasets / deployment.evidence.get("dataset", "-") / DATASET_FILE
        return record.is_file() and read_record(record, Dataset).redacted

    def _check(self, target: Target) -> None:
        """Refuse an adapter that was made for another base or chat template, and what learned from forgotten data."""
        if isinstance(target, AdapterTarget | ClassifierTarget):
            learned = target.adapter if isinstance(target, AdapterTarget) else target.digest
            require_clean(self._workspace, learned)
        if not isinstance(target, AdapterTarget | BaseTarget):
            return
        require_base(self._workspace, target)
        folder = self._workspace.models / target.base
        if isinstance(target, AdapterTarget):
            standing = replace(read_record(folder / BASE_FILE, Base), template_digest=Renderer(folder).template.digest)
            read_adapter(self._workspace, target.adapter, standing)


def require_base(workspace: Workspace, target: AdapterTarget | BaseTarget) -> None:
    """Refuse a base that is not here, or that has lost the files that text becomes token ids by."""
    folder = workspace.models / target.base
    if not folder.is_dir():
        raise NotFoundError(f"{target.base} is not on this disk; `freehold pull {target.base}` fetches it")
    Renderer(folder)


def needs_of(targets: Iterable[Target]) -> dict[str, tuple[str, ...]]:
    """The bases that must run, each with the adapters deployed on it, in a fixed order."""
    needs: dict[str, set[str]] = {}
    for target in targets:
        if isinstance(target, AdapterTarget | BaseTarget):
            held = needs.setdefault(target.base, set())
            if isinstance(target, AdapterTarget):
                held.add(target.adapter)
    return {base: tuple(sorted(adapters)) for base, adapters in sorted(needs.items())}
