"""Taking one person's data out again, everywhere in a workspace, with a certificate of what was done.

What held their words loses them: examples leave their id as a tombstone (so digests stay whole), recorded exchanges
their messages and answers, pages their quotations, cached answers and verdicts go. What was trained on them is marked,
and refused from then on. The pseudonym is remembered, so that a source file that still holds their rows does not bring
them back.
"""

from collections.abc import Iterable

import msgspec

from freehold.data import erasure, freeze
from freehold.data.subject import Subjects
from freehold.errors import NotFoundError
from freehold.records import AdapterManifest, Example, Record, Report, Split, digest
from freehold.store import backup, deployments, exchanges, stages, taints
from freehold.store.answers import Answers
from freehold.store.database import Store, connect
from freehold.store.layout import MANIFEST_FILE
from freehold.store.workspace import Workspace, read_record, write_record


class Retraining(Record, frozen=True, kw_only=True):
    """A tainted adapter, and what training it took: the best guess at what training it anew costs."""

    adapter: str
    base: str
    seconds: float
    examples_forgotten: int


class Certificate(Record, frozen=True, kw_only=True):
    """What was found and done. It names nobody: `subject` is the keyed hash.

    `retraining_seconds` is what training all that is tainted took when it was measured. `sources_to_clean` are lines of
    files outside the workspace, `journals_to_close` files that a running gateway still writes, and `backups_to_delete`
    were taken before: these are the user's to clean.
    """

    digest: str
    subject: str
    exchanges: tuple[str, ...]
    examples: dict[str, tuple[str, ...]]
    adapters: tuple[Retraining, ...]
    classifiers: tuple[str, ...]
    reports: tuple[str, ...]
    cached_answers: int
    deployments: tuple[str, ...]
    retraining_seconds: float
    sources_to_clean: tuple[str, ...]
    journals_to_close: tuple[str, ...]
    backups_to_delete: tuple[str, ...]


def forget(workspace: Workspace, subject: str) -> Certificate:
    """Forget a person, by the id that their rows carry; raises `NotFoundError` where nothing carries it.

    Marks come before the certificate, and the certificate before the erasures: should it stop between, what was
    trained is refused already, the data is still found, and the same command goes on.
    """
    subjects = Subjects(workspace)
    name = subjects.pseudonym(subject)
    again = subjects.pseudonym(name)  # of rows that were imported from what had been captured
    for each in (name, again):
        subjects.remember_to_forget(each)
    store = connect(workspace.database_url)
    try:
        return _forget(workspace, store, {subject, name, again}, name)
    finally:
        store.dispose()


def _forget(workspace: Workspace, store: Store, names: set[str], name: str) -> Certificate:
    found = {dataset: _examples_of(workspace, dataset, names) for dataset in freeze.datasets(workspace)}
    touched = {dataset: mine for dataset, mine in found.items() if mine}
    recorded = exchanges.of_subjects(store, names)
    if not touched and not recorded:
        raise NotFoundError("no exchange or example carries this subject; it will be left out of datasets from now on")
    reports = erasure.reports_on(workspace, touched)
    certificate = _certified(workspace, store, name, touched, recorded, reports)
    exchanges.erase(store, recorded)
    erasure.erase_examples(workspace, touched)
    return certificate


def _certified(
    workspace: Workspace,
    store: Store,
    name: str,
    touched: dict[str, list[Example]],
    recorded: list[str],
    reports: list[Report],
) -> Certificate:
    """Mark what was trained, drop cached answers, and write down what is about to be erased."""
    adapters = tuple(_taint_adapters(workspace, touched))
    classifiers = tuple(dict.fromkeys(_taint_classifiers(workspace, store, touched)))
    candidates = {figures.candidate.digest for report in reports for figures in report.figures}
    places = [each.origin for mine in touched.values() for each in mine]
    content = Certificate(
        digest="",
        subject=name,
        exchanges=tuple(recorded),
        examples={dataset: tuple(each.id for each in mine) for dataset, mine in touched.items()},
        adapters=adapters,
        classifiers=classifiers,
        reports=tuple(report.digest for report in reports),
        cached_answers=Answers(store).erase(candidates),
        deployments=tuple(_announce(store, {*(each.adapter for each in adapters), *classifiers})),
        retraining_seconds=_retraining(workspace, store, adapters, touched if classifiers else {}),
        sources_to_clean=tuple(sorted({place for place in places if ":" in place})),
        journals_to_close=tuple(sorted(path.name for path in (workspace.root / "journal").glob("*"))),
        backups_to_delete=tuple(dict.fromkeys(each.path for each in backup.listed(workspace))),
    )
    certificate = msgspec.structs.replace(content, digest=digest(content))
    write_record(workspace.root / "certificates" / f"forgotten-{certificate.digest[:12]}.json", certificate)
    return certificate


def _examples_of(workspace: Workspace, dataset: str, names: set[str]) -> list[Example]:
    return [each for each in freeze.examples(workspace, dataset) if each.subject in names]


def _trained_on(mine: Iterable[Example]) -> int:
    return sum(each.split is not Split.HELD_OUT for each in mine)


def _taint_adapters(workspace: Workspace, touched: dict[str, list[Example]]) -> Iterable[Retraining]:
    for path in sorted(workspace.adapters.glob(f"*/{MANIFEST_FILE}")):
        manifest = read_record(path, AdapterManifest)
        count = _trained_on(touched.get(manifest.dataset, ()))
        if count:
            taints.mark(
                workspace,
                taints.Taint(
                    digest=manifest.digest,
                    kind="adapter",
                    dataset=manifest.dataset,
                    examples=count,
                    seconds=manifest.seconds,
                ),
            )
            yield Retraining(
                adapter=manifest.digest, base=manifest.base, seconds=manifest.seconds, examples_forgotten=count
            )


def _taint_classifiers(workspace: Workspace, store: Store, touched: dict[str, list[Example]]) -> Iterable[str]:
    """Classifiers that stand, or stood, behind a deployment whose evidence is a touched dataset."""
    for deployment in deployments.ever(store):
        dataset = deployment.evidence.get("dataset", "")
        count = _trained_on(touched.get(dataset, ()))
        for target in deployment.targets if count else ():
            if isinstance(target, deployments.ClassifierTarget):
                taint = taints.Taint(digest=target.digest, kind="classifier", dataset=dataset, examples=count)
                taints.mark(workspace, taint)
                yield target.digest


def _retraining(
    workspace: Workspace, store: Store, adapters: Iterable[Retraining], of_classifiers: Iterable[str]
) -> float:
    """Seconds that tuning and the classifiers' training took, as they were measured."""
    tasks = {freeze.read(workspace, dataset).task for dataset in of_classifiers}
    found = (stages.finished(store, task).get("classifier") for task in tasks)
    return round(sum(each.seconds for each in adapters) + sum(each.seconds for each in found if each), 1)


def _announce(store: Store, tainted: set[str]) -> list[str]:
    """Write every deployment that stands on something tainted anew, so that a running gateway looks and refuses it."""
    names = []
    for name, deployment in deployments.all_current(store).items():
        digests = {getattr(target, "adapter", getattr(target, "digest", None)) for target in deployment.targets}
        if digests & tainted:
            deployments.deploy(store, deployment, "forgotten data: what it stands on is tainted")
            names.append(name)
    return names
