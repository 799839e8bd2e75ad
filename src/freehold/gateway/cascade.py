"""The confidence cascade: an owned model answers what it is sure of; the other requests go on to the incumbent.

How sure is sure enough is chosen on validation examples, asked on the way that requests take, and kept with the
deployment. How many requests are passed on is counted from the rows.
"""

from collections.abc import Sequence

from msgspec.structs import replace

from freehold.data import freeze
from freehold.errors import UserError
from freehold.evaluation import confidence
from freehold.evaluation.confidence import Graded
from freehold.evaluation.scorers.exact import exact_match
from freehold.evaluation.scorers.json_fields import canonical_match
from freehold.evaluation.statistics import wilson
from freehold.gateway.ask import ask_conversations
from freehold.gateway.backends import Backends
from freehold.gateway.chat import ChatRequest, Reply, Turn
from freehold.progress import Progress
from freehold.records import AnswerType, ConfidenceCurve, Example, Interval, Split
from freehold.store.database import Store
from freehold.store.deployments import (
    Cascade,
    Deployment,
    RemoteTarget,
    Target,
    all_current,
    cascade_since,
    target_name,
)
from freehold.store.traffic import escalation
from freehold.store.workspace import Workspace

_CONFIDENCE = 0.95


def choose(
    workspace: Workspace, backends: Backends, deployment: Deployment, to: Target, accuracy: float, progress: Progress
) -> tuple[Cascade, float]:
    """The cascade from a deployment to a target that keeps an accuracy, and its calibration's Brier score.

    Raises `UserError` where there is nothing to choose by, `UndeterminedError` where no threshold shows the accuracy.
    """
    examples = _validation(workspace, deployment, to)
    graded = _graded(workspace, backends, _open(deployment, to), examples, progress)
    curve = confidence.calibrate(graded)
    kept = confidence.keep(graded, accuracy, _CONFIDENCE)
    cascade = Cascade(
        of=deployment.target,
        to=to,
        curve=curve,
        threshold=curve.at(kept.confidence),
        accuracy=accuracy,
        n=kept.n,
        kept=kept.kept,
        right=kept.right,
    )
    return cascade, confidence.brier(graded, curve)


def expected(cascade: Cascade) -> Interval:
    """The share of requests that will be passed on, by the validation examples."""
    return wilson(cascade.n - cascade.kept, cascade.n)


def measured(store: Store, deployment: Deployment) -> Interval | None:
    """The share of requests that were passed on since the cascade began; None where there was none yet."""
    if deployment.cascade is None:
        return None
    owned = f"{deployment.name}: {target_name(deployment.cascade.of)}"
    seen = escalation(store, deployment.name, owned, cascade_since(store, deployment.name))
    return wilson(seen.escalated, seen.asked) if seen.asked else None


def all_measured(store: Store) -> dict[str, Interval]:
    """The share passed on by every deployment whose cascade was asked anything, by public name."""
    shares = {name: measured(store, each) for name, each in all_current(store).items()}
    return {name: share for name, share in shares.items() if share is not None}


def _open(deployment: Deployment, to: Target) -> Deployment:
    """The deployment with its confidence told, and nothing held back."""
    everything = Cascade(
        of=deployment.target, to=to, curve=ConfidenceCurve(), threshold=0.0, accuracy=0.0, n=0, kept=0, right=0
    )
    return replace(deployment, cascade=everything, shares=(), fallbacks=(), shadow=None)


def _validation(workspace: Workspace, deployment: Deployment, to: Target) -> list[Example]:
    name = deployment.name
    if deployment.answer_type not in (AnswerType.LABEL, AnswerType.JSON):
        raise UserError(f"{name} answers free text; a cascade is for answers of type label or json")
    if isinstance(deployment.target, RemoteTarget):
        raise UserError(f"{name} is answered by a remote model; a cascade begins with an owned one")
    if deployment.target == to:
        raise UserError(f"{name} stands for {target_name(to)} already; name another with --to")
    dataset = deployment.evidence.get("dataset", "-")
    if not freeze.path_of(workspace, dataset).is_file():
        raise UserError(f"{name} rests on no dataset that is here; `freehold run` makes one with validation examples")
    return freeze.examples(workspace, dataset, Split.VALIDATION)


def _graded(
    workspace: Workspace, backends: Backends, deployment: Deployment, examples: Sequence[Example], progress: Progress
) -> list[Graded]:
    same = canonical_match if deployment.answer_type is AnswerType.JSON else exact_match
    graded: list[Graded] = []
    chats = [_chat(deployment.name, example) for example in examples]
    with progress.step("validation", len(examples)) as step:

        def heard(reply: Reply) -> None:
            right = same(reply.text, examples[len(graded)].reference) == 1
            graded.append(Graded(confidence=reply.confidence or 0.0, right=right))
            step.advance()

        ask_conversations(workspace, backends, deployment, chats, heard)
    return graded


def _chat(name: str, example: Example) -> ChatRequest:
    return ChatRequest(model=name, messages=[Turn(role=each.role, content=each.content) for each in example.messages])
