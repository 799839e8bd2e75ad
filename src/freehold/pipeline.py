"""The flow, readable in one go: from a task file to an owned, proven, served model.

Each stage is one call. What its digest says is done is not done again: data and tuning leave their results under the
workspace, and every answer of every candidate is kept in the store, so that `freehold run` after `kill -9` goes on
where it was.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import msgspec
import psutil

from freehold import plan
from freehold.catalogue import card, fit, gate, model, pull, rights, selection
from freehold.catalogue.rights import Behind
from freehold.data import build as data
from freehold.data import canaries, freeze, leakage
from freehold.decision import certificate, power
from freehold.engines.fits import OVERFLOWS_F16, shape_of
from freehold.engines.llamacpp import LlamaCpp, Settings
from freehold.engines.on_demand import OnDemand
from freehold.engines.quantise import Encoding, reencode
from freehold.engines.remote import Remote
from freehold.engines.ways import Served, served
from freehold.errors import EngineError, UserError
from freehold.evaluation import adapter_parity, beside, memorised, pins, report_html
from freehold.evaluation import report as reports
from freehold.evaluation.adapter_parity import Standing
from freehold.evaluation.answerers import (
    Answerer,
    ClassifierAnswerer,
    EngineAnswerer,
    RecordedAnswerer,
    RemoteAnswerer,
    with_labels,
)
from freehold.evaluation.benchmarks.continuations import Continuations
from freehold.evaluation.classifier import CLASSIFIER_FILE, Classifier
from freehold.evaluation.forgetting import sets
from freehold.evaluation.forgetting.changes import Room, Speaker, changes
from freehold.evaluation.measure import measure
from freehold.evaluation.prompted import careful_prompt, instruction
from freehold.evaluation.scorers import registry, similarity
from freehold.progress import Progress
from freehold.records import (
    AdapterManifest,
    AnswerType,
    Base,
    Candidate,
    CandidateKind,
    Change,
    Dataset,
    Decision,
    Example,
    Plan,
    Provenance,
    Report,
    Split,
    digest,
)
from freehold.release import Measured, Release
from freehold.render import Prompt, Renderer
from freehold.spec import Guard, Incumbent, LoraSettings, TaskFile, expand
from freehold.store import decisions, stages
from freehold.store.answers import Answers
from freehold.store.database import connect
from freehold.store.deployments import AdapterTarget, BaseTarget, ClassifierTarget, RemoteTarget, Target
from freehold.store.documents import Documents
from freehold.store.layout import (
    ADAPTER_GGUF,
    FAITHFUL,
    MANIFEST_FILE,
    SMALL,
    WIDE,
    encoded_file,
    passed,
)
from freehold.store.workspace import Workspace
from freehold.tuning import adapter, recipe
from freehold.tuning import search as searching
from freehold.tuning.search import Trial


@dataclass(frozen=True)
class Stage:
    """A finished stage: `message` is what came of it, `seconds` what it took this time."""

    name: str
    message: str
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """What a run came to. `served` are the public model names that now answer, the task's own first where it does;
    `refused` says of each model that may not answer why."""

    dataset: Dataset
    report: Report
    decision: Decision
    page: Path
    stages: tuple[Stage, ...]
    served: tuple[str, ...]
    refused: tuple[str, ...] = ()


def run(file: TaskFile, workspace: Workspace, progress: Progress) -> Outcome:
    """The whole flow, in order; raises the error of the first stage that cannot be carried out."""
    with workspace.exclusively(f"run-{file.task.task}"):
        flow = Flow(file, workspace, progress)
        dataset, bases = flow.prepare()
        flow.plan()
        flow.measure_incumbent()
        for base in bases:
            flow.measure_prompted(base)
        flow.measure_classifier()
        for base in bases:
            if isinstance(file.task.tune, LoraSettings):
                manifest = flow.tune(base)
                flow.measure_tuned(base, manifest)
                flow.parity(base, manifest)
                if file.task.guard:
                    flow.measure_changes(base, manifest)
        report, page = flow.report()
        decision = flow.decide(report)
        served = flow.deploy(decision)
        return Outcome(dataset, report, decision, page, tuple(flow.stages), served, tuple(flow.refused))


def tune(file: TaskFile, workspace: Workspace, progress: Progress) -> list[AdapterManifest]:
    """Only the tuning of each base, by the task file's recipe; what is done is not done again."""
    with _ready_to_tune(file, workspace, progress) as (flow, bases):
        return [flow.tune(base) for base in bases]


def search(file: TaskFile, workspace: Workspace, progress: Progress, count: int) -> dict[str, list[Trial]]:
    """Try `count` recipes on each base, by validation loss; returns each base's trials, the winner last."""
    with _ready_to_tune(file, workspace, progress) as (flow, bases):
        return {base.name: flow.search(base, count) for base in bases}


@contextmanager
def _ready_to_tune(file: TaskFile, workspace: Workspace, progress: Progress) -> Iterator[tuple["Flow", list[Base]]]:
    """The flow as far as tuning; raises `UserError` where the task file tunes nothing."""
    if not isinstance(file.task.tune, LoraSettings):
        raise UserError(f"{file.path}: tune.method is none: nothing is tuned; write lora or upper-lora")
    with workspace.exclusively(f"run-{file.task.task}"):
        flow = Flow(file, workspace, progress)
        _, bases = flow.prepare()
        yield flow, bases


def forgetting(file: TaskFile, workspace: Workspace, progress: Progress) -> list[Change]:
    """What tuning took from each base besides the task; tunes first where that is not done yet."""
    with _ready_to_tune(file, workspace, progress) as (flow, bases):
        return [change for base in bases for change in flow.measure_changes(base, flow.tune(base))]


class Flow:
    """One task on its way; each method is a stage, and says what came of it in one line."""

    def __init__(self, file: TaskFile, workspace: Workspace, progress: Progress) -> None:
        self._file, self._workspace, self._progress = file, workspace, progress
        self._task = file.task
        self._store = connect(workspace.database_url)
        self.stages: list[Stage] = []
        self._measured: list[Measured] = []
        self._manifests: list[AdapterManifest] = []
        self._changes: list[Change] = []
        self._standings: dict[str, Standing] = {}
        self.refused: list[str] = []

    # -- what there is to work with ------------------------------------------------------------------------------

    def prepare(self) -> tuple[Dataset, list[Base]]:
        """The dataset and the bases; no base is fetched before the gate has let it through."""
        dataset = self.data()
        names = self.candidates()
        self.rights(names)
        return dataset, self.pull(names)

    def candidates(self) -> tuple[str, ...]:
        """The bases that the task names, or that its filter finds in the catalogue."""
        names = self._task.candidates
        if isinstance(names, tuple):
            return names
        size = selection.count(names.max_params) if names.max_params else None
        wanted = selection.Filter(max_params=size, min_openness=names.min_openness, available=fit.available_bytes())
        found = [
            each.name
            for each in selection.select(model.known(self._workspace).values(), wanted)
            if each.kind == "chat" and each.files
        ]
        if not found:
            raise UserError("candidates: no model of the catalogue that fits this machine satisfies the filter")
        return tuple(found)

    def pull(self, names: Sequence[str]) -> list[Base]:
        """The bases, each fetched and checked against its digest, and re-encoded for serving."""
        bases = []
        for name in names:
            began = time.monotonic()
            fit.require(name, workspace=self._workspace)
            base = pull.pull(name, self._workspace, self._progress)
            self._served(base)
            source = f"{base.weights.size / 1e6:,.0f} MB   {base.weights.source}, digest verified"
            self._say("pull", f"{base.name}   {source}", began)
            bases.append(base)
        if similarity.NAME in self._task.scorers:
            pull.pull(similarity.MODEL, self._workspace, self._progress)
        return bases

    def data(self) -> Dataset:
        """The dataset, frozen; read anew only where the source or the task's wording of it changed."""
        began = time.monotonic()
        inputs = data.inputs(self._file, self._workspace)

        def built() -> str:
            return data.build(self._file, self._workspace, self._progress).digest

        output = self._stage("data", inputs, lambda each: freeze.path_of(self._workspace, each), built)
        dataset = freeze.read(self._workspace, output)
        self._dataset, self._task = dataset, with_labels(self._task, dataset.labels)
        self._say("data", data.summary(dataset), began)
        return dataset

    def rights(self, names: Sequence[str]) -> None:
        """The gate: nothing is fetched, tuned or deployed that the licence forbids for this use, or leaves unknown."""
        for name in names:
            began = time.monotonic()
            verdict = rights.check(name, self._task.use, self._behind(), self._workspace)
            passage = gate.passed(verdict, self._name, self._task.use, self._workspace)
            self._say("rights", f"{name}   {passage.sentence}", began)

    def plan(self) -> Plan:
        """What is fixed before any result is seen; stops where the held-out examples are hopelessly few."""
        self._plan = plan.of_task(self._task)
        registry.check(self._task, self._workspace.models)
        incumbent = self._task.incumbent
        if incumbent and incumbent.base_url and incumbent.api_key:
            expand(incumbent.api_key)  # a key that is not set is better said now than after an hour of tuning
        power.require(self._dataset.counts[Split.HELD_OUT], self._plan)
        return self._plan

    # -- candidates ----------------------------------------------------------------------------------------------

    def measure_incumbent(self) -> None:
        """The model that answers today: as it is on record to have answered, else asked now."""
        incumbent = self._task.incumbent
        if incumbent is None:
            return
        recorded = [example for example in self._held_out if example.incumbent_answer is not None]
        if recorded:
            answerer: Answerer = RecordedAnswerer(recorded)
            identity = digest([incumbent.model, [example.incumbent_answer for example in recorded]])
        elif incumbent.base_url:
            prompt = Prompt(system=instruction(self._task))
            key = expand(incumbent.api_key) if incumbent.api_key else None
            answerer = RemoteAnswerer(Remote(incumbent.model, incumbent.base_url, key), prompt, self._task)
            identity = digest([incumbent.model, incumbent.base_url, prompt])
        else:
            return
        candidate = Candidate(name=incumbent.model, kind=CandidateKind.INCUMBENT, digest=identity)
        try:
            self._measure(candidate, answerer, _rented(incumbent), recorded or None)
        except EngineError as error:
            self._progress.say("incumbent", f"cannot be reached, and is left out of the comparison: {error}")

    def measure_prompted(self, base: Base) -> None:
        """The base as a careful person would prompt it."""
        renderer = self._renderer(base)
        worded = careful_prompt(self._task, self._examples_of(Split.TRAIN), renderer, base.context_length)
        prompt = msgspec.structs.replace(worded, pruning=self._dataset.pruning)
        candidate = Candidate(
            name=f"prompted {base.name}",
            kind=CandidateKind.PROMPTED,
            digest=digest(["prompted", base.digest, prompt, self._engine_version(base)]),
            base=base.name,
            parameters=base.parameters,
        )
        with self._engine(base) as engine:
            answerer = EngineAnswerer(engine, renderer, prompt, self._task, concurrency=_children())
            self._measure(candidate, answerer, BaseTarget(base=base.name, prompt=prompt))

    def measure_classifier(self) -> None:
        """A plain classifier, because an honest tool says when a language model is not needed."""
        if self._task.answer_type is not AnswerType.LABEL:
            return
        train = self._examples_of(Split.TRAIN)
        inputs = digest(["classifier", self._dataset.digest, self._task.seed])
        folders = self._workspace.root / "classifiers"

        def trained() -> str:
            texts, answers = [each.text for each in train], [each.reference for each in train]
            classifier = Classifier.train(texts, answers, self._task.seed)
            classifier.save(folders / classifier.digest)
            return classifier.digest

        output = self._stage("classifier", inputs, lambda each: folders / each / CLASSIFIER_FILE, trained)
        classifier = Classifier.load(folders / output)
        candidate = Candidate(
            name="classifier (tf-idf)",
            kind=CandidateKind.CLASSIFIER,
            digest=classifier.digest,
            parameters=classifier.parameters,
        )
        target = ClassifierTarget(
            digest=classifier.digest, folder=f"classifiers/{classifier.digest}", pruning=self._dataset.pruning
        )
        self._measure(candidate, ClassifierAnswerer(classifier), target)

    def tune(self, base: Base) -> AdapterManifest:
        """An adapter on the base; goes on from its last checkpoint where it was interrupted."""
        began = time.monotonic()
        memorised.keep_rule(self._workspace, self._name, self._task.export.memorised)
        tuning = self._tuning(base)

        def tuned() -> str:
            return adapter.tune(tuning, self._examples, self._workspace, self._progress).digest

        adapters = self._workspace.adapters
        output = self._stage(f"tune {base.name}", tuning.digest, lambda each: adapters / each / MANIFEST_FILE, tuned)
        manifest = adapter.read_adapter(self._workspace, output, base)
        folder = self._workspace.adapters / manifest.digest
        card.write(folder, manifest, self._task.use, self._behind(), self._workspace)
        self._manifests.append(manifest)
        last = manifest.losses[-1]
        self._say(
            "tune",
            f"{base.name}   loss {last.train:.2f} (val {last.validation or 0:.2f})   best at step {manifest.best_step} "
            f"of {last.step}   {manifest.tokens_per_second:,.0f} tok/s",
            began,
        )
        return manifest

    def search(self, base: Base, count: int) -> list[Trial]:
        """Other recipes than the task file's, compared on the validation examples."""
        return searching.search(self._tuning(base), self._examples, self._workspace, count, self._progress)

    def _tuning(self, base: Base) -> adapter.Tuning:
        assert isinstance(self._task.tune, LoraSettings)
        chosen, _ = recipe.choose(self._task.tune, self._dataset.counts[Split.TRAIN], len(self._dataset.labels))
        return adapter.Tuning(base, self._dataset, self._short_prompt, chosen, self._task.seed)

    def measure_tuned(self, base: Base, manifest: AdapterManifest) -> None:
        """The tuned model, through the engine that will serve it."""
        prompt = self._short_prompt
        candidate = Candidate(
            name=f"tuned {base.name}",
            kind=CandidateKind.TUNED,
            digest=digest(["tuned", manifest.digest, self._engine_version(base)]),
            base=base.name,
            adapter=manifest.digest,
            parameters=base.parameters,
        )
        path = self._workspace.adapters / manifest.digest / ADAPTER_GGUF
        with self._engine(base, {manifest.digest: path}) as engine:
            answerer = EngineAnswerer(
                engine, self._renderer(base), prompt, self._task, adapter=manifest.digest, concurrency=_children()
            )
            target = AdapterTarget(base=base.name, adapter=manifest.digest, prompt=prompt)
            self._measure(candidate, answerer, target)

    def parity(self, base: Base, manifest: AdapterManifest) -> Standing:
        """Whether the engine answers as the trainer did: found out before a deployment, once for what serves it."""
        began = time.monotonic()
        standing = adapter_parity.before_deployment(self._workspace, manifest, self._progress)
        self._standings[manifest.digest] = standing
        found = standing.figures
        said = f"{found.agreement.value:.1%} of {found.agreement.n} answers are the trainer's, drift {found.drift} nats"
        self._say("parity", f"{base.name}   {standing.refusal or said}", began)
        return standing

    def measure_changes(self, base: Base, manifest: AdapterManifest) -> tuple[Change, ...]:
        """What tuning took away besides the task: the base and the tuned model on the same prompts."""
        began = time.monotonic()
        guard = self._task.guard or Guard()
        asked = sets.sets(self._file.resolve(guard.questions) if guard.questions else None)
        folder, adapters = self._workspace.models / base.name, self._workspace.adapters / manifest.digest
        with self._engine(base, {manifest.digest: adapters / ADAPTER_GGUF}) as engine:
            identity = (base.digest, self._engine_version(base))
            before = Speaker(base.name, identity, engine, None, Continuations(folder))
            tuned, scores = (*identity, manifest.digest), Continuations(folder, adapters)
            after = Speaker(f"tuned {base.name}", tuned, engine, manifest.digest, scores)
            room = Room(self._renderer(base), Answers(self._store), self._progress, _children())
            found = changes(after.name, before, after, asked, room)
        self._changes += found
        lost = " · ".join(f"{each.what.value} {each.lost.value:+.1%}" for each in found)
        self._say("guard", f"{base.name}   lost: {lost}", began)
        return found

    # -- proof ---------------------------------------------------------------------------------------------------

    def report(self) -> tuple[Report, Path]:
        """All candidates on the same held-out examples: JSON for machines, one HTML file for people."""
        measured = [(each.candidate, each.rows) for each in self._measured]
        others = [example for example in self._examples if example.split is not Split.HELD_OUT]
        leaks = len(leakage.leaks(self._held_out, others))
        checks = reports.Checks(leaks, tuple(self._changes), pins.read(self._workspace, self._name))
        report = reports.build(self._task, self._dataset, measured, self._held_out, checks)
        for each in report.pins:
            self._progress.say("pins", f"{each.candidate}   {each.holds} hold, {len(each.broken)} broken")
        rows = {each.candidate.digest: each.rows for each in self._measured}
        page = report_html.page(report, rows, self._held_out, self._task, self._manifests)
        path = reports.keep(self._workspace, report, measured, page)
        Documents(self._store).add("report", report.digest, self._name)
        return report, path

    def decide(self, report: Report) -> Decision:
        """Switch, keep, or need more data; the same evidence under the same plan is not decided twice."""
        known = [each for _, each in decisions.every(self._workspace, self._store, self._name)]

        def decided() -> str:
            rows = {each.candidate.digest: each.rows for each in self._measured}
            decision = certificate.decide(report, rows, self._plan, self._held_out, known)
            decisions.keep(self._workspace, self._store, decision)
            return decision.digest

        inputs = digest([report.digest, self._plan])
        output = self._stage("decision", inputs, lambda each: decisions.path_of(self._workspace, each, "json"), decided)
        return decisions.read(self._workspace, output)

    def deploy(self, decision: Decision) -> tuple[str, ...]:
        """Serve what was measured and may answer; returns the public names, the task's own first."""
        release = Release(self._workspace, self._task, self._dataset, self._standings, self._progress)
        names = release.deploy(self._measured, decision)
        self.refused += release.refused
        return names

    # -- what the stages share -----------------------------------------------------------------------------------

    @cached_property
    def _examples(self) -> list[Example]:
        return freeze.examples(self._workspace, self._dataset.digest)

    @cached_property
    def _held_out(self) -> list[Example]:
        return self._examples_of(Split.HELD_OUT)

    @property
    def _short_prompt(self) -> Prompt:
        """How a tuned model is asked: the description alone, without what every recorded request said the same."""
        return Prompt(system=self._task.description, pruning=self._dataset.pruning)

    @property
    def _name(self) -> str:
        return self._task.task

    def _behind(self) -> Behind:
        """What else stands behind a tuned model, beside its base."""
        contract = self._task.incumbent.training_allowed_by if self._task.incumbent else None
        return Behind(teacher=self._teacher(), contract=contract or "")

    def _teacher(self) -> str | None:
        """The rented model whose answers would be trained on, where any would be."""
        own = {Provenance.INCUMBENT, Provenance.ACCEPTED}
        taught = any(example.provenance in own for example in self._examples_of(Split.TRAIN))
        return self._task.incumbent.model if taught and self._task.incumbent else None

    def _examples_of(self, split: Split) -> list[Example]:
        """Examples that people wrote: planted secrets are for tuning alone."""
        return [example for example in self._examples if example.split is split and not canaries.planted(example)]

    def _renderer(self, base: Base) -> Renderer:
        return Renderer(self._workspace.models / base.name)

    def _engine(self, base: Base, adapters: Mapping[str, Path] | None = None) -> OnDemand:
        """A child of one thread a core, each asked one question at a time: beside others in a batch an answer is
        computed in another order, which rounds differently and flips near-ties, and the same inputs would give another
        report (invariant 7)."""
        found, context = self._served(base), min(base.context_length, 2048)
        settings = Settings(slots=1, children=_children(), threads=1, context=context, program=found.program)
        return OnDemand(LlamaCpp(found.weights, adapters, settings))

    def _served(self, base: Base) -> Served:
        """The base as it is served: in the encoding that was chosen, else in one that answers as the trainer."""
        folder = self._workspace.models / base.name
        found = passed(folder)
        encoding = found.encodings[0] if found else _faithful(base, folder / base.weights.name)
        target = folder / encoded_file(encoding)
        if not target.exists():
            with self._progress.step("re-encode"):
                reencode(folder / base.weights.name, target, msgspec.convert(encoding, Encoding))
        return served(folder, self._workspace.benches)

    def _engine_version(self, base: Base) -> str:
        found = self._served(base)
        return f"{found.build} {found.weights.name}"

    def _stage(self, name: str, inputs: str, kept: Callable[[str], Path], work: Callable[[], str]) -> str:
        """The stage's output: on record for these inputs, or worked out now and recorded.

        `kept` says where an output's record lies: one that was deleted is made again.
        """
        found = stages.finished(self._store, self._name).get(name)
        if found is not None and found.inputs == inputs and kept(found.output).exists():
            return found.output
        began = time.monotonic()
        output = work()
        stages.finish(self._store, self._name, name, inputs, output, time.monotonic() - began)
        return output

    def _measure(
        self,
        candidate: Candidate,
        answerer: Answerer,
        target: Target | None,
        examples: Sequence[Example] | None = None,
    ) -> None:
        began = time.monotonic()
        examples = self._held_out if examples is None else examples
        asked = measure(candidate, answerer, examples, self._task, Answers(self._store), self._progress)
        rows = beside.scored(asked, examples, self._task, self._workspace.models)
        self._measured.append(Measured(candidate, rows, target))
        self._say(candidate.kind.value, f"held-out {len(rows):,}/{len(self._held_out):,}   {candidate.name}", began)

    def _say(self, name: str, message: str, began: float) -> None:
        seconds = time.monotonic() - began
        self.stages.append(Stage(name, message, round(seconds, 1)))
        self._progress.say(name, f"{message}   {seconds:,.0f} s")


def _rented(incumbent: Incumbent) -> Target | None:
    """What stands behind the incumbent's name: its own address, the key as a reference."""
    if incumbent.base_url is None:
        return None
    return RemoteTarget(base_url=incumbent.base_url, model=incumbent.model, api_key=incumbent.api_key)


def _children() -> int:
    """How many questions are asked at once: one a core, and no more than memory is good for."""
    return min(os.cpu_count() or 1, 8)


def _faithful(base: Base, weights: Path) -> str:
    """The encoding that answers as the trainer (docs/export.md), where it takes a quarter of the memory at most."""
    if 2 * base.parameters > psutil.virtual_memory().total / 4:
        return SMALL
    return WIDE if shape_of(weights).architecture.startswith(OVERFLOWS_F16) else FAITHFUL
