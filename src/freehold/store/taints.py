"""What was trained on data that has since been forgotten: it must not be deployed, and its mark says why."""

from freehold.errors import RefusedError
from freehold.records import Record
from freehold.store.deployments import AdapterTarget, ClassifierTarget, Deployment
from freehold.store.workspace import Workspace, read_record, write_record

_FOLDER = "tainted"


class Taint(Record, frozen=True, kw_only=True):
    """The mark on an adapter or classifier: the dataset it learned from, and how many of its examples are forgotten.

    `seconds` is what training it took, as it was measured: what training it anew costs.
    """

    digest: str
    kind: str
    dataset: str
    examples: int
    seconds: float = 0.0


def mark(workspace: Workspace, taint: Taint) -> None:
    """Mark something as tainted, for good."""
    write_record(workspace.root / _FOLDER / f"{taint.digest}.json", taint)


def require_clean(workspace: Workspace, digest: str) -> None:
    """Raise `RefusedError` where an adapter or classifier is tainted."""
    path = workspace.root / _FOLDER / f"{digest}.json"
    if path.exists():
        taint = read_record(path, Taint)
        took = f" (this one took {taint.seconds:,.0f} s)" if taint.seconds else ""
        raise RefusedError(
            f"{taint.kind} {digest[:12]} learned from {taint.examples} examples that were forgotten since; "
            f"`freehold run` trains one without them{took}"
        )


def require_deployable(workspace: Workspace, deployment: Deployment) -> None:
    """Raise `RefusedError` where something that a deployment would stand on is tainted."""
    for target in deployment.targets:
        if isinstance(target, AdapterTarget | ClassifierTarget):
            require_clean(workspace, target.adapter if isinstance(target, AdapterTarget) else target.digest)
