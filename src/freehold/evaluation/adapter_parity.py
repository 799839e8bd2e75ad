"""The ways in which one adapter can be served here, each compared with the trainer on its own held-out data."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import msgspec

from freehold.data import freeze
from freehold.engines import environments
from freehold.engines.adapters import adapter_sha256
from freehold.engines.engine import Constraint, JsonSchema, Labels
from freehold.engines.llamacpp import LlamaCpp, Settings
from freehold.engines.merge import merge
from freehold.engines.native import preferred
from freehold.engines.quantise import ENCODINGS, Encoding
from freehold.engines.ways import served
from freehold.errors import DataError, UserError, did_you_mean
from freehold.evaluation.parity import (
    LEAST_AGREEMENT,
    EngineVoice,
    Figures,
    Parity,
    Question,
    Voice,
    Way,
    compare,
    fastest,
    keep,
    kept,
    named,
    refusal,
    started,
)
from freehold.evaluation.prompted import JSON_TOKENS, LABEL_SPARE
from freehold.evaluation.trainer_voice import TrainerVoice
from freehold.progress import Progress
from freehold.records import AdapterManifest, AnswerType, Base, Dataset, Interval, Split, digest
from freehold.render import Prompt, Renderer
from freehold.store.layout import ADAPTER_GGUF, BASE_FILE, serving_weights
from freehold.store.workspace import Workspace, read_record
from freehold.tuning.adapter import read_adapter

SERVED = "adapter as served"
WHEEL, NATIVE, VLLM = "wheel", "native", "vllm"
ENGINES = (WHEEL, NATIVE, VLLM)
MOST_DRIFT, MOST_DRIFT_OF_LABELS = 0.1, 0.5  # nats, on the mean
_BEFORE_DEPLOYMENT = ".served"
_LABELLED_EXAMPLES, _FREE_EXAMPLES = 100, 20  # before a deployment: bounded, so that a run stays short
USUAL: tuple[Encoding, ...] = ("F16", "Q8_0", "Q4_K_M", "Q4_0")
_TEXT_TOKENS = 64  # of a free answer: where two ways part, they part early


def merged_name(encoding: Encoding) -> str:
    """What a merged copy is called among the ways."""
    return f"merged {encoding}"


@dataclass(frozen=True)
class Bench:
    """One adapter, and what it is compared on: at most `most` held-out examples."""

    workspace: Workspace
    manifest: AdapterManifest
    base: Base
    most: int = 200

    def compare(self, encodings: Sequence[Encoding], progress: Progress, engines: Sequence[str] = ()) -> Parity:
        """The adapter as it is served, in each of `engines`, and a merged copy in each encoding.

        Raises `DataError` without held-out data.
        """
        trainer = Way("trainer", self._trainer)
        ways = [
            Way(SERVED, self._served),
            *(Way(name, self._engine(name)) for name in engines),
            *(Way(merged_name(each), self._merged_in(each)) for each in encodings),
        ]
        questions = self._questions()
        if not questions:
            raise DataError(f"dataset {self.manifest.dataset[:12]} has no held-out example to compare on")
        found = Parity(
            digest="",
            task=self.manifest.task,
            adapter=self.manifest.digest,
            dataset=self.manifest.dataset,
            examples=len(questions),
            ways=compare(trainer, ways, questions, progress),
            setting=setting(self.workspace, self.base),
        )
        return named(found)

    @property
    def _base_folder(self) -> Path:
        return self.workspace.models / self.base.name

    @property
    def _adapter_folder(self) -> Path:
        return self.workspace.adapters / self.manifest.digest

    @property
    def _dataset(self) -> Dataset:
        return freeze.read(self.workspace, self.manifest.dataset)

    def _questions(self) -> list[Question]:
        prompt, renderer = msgspec.convert(self.manifest.render, Prompt), Renderer(self._base_folder)
        held_out = freeze.examples(self.workspace, self.manifest.dataset, Split.HELD_OUT)
        chosen = sorted(held_out, key=lambda each: each.id)[: self.most]
        asked = [(each.id, prompt.messages(each.messages)) for each in chosen]
        return [Question(example, messages, renderer.ids(messages)) for example, messages in asked]

    def _max_tokens(self, renderer: Renderer) -> int:
        dataset = self._dataset
        if dataset.answer_type is AnswerType.LABEL:
            return max(len(renderer.encode(label)) for label in dataset.labels) + LABEL_SPARE
        return JSON_TOKENS if dataset.answer_type is AnswerType.JSON else _TEXT_TOKENS

    def _constraint(self) -> Constraint | None:
        dataset = self._dataset
        if dataset.answer_type is AnswerType.LABEL:
            return Labels(labels=dataset.labels)
        return JsonSchema(json_schema=dataset.json_schema) if dataset.json_schema else None

    @contextmanager
    def _trainer(self) -> Iterator[Voice]:
        labels = self._dataset.labels if self._dataset.answer_type is AnswerType.LABEL else ()
        most = self._max_tokens(Renderer(self._base_folder))
        yield TrainerVoice(self._base_folder, self._adapter_folder, self.manifest, labels, most)

    @contextmanager
    def _served(self) -> Iterator[Voice]:
        """As the gateway serves it for good: beside its base, or merged into a copy, made where there is none."""
        found = served(self._base_folder, self.workspace.benches)
        copies, path = found.copies(self._base_folder), self._adapter_folder / ADAPTER_GGUF
        if copies is None:
            opened = self._beside(found.program, found.weights)
        else:
            copy = copies.of(adapter_sha256(self.manifest.digest, path), path)
            opened = self._voice(copy.path, {}, None, found.program)
        with opened as voice:
            yield voice

    @contextmanager
    def _beside(self, program: str | None, weights: Path | None = None) -> Iterator[Voice]:
        """The adapter beside its base, in a native server or in the wheel's."""
        name, path = self.manifest.digest, self._adapter_folder / ADAPTER_GGUF
        weights = weights or serving_weights(self._base_folder)
        with self._voice(weights, {name: path}, name, program) as voice:
            yield voice

    def _engine(self, name: str) -> Callable[[], AbstractContextManager[Voice]]:
        """What opens one of `ENGINES`."""
        if name == VLLM:
            return self._vllm
        server = environments.native_server() if name == NATIVE else None
        return lambda: self._beside(str(server) if server else None)

    @contextmanager
    def _vllm(self) -> Iterator[Voice]:
        """The adapter as PEFT's safetensors beside the base as safetensors."""
        from freehold.engines.vllm import Vllm, VllmSettings
        from freehold.tuning.hub_folder import write_hub_folder

        renderer, name = Renderer(self._base_folder), self.manifest.digest
        with tempfile.TemporaryDirectory(dir=self.workspace.root, prefix=".parity.") as folder:
            write_hub_folder(self._base_folder / self.base.weights.name, self._base_folder, Path(folder))
            settings = VllmSettings(slots=1, context=min(self.base.context_length, 2048), adapters=1)
            with started(Vllm(Path(folder), {name: self._adapter_folder}, settings)) as engine:
                yield EngineVoice(engine, renderer, self._max_tokens(renderer), self._constraint(), name)

    def _merged_in(self, encoding: Encoding) -> Callable[[], AbstractContextManager[Voice]]:
        @contextmanager
        def opened() -> Iterator[Voice]:
            with tempfile.TemporaryDirectory(dir=self.workspace.root, prefix=".parity.") as folder:
                target = Path(folder) / "merged.gguf"
                merge(self._base_folder / self.base.weights.name, self._adapter_folder / ADAPTER_GGUF, target, encoding)
                with self._voice(target, {}, None) as voice:
                    yield voice

        return opened

    @contextmanager
    def _voice(
        self, weights: Path, adapters: dict[str, Path], adapter: str | None, program: str | None = None
    ) -> Iterator[Voice]:
        renderer = Renderer(self._base_folder)
        settings = Settings(slots=1, context=min(self.base.context_length, 2048), program=program)
        with started(LlamaCpp(weights, adapters, settings)) as engine:
            yield EngineVoice(engine, renderer, self._max_tokens(renderer), self._constraint(), adapter)


def setting(workspace: Workspace, base: Base) -> str:
    """What a base's adapters are served with now: the base, its encoding, and the engine."""
    found = served(workspace.models / base.name, workspace.benches)
    engine = f"native {Path(found.program).stat().st_size}" if found.program else f"xllamacpp {version('xllamacpp')}"
    return digest([base.digest, found.weights.name, engine, *(["merged"] if found.merges else [])])


def engines_here() -> tuple[str, ...]:
    """The engines of `ENGINES` that are installed here."""
    found = {
        WHEEL: True,
        NATIVE: environments.native_server() is not None,
        VLLM: environments.vllm_python() is not None,
    }
    return tuple(name for name in ENGINES if found[name])


def engines_unserved(workspace: Workspace) -> tuple[str, ...]:
    """Those that are installed and that the gateway does not use here."""
    used = NATIVE if preferred(workspace.benches) else WHEEL
    return tuple(each for each in engines_here() if each != used)


def engines_of(text: str) -> tuple[str, ...]:
    """Engines from a list with commas; raises `UserError` for one that there is not, or not here."""
    names = [each.strip() for each in text.split(",") if each.strip()]
    wrong = next((each for each in names if each not in ENGINES), None)
    if wrong is not None:
        raise UserError(f"{wrong}: no such engine{did_you_mean(wrong, ENGINES)}; there are {', '.join(ENGINES)}")
    missing = next((each for each in names if each not in engines_here()), None)
    if missing is not None:
        raise UserError(f"{missing} is not installed here; `freehold engines` prints the line that installs it")
    return tuple(each for each in ENGINES if each in names)


def encodings_of(text: str) -> tuple[Encoding, ...]:
    """Encodings from a list with commas; raises `UserError` for one that there is not."""
    names = [each.strip() for each in text.split(",") if each.strip()]
    wrong = next((each for each in names if each not in ENCODINGS), None)
    if wrong is not None:
        raise UserError(f"{wrong}: no such encoding{did_you_mean(wrong, ENCODINGS)}; there are {', '.join(ENCODINGS)}")
    return tuple(each for each in ENCODINGS if each in names)


def measured(
    workspace: Workspace,
    manifest: AdapterManifest,
    encodings: Sequence[Encoding],
    progress: Progress,
    most: int = 200,
    engines: Sequence[str] = (),
) -> Parity:
    """Compare an adapter in these encodings, and keep what came of it; raises `ModelFileError` for a changed file."""
    found = _bench(workspace, manifest, most).compare(encodings, progress, engines)
    keep(workspace, found)
    return found


def _bench(workspace: Workspace, manifest: AdapterManifest, most: int) -> Bench:
    base = read_record(workspace.models / manifest.base / BASE_FILE, Base)
    return Bench(workspace, read_adapter(workspace, manifest.digest, base), base, most)


class Standing(NamedTuple):
    """Whether an adapter may answer: the figures of the way that serves it, their record, and why not (or None)."""

    figures: Figures
    parity: Parity
    refusal: str | None


def before_deployment(workspace: Workspace, manifest: AdapterManifest, progress: Progress) -> Standing:
    """Is what would be served what was trained? Compared once for an adapter, base, encoding and engine.

    Labels must agree on 99 %: refused where the examples show that they do not (`_shown_below`), since of a hundred a
    near-tie or two may fall the other way. Free text and JSON part at the first near-tie, so there the token
    ids must be equal and the log-probabilities may hardly drift.
    """
    base = read_record(workspace.models / manifest.base / BASE_FILE, Base)
    dataset = freeze.read(workspace, manifest.dataset)
    labelled = dataset.answer_type is AnswerType.LABEL
    wanted = min(_LABELLED_EXAMPLES if labelled else _FREE_EXAMPLES, dataset.counts[Split.HELD_OUT])
    found = kept(workspace, manifest.digest, _BEFORE_DEPLOYMENT)
    if found is None or found.setting != setting(workspace, base) or found.examples < wanted:
        found = _bench(workspace, manifest, wanted).compare((), progress)
        keep(workspace, found, _BEFORE_DEPLOYMENT)
    served = found.of(SERVED)
    assert served is not None  # every comparison has it
    return Standing(served, found, unlike(served, labelled))


def unlike(served: Figures, labelled: bool) -> str | None:
    """Why a way may not serve, or None."""
    if served.ids_differ or (labelled and _shown_below(served.agreement)):
        return refusal(served)
    most = MOST_DRIFT_OF_LABELS if labelled else MOST_DRIFT  # a model that always says the same agrees with any other
    if served.drift <= most:
        return None
    return f"{served.name}: log-probabilities lie {served.drift} nats from the trainer's; at most {most} may be"


def _shown_below(agreement: Interval) -> bool:
    """Whether so few alike are too few for 99 %, by the exact binomial test at 2.5 % (Clopper and Pearson 1934).

    Exact, because the score interval is too narrow for a share near 1 of few examples: one near-tie of eight would do.
    """
    from scipy.stats import binom

    alike = round(agreement.value * agreement.n)
    return bool(binom.cdf(alike, agreement.n, LEAST_AGREEMENT) < 0.025)


class Choice(NamedTuple):
    """An encoding, the digest of the comparison that allows it, and why it is this one."""

    encoding: Encoding
    parity: str
    reason: str


def encoding_for(workspace: Workspace, manifest: AdapterManifest, wanted: str | None, progress: Progress) -> Choice:
    """The encoding to merge in: the one that is `wanted`, else the quickest of the usual ones that answers as trained.

    What was compared before is not compared again. Raises `RefusedError` where it differs from what was trained.
    """
    candidates = encodings_of(wanted) if wanted else USUAL
    names = [merged_name(each) for each in candidates]
    found = kept(workspace, manifest.digest)
    if found is None or any(found.of(name) is None for name in names):
        found = measured(workspace, manifest, candidates, progress)
    chosen = fastest(found, names)
    return Choice(candidates[names.index(chosen.name)], found.digest, reason_for(found, chosen, names))


def reason_for(found: Parity, chosen: Figures, names: Sequence[str]) -> str:
    """Why this way and not another, with what was measured of each."""
    compared = [each for each in found.ways if each.name in names]
    others = [each for each in compared if each.passes and each is not chosen]
    refused = [each for each in compared if not each.passes]
    said = f"{chosen.name}: {_told(chosen)}, asked one by one here"
    if others:
        said += f"; the quickest of those that answer as trained (others: {'; '.join(map(_named_and_told, others))})"
    return f"{said}; refused: {'; '.join(map(_named_and_told, refused))}" if refused else said


def _named_and_told(figures: Figures) -> str:
    return f"{figures.name} {_told(figures)}"


def _told(figures: Figures) -> str:
    return f"{figures.answer_ms:g} ms an answer, {figures.agreement.value:.1%} of {figures.agreement.n} the trainer's"
