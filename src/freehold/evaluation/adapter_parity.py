"""The ways in which one adapter can be served here, each compared with the trainer on its own held-out data."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from freehold.data import freeze
from freehold.engines.engine import Constraint, JsonSchema, Labels
from freehold.engines.llamacpp import LlamaCpp, Settings
from freehold.engines.merge import merge
from freehold.engines.quantise import ENCODINGS, Encoding
from freehold.errors import DataError, UserError, did_you_mean
from freehold.evaluation.parity import (
    EngineVoice,
    Parity,
    Question,
    Voice,
    Way,
    compare,
    fastest,
    keep,
    kept,
    named,
    started,
)
from freehold.evaluation.prompted import JSON_TOKENS, LABEL_SPARE
from freehold.evaluation.trainer_voice import TrainerVoice
from freehold.progress import Progress
from freehold.records import AdapterManifest, AnswerType, Base, Dataset, Split
from freehold.render import Prompt, Renderer
from freehold.store.layout import ADAPTER_GGUF, BASE_FILE, serving_weights
from freehold.store.workspace import Workspace, read_record
from freehold.tuning.adapter import read_adapter

SERVED = "adapter as served"
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

    def compare(self, encodings: Sequence[Encoding], progress: Progress) -> Parity:
        """The adapter as it is served, and a merged copy in each encoding; raises `DataError` without held-out data."""
        trainer = Way("trainer", self._trainer)
        ways = [Way(SERVED, self._served), *(Way(merged_name(each), self._merged_in(each)) for each in encodings)]
        questions = self._questions()
        if not questions:
            raise DataError(f"dataset {self.manifest.dataset[:12]} has no held-out example to compare on")
        figures = compare(trainer, ways, questions, progress)
        return named(self.manifest.task, self.manifest.digest, self.manifest.dataset, figures, len(questions))

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
        name = self.manifest.digest
        path = self._adapter_folder / ADAPTER_GGUF
        with self._voice(serving_weights(self._base_folder), {name: path}, name) as voice:
            yield voice

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
    def _voice(self, weights: Path, adapters: dict[str, Path], adapter: str | None) -> Iterator[Voice]:
        renderer = Renderer(self._base_folder)
        settings = Settings(slots=1, context=min(self.base.context_length, 2048))
        with started(LlamaCpp(weights, adapters, settings)) as engine:
            yield EngineVoice(engine, renderer, self._max_tokens(renderer), self._constraint(), adapter)


def encodings_of(text: str) -> tuple[Encoding, ...]:
    """Encodings from a list with commas; raises `UserError` for one that there is not."""
    names = [each.strip() for each in text.split(",") if each.strip()]
    wrong = next((each for each in names if each not in ENCODINGS), None)
    if wrong is not None:
        raise UserError(f"{wrong}: no such encoding{did_you_mean(wrong, ENCODINGS)}; there are {', '.join(ENCODINGS)}")
    return tuple(each for each in ENCODINGS if each in names)


def measured(
    workspace: Workspace, manifest: AdapterManifest, encodings: Sequence[Encoding], progress: Progress, most: int = 200
) -> Parity:
    """Compare an adapter in these encodings, and keep what came of it; raises `ModelFileError` for a changed file."""
    base = read_record(workspace.models / manifest.base / BASE_FILE, Base)
    found = Bench(workspace, read_adapter(workspace, manifest.digest, base), base, most).compare(encodings, progress)
    keep(workspace, found)
    return found


def encoding_for(
    workspace: Workspace, manifest: AdapterManifest, wanted: str | None, progress: Progress
) -> tuple[Encoding, str]:
    """The encoding to merge in, and the digest of the comparison that allows it.

    The one that is `wanted`, else the quickest of the usual ones that answers as the trainer does. What was compared
    before is not compared again. Raises `RefusedError` where it differs from what was trained.
    """
    candidates = encodings_of(wanted) if wanted else USUAL
    names = [merged_name(each) for each in candidates]
    found = kept(workspace, manifest.digest)
    if found is None or any(found.of(name) is None for name in names):
        found = measured(workspace, manifest, candidates, progress)
    chosen = fastest(found, names)
    return candidates[names.index(chosen.name)], found.digest
