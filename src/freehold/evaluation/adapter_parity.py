"""The ways in which one adapter can be served here, each compared with the trainer on data that was not trained on."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec

from freehold.data import canaries, freeze
from freehold.engines import environments
from freehold.engines.adapters import adapter_sha256
from freehold.engines.engine import Constraint, JsonSchema, Labels
from freehold.engines.llamacpp import LlamaCpp, Settings
from freehold.engines.merge import merge
from freehold.engines.native import preferred
from freehold.engines.quantise import ENCODINGS, Encoding, reencode
from freehold.engines.ways import CANDIDATES, served
from freehold.errors import DataError, UserError, did_you_mean
from freehold.evaluation.parity import (
    EngineVoice,
    Figures,
    Parity,
    Question,
    Trainer,
    Voice,
    Way,
    compare,
    fastest,
    keep,
    kept,
    named,
    passing,
    refusal,
    started,
)
from freehold.evaluation.prompted import JSON_TOKENS, LABEL_SPARE
from freehold.evaluation.trainer_voice import TrainerVoice
from freehold.progress import Progress
from freehold.records import AdapterManifest, AnswerType, Base, Dataset, Example, Split, digest
from freehold.render import Prompt, Renderer
from freehold.store.layout import (
    ADAPTER_GGUF,
    BASE_FILE,
    MANIFEST_FILE,
    PASSED_FILE,
    Passed,
    encoded_file,
    serving_weights,
)
from freehold.store.workspace import Workspace, read_record, write_record
from freehold.tuning.adapter import read_adapter

SERVED = "adapter as served"
AS_TRAINED = "trainer as it computed"
WHEEL, NATIVE, VLLM = "wheel", "native", "vllm"
ENGINES = (WHEEL, NATIVE, VLLM)
MOST_DRIFT, MOST_DRIFT_OF_LABELS = 0.1, 0.5  # nats, on the mean
_BEFORE_DEPLOYMENT = ".served"
_LABELLED_EXAMPLES, _FREE_EXAMPLES = 200, 20  # before a deployment: bounded, so that a run stays short
USUAL: tuple[Encoding, ...] = ("F16", "Q8_0", "Q4_K_M", "Q4_0")
_TEXT_TOKENS = 64  # of a free answer: where two ways part, they part early


def merged_name(encoding: Encoding) -> str:
    """What a merged copy is called among the ways."""
    return f"merged {encoding}"


def beside_name(encoding: Encoding) -> str:
    """What an adapter beside its base in this encoding is called among the ways."""
    return f"adapter beside {encoding}"


class Wanted(NamedTuple):
    """Which ways are compared, apart from the one that serves: merged copies, the adapter beside its base in other
    encodings, other engines, and the trainer in the precision that it trained in.
    """

    merged: Sequence[Encoding] = ()
    beside: Sequence[Encoding] = ()
    engines: Sequence[str] = ()
    as_trained: bool = False


@dataclass(frozen=True)
class Bench:
    """One adapter, and what it is compared on: at most `most` examples, held-out ones first, then validation."""

    workspace: Workspace
    manifest: AdapterManifest
    base: Base
    most: int = 200

    def compare(self, wanted: Wanted, progress: Progress) -> Parity:
        """The adapter as it is served and every way that is wanted; raises `DataError` where there is no example."""
        ways = [
            *([Way(AS_TRAINED, lambda: self._trainer(exact=False))] if wanted.as_trained else []),
            Way(SERVED, self._served),
            *(Way(name, self._engine(name)) for name in wanted.engines),
            *(Way(beside_name(each), self._beside_in(each)) for each in wanted.beside),
            *(Way(merged_name(each), self._merged_in(each)) for each in wanted.merged),
        ]
        questions = self._questions()
        if not questions:
            raise DataError(f"dataset {self.manifest.dataset[:12]} has no example that was kept from training")
        found = Parity(
            digest="",
            task=self.manifest.task,
            adapter=self.manifest.digest,
            dataset=self.manifest.dataset,
            examples=len(questions),
            ways=compare(lambda: self._trainer(exact=True), ways, questions, progress),
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
        chosen = _kept_from_training(self.workspace, self.manifest.dataset)[: self.most]
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
    def _trainer(self, exact: bool) -> Iterator[Trainer]:
        labels = self._dataset.labels if self._dataset.answer_type is AnswerType.LABEL else ()
        most = self._max_tokens(Renderer(self._base_folder))
        yield TrainerVoice(self._base_folder, self._adapter_folder, self.manifest, labels, most, exact)

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
        with self._voice(weights or serving_weights(self._base_folder), {name: path}, name, program) as voice:
            yield voice

    def _beside_in(self, encoding: Encoding) -> Callable[[], AbstractContextManager[Voice]]:
        @contextmanager
        def opened() -> Iterator[Voice]:
            with tempfile.TemporaryDirectory(dir=self.workspace.root, prefix=".parity.") as folder:
                lying, made = self._base_folder / encoded_file(encoding), Path(folder) / "base.gguf"
                if not lying.is_file():
                    reencode(self._base_folder / self.base.weights.name, made, encoding)
                weights = lying if lying.is_file() else made
                with self._beside(served(self._base_folder, self.workspace.benches).program, weights) as voice:
                    yield voice

        return opened

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
                program = served(self._base_folder, self.workspace.benches).program
                with self._voice(target, {}, None, program) as voice:
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
    return digest([base.digest, found.weights.name, found.build, found.merges])


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
    workspace: Workspace, manifest: AdapterManifest, wanted: Wanted, progress: Progress, most: int = 200
) -> Parity:
    """Compare an adapter in these ways, and keep what came of it; raises `ModelFileError` for a changed file."""
    found = _bench(workspace, manifest, most).compare(wanted, progress)
    keep(workspace, found)
    return found


def choose_beside(workspace: Workspace, base_name: str, progress: Progress, most: int = 200) -> Passed:
    """The encodings of a base beside which every adapter of it answers as trained; served in the quickest from now on.

    Raises `RefusedError` where there is none.
    """
    paths = sorted(workspace.adapters.glob(f"*/{MANIFEST_FILE}"))
    manifests = [each for each in (read_record(path, AdapterManifest) for path in paths) if each.base == base_name]
    every = [_bench(workspace, each, most).compare(Wanted(beside=CANDIDATES), progress) for each in manifests]
    for each in every:
        keep(workspace, each, ".beside")
    named_so = {beside_name(each): each for each in CANDIDATES}
    order = passing(every, list(named_so))
    told = [f"adapter {each.adapter[:12]}: {reason_for(each, figures, list(named_so))}"
            for each in every if (figures := each.of(order[0])) is not None]  # fmt: skip
    folder = workspace.models / base_name
    base, encodings = read_record(folder / BASE_FILE, Base), tuple(named_so[name] for name in order)
    for encoding in encodings:
        if not (folder / encoded_file(encoding)).is_file():
            reencode(folder / base.weights.name, folder / encoded_file(encoding), encoding)
    found = Passed(encodings=encodings, reason="; ".join(told), parity=tuple(each.digest for each in every))
    write_record(folder / PASSED_FILE, found)
    return found


def _kept_from_training(workspace: Workspace, dataset: str) -> list[Example]:
    """Held-out examples in the order of their ids, then those of validation; planted secrets are for tuning alone."""
    able = [each for each in freeze.examples(workspace, dataset) if each.split is not Split.TRAIN]
    people = [each for each in able if not canaries.planted(each)]
    return sorted(people, key=lambda each: (each.split is not Split.HELD_OUT, each.id))


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

    Labels must agree on 99 %. Free text and JSON part at the first near-tie, so there the token ids must be equal and
    the log-probabilities may hardly drift.
    """
    base = read_record(workspace.models / manifest.base / BASE_FILE, Base)
    dataset = freeze.read(workspace, manifest.dataset)
    labelled = dataset.answer_type is AnswerType.LABEL
    at_hand = len(_kept_from_training(workspace, manifest.dataset))
    wanted = min(_LABELLED_EXAMPLES if labelled else _FREE_EXAMPLES, at_hand)
    found = kept(workspace, manifest.digest, _BEFORE_DEPLOYMENT)
    if found is None or found.setting != setting(workspace, base) or found.examples < wanted:
        found = _bench(workspace, manifest, wanted).compare(Wanted(merged=_copies(workspace, base)), progress)
        keep(workspace, found, _BEFORE_DEPLOYMENT)
    names = [SERVED, *(merged_name(each) for each in _copies(workspace, base))]
    ways = [each for each in found.ways if each.name in names]
    worst = min(ways, key=lambda each: (unlike(each, labelled) is None, each.agreement.value))
    return Standing(worst, found, unlike(worst, labelled))


def _copies(workspace: Workspace, base: Base) -> tuple[Encoding, ...]:
    """The encoding of the merged copies that serve the base's adapters, where they are merged."""
    found = served(workspace.models / base.name, workspace.benches)
    return (found.encoding,) if found.merges and found.encoding else ()


def unlike(served: Figures, labelled: bool) -> str | None:
    """Why a way may not serve, or None."""
    if served.ids_differ or (labelled and not served.passes):
        return refusal(served)
    most = MOST_DRIFT_OF_LABELS if labelled else MOST_DRIFT  # a model that always says the same agrees with any other
    if served.drift <= most:
        return None
    return f"{served.name}: log-probabilities lie {served.drift} nats from the trainer's; at most {most} may be"


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
        found = measured(workspace, manifest, Wanted(merged=candidates), progress)
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
