"""The last stage of a run: which of the measured models answer, under which public names, and on what evidence."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import msgspec

from freehold.evaluation.adapter_parity import Standing
from freehold.progress import Progress
from freehold.records import Candidate, Dataset, Decision, Row, Verdict
from freehold.spec import Task
from freehold.store import deployments, taints
from freehold.store.database import Store, connect
from freehold.store.deployments import AdapterTarget, Deployment, Target
from freehold.store.workspace import Workspace


@dataclass(frozen=True)
class Measured:
    """A candidate, its answers, and what serves it."""

    candidate: Candidate
    rows: Sequence[Row]
    target: Target | None


@dataclass
class Release:
    """`standings` says of each adapter's digest how it compares with its trainer; `refused` is told, while models are
    deployed, of each that may not answer and why.
    """

    workspace: Workspace
    task: Task
    dataset: Dataset
    standings: Mapping[str, Standing]
    progress: Progress
    refused: list[str] = field(default_factory=list)

    @cached_property
    def _store(self) -> Store:
        return connect(self.workspace.database_url)

    def deploy(self, measured: Sequence[Measured], decision: Decision) -> tuple[str, ...]:
        """Serve every candidate as `task:candidate`, and what a decision to switch names under the task's own name.

        Returns the public names, the task's own first.
        """
        evidence = {"dataset": self.dataset.digest, "decision": decision.digest, **decision.evidence}
        chosen = decision.candidate if decision.verdict is Verdict.SWITCH else None
        names = []
        for each in measured:
            if each.target is None or not self._may_answer(each):
                continue
            names.append(served_name(self.task.task, each.candidate))
            proof = evidence | self._proof(each.target)
            self._deploy(names[-1], each.target, proof, "measured")
            if each.candidate.name == chosen:
                self._deploy(self.task.task, each.target, proof, f"decision {decision.digest[:12]}")
                names.insert(0, self.task.task)
        return tuple(names)

    def _may_answer(self, each: Measured) -> bool:
        """Not where the engine answers unlike the trainer, unless the task file has the word for it."""
        standing = self._standing(each.target)
        if standing is None or standing.refusal is None:
            return True
        if self.task.deploy.parity == "warn":
            self.progress.say("parity", f"{each.candidate.name} is served all the same (deploy.parity: warn)")
            return True
        self.refused.append(
            f"{each.candidate.name} is not served: {standing.refusal} (deploy.parity: warn serves it all the same)"
        )
        return False

    def _standing(self, target: Target | None) -> Standing | None:
        return self.standings.get(target.adapter) if isinstance(target, AdapterTarget) else None

    def _proof(self, target: Target) -> dict[str, str]:
        """The comparison that a tuned model rests on."""
        standing = self._standing(target)
        return {"parity": standing.parity.digest} if standing else {}

    def _deploy(self, name: str, target: Target, evidence: dict[str, str], reason: str) -> None:
        """One deployment for a new decision; what a person chose since the last one (target, shares, bounds) stays."""
        deployment = Deployment(
            name=name,
            target=target,
            answer_type=self.task.answer_type,
            labels=self.dataset.labels,
            json_schema=self.dataset.json_schema,
            max_tokens=getattr(self.task.answer, "max_tokens", 256),
            evidence=evidence,
        )
        taints.require_deployable(self.workspace, deployment)
        standing = deployments.all_current(self._store).get(name)
        if standing is None:
            deployments.deploy(self._store, deployment, reason)
        elif standing.evidence.get("decision") != evidence["decision"]:
            mine = {"shares": standing.shares, "shadow": standing.shadow, "fallbacks": standing.fallbacks}
            kept = msgspec.structs.replace(deployment, bounds=standing.bounds, slo=standing.slo, **mine)
            if standing.cascade is not None and standing.cascade.of == target:  # its threshold is for this target alone
                kept = msgspec.structs.replace(kept, cascade=standing.cascade)
            deployments.deploy(self._store, kept, reason)


def served_name(task: str, candidate: Candidate) -> str:
    """The public model name of one candidate: `frontline-triage:tuned-smollm2-135m-instruct`."""
    return f"{task}:{re.sub(r'[^a-z0-9.]+', '-', candidate.name.lower()).strip('-')}"
