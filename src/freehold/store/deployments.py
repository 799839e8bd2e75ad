"""Deployments: a public model name and what stands behind it.

Every change is a row with its reason; the newest row of a name holds, and none is ever edited.
"""

import re
import time
from collections.abc import Callable
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec
from sqlalchemy import Engine, func, insert, literal, select

from freehold.errors import NotFoundError, UserError, did_you_mean
from freehold.records import AnswerType, Bounds, ConfidenceCurve, Pruning, Record, canonical, from_json
from freehold.render import Prompt
from freehold.store.guardrails import CacheRule, Guardrail
from freehold.store.schema import deployments

_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,256}")  # as a request may name it
_REFERENCE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}")


class AdapterTarget(Record, frozen=True, kw_only=True, tag="adapter"):
    """An adapter that was tuned here, on its base; `prompt` is the one that it was trained with."""

    base: str
    adapter: str
    prompt: Prompt


class BaseTarget(Record, frozen=True, kw_only=True, tag="base"):
    """A base as it is; without a `prompt` the caller's messages are all it sees."""

    base: str
    prompt: Prompt | None = None


class ClassifierTarget(Record, frozen=True, kw_only=True, tag="classifier"):
    """A plain classifier; `folder` is relative to the workspace, `pruning` what it was trained without."""

    digest: str
    folder: str
    pruning: Pruning | None = None


class RemoteTarget(Record, frozen=True, kw_only=True, tag="remote"):
    """A model behind an OpenAI-compatible address. `api_key` is only ever a reference, such as ${OPENAI_API_KEY}.

    `speaks`: what it is asked in passes as it came (`all`), or becomes a chat first, where it knows `chat` alone.
    """

    base_url: str
    model: str
    api_key: str | None = None
    speaks: Literal["all", "chat"] = "all"


class EmbedderTarget(Record, frozen=True, kw_only=True, tag="embedder"):
    """A base that turns texts into vectors."""

    base: str


Target = AdapterTarget | BaseTarget | ClassifierTarget | EmbedderTarget | RemoteTarget


class Share(Record, frozen=True, kw_only=True):
    """A target and the share of requests (0..1) that it gets."""

    target: Target
    share: float


class Cascade(Record, frozen=True, kw_only=True):
    """Which answers of the owned target `of` are sure enough to be given; the other requests go on to `to`.

    An answer is given where its confidence on the `curve` reaches `threshold`. Of `n` validation examples `kept` did,
    and `right` of those were right, which shows the `accuracy` that was asked for (share of 1).
    """

    of: Target
    to: Target
    curve: ConfidenceCurve
    threshold: float
    accuracy: float
    n: int
    kept: int
    right: int


class Objectives(Record, frozen=True, kw_only=True):
    """What a deployment's service should reach: the 95th percentile of latency, and the share (of 1) answered."""

    p95_ms: float | None = None
    availability: float | None = None


class Deployment(Record, frozen=True, kw_only=True):
    """What a public model name stands for.

    `shares` are canaries: what they leave goes to `target`, and a session stays where it is. `fallbacks` are tried in
    order where a target fails. `shadow` is asked in the background, and its answer only kept. `cascade` passes on the
    requests that the owned model is not sure of. `bounds` are those that send a canary back,
    `slo` is what the service should reach. `guardrails` are checked in order, `cache` answers equal requests.

    `answer_type`, `labels` and `json_schema` say what is decoded under: only a label, only JSON that fits, or free text
    where `answer_type` is None. `max_tokens` bounds an answer whose caller names no bound. `evidence` names by digest
    what the deployment rests on: dataset, report, decision.
    """

    name: str
    target: Target
    answer_type: AnswerType | None = None
    labels: tuple[str, ...] = ()
    json_schema: dict[str, Any] | None = None
    max_tokens: int = 256
    evidence: dict[str, str] = msgspec.field(default_factory=dict)
    shares: tuple[Share, ...] = ()
    fallbacks: tuple[Target, ...] = ()
    shadow: Share | None = None
    cascade: Cascade | None = None
    slo: Objectives | None = None
    bounds: Bounds = msgspec.field(default_factory=Bounds)
    guardrails: tuple[Guardrail, ...] = ()
    cache: CacheRule | None = None

    @property
    def targets(self) -> tuple[Target, ...]:
        """Every target, the main one first."""
        beside = (self.shadow.target,) if self.shadow else ()
        behind = (self.cascade.to,) if self.cascade else ()
        return (self.target, *(share.target for share in self.shares), *behind, *self.fallbacks, *beside)


def target_name(target: Target) -> str:
    """A target in few words."""
    if isinstance(target, AdapterTarget):
        return f"adapter {target.adapter[:12]} on {target.base}"
    if isinstance(target, BaseTarget):
        return f"base {target.base}"
    if isinstance(target, ClassifierTarget):
        return f"classifier {target.digest[:12]}"
    if isinstance(target, EmbedderTarget):
        return f"embedder {target.base}"
    return f"remote {target.base_url}#{target.model}"


def require_address(address: str, where: str) -> str:
    """An upstream's address, as it can be asked; raises `UserError` that names `where` it was written."""
    try:
        parts = urlsplit(address)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, brackets that do not close
        usable = False
    if not usable or re.search(r"[\s\x00-\x1f]", address):
        raise UserError(f"{where}: {address!r} is no address; write one such as https://api.openai.com/v1")
    return address


def require_reference(key: str | None, where: str) -> str | None:
    """The name of an environment variable that holds a key, as `${NAME}`; raises `UserError` for a literal key."""
    if key is not None and not _REFERENCE.fullmatch(key):
        what = "is a literal key; write a reference to the environment, such as '${OPENAI_API_KEY}'"
        raise UserError(f"{where} {what}")
    return key


def deploy(engine: Engine, deployment: Deployment, reason: str) -> int:
    """Let a name stand for this from now on; returns the row's id. Raises `UserError` for what cannot be a name."""
    if not _NAME.fullmatch(deployment.name):
        raise UserError(f"{deployment.name[:80]!r} cannot be a model's name: write 1 to 256 printable characters")
    row = {
        "name": deployment.name,
        "config": canonical(deployment).decode(),
        "reason": reason,
        "created_at": time.time_ns() // 1000,
    }
    with engine.begin() as connection:
        key = connection.execute(insert(deployments).values(row)).inserted_primary_key
    return int(key[0]) if key else 0


def deploy_after(engine: Engine, deployment: Deployment, reason: str, seen: int) -> bool:
    """As `deploy`, but only while the name's newest row is still the one that was seen; returns whether it was."""
    newest = select(func.max(deployments.c.id)).where(deployments.c.name == deployment.name).scalar_subquery()
    values = (deployment.name, canonical(deployment).decode(), reason, time.time_ns() // 1000)
    row = select(*(literal(value) for value in values)).where(newest == seen)
    with engine.begin() as connection:
        written = insert(deployments).from_select(["name", "config", "reason", "created_at"], row)
        return bool(connection.execute(written).rowcount)


def current(engine: Engine, name: str) -> Deployment:
    """What a name stands for; raises `NotFoundError` naming a near one."""
    everything = all_current(engine)
    if name not in everything:
        raise NotFoundError(f"no model is deployed as {name}{did_you_mean(name, everything)}")
    return everything[name]


class Row(Record, frozen=True, kw_only=True):
    """One row of a name's history: what it stood for from then on (microseconds since 1970, UTC), and why."""

    id: int
    created_at: int
    reason: str
    deployment: Deployment


def history(engine: Engine, name: str) -> list[Row]:
    """Everything that a name ever stood for, newest first."""
    query = select(deployments).where(deployments.c.name == name).order_by(deployments.c.id.desc())
    with engine.connect() as connection:
        return [
            Row(
                id=row["id"],
                created_at=row["created_at"],
                reason=row["reason"],
                deployment=from_json(row["config"], Deployment),
            )
            for row in connection.execute(query).mappings()
        ]


def canary_since(engine: Engine, name: str) -> int:
    """When a name's present canary began (microseconds since 1970, UTC): the first row that has its shares."""
    return _since(engine, name, lambda deployment: deployment.shares)


def cascade_since(engine: Engine, name: str) -> int:
    """When a name's present cascade began (microseconds since 1970, UTC): the first row that has it."""
    return _since(engine, name, lambda deployment: deployment.cascade)


def _since(engine: Engine, name: str, part: Callable[[Deployment], object]) -> int:
    query = select(deployments.c.config, deployments.c.created_at).where(deployments.c.name == name)
    with engine.connect() as connection:
        rows = connection.execute(query.order_by(deployments.c.id.desc())).all()
    began, newest = 0, None
    for at, (config, created_at) in enumerate(rows):
        found = part(from_json(config, Deployment))
        if at and found != newest:
            break
        began, newest = int(created_at), found
    return began


def all_current(engine: Engine) -> dict[str, Deployment]:
    """Every name and what it stands for, in the names' order."""
    newest = select(func.max(deployments.c.id)).group_by(deployments.c.name)
    query = select(deployments.c.config).where(deployments.c.id.in_(newest)).order_by(deployments.c.name)
    with engine.connect() as connection:
        found = [from_json(config, Deployment) for (config,) in connection.execute(query)]
    return {deployment.name: deployment for deployment in found}


def ever(engine: Engine) -> list[Deployment]:
    """Every deployment that is or was, oldest first."""
    query = select(deployments.c.config).order_by(deployments.c.id)
    with engine.connect() as connection:
        return [from_json(config, Deployment) for (config,) in connection.execute(query)]


def revision(engine: Engine) -> int:
    """A number that grows with every change to any deployment."""
    with engine.connect() as connection:
        return int(connection.execute(select(func.coalesce(func.max(deployments.c.id), 0))).scalar_one())
