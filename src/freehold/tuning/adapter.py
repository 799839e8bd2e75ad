"""From a dataset and a base to an adapter with its manifest: what `freehold run` and `freehold tune` call.

adapters/<digest>/  adapter_model.safetensors  adapter_config.json  adapter.gguf  manifest.json (written last)
"""

import resource
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import msgspec

from freehold.errors import DataError, ModelFileError, NotFoundError
from freehold.progress import Progress
from freehold.records import AdapterManifest, Base, Dataset, Example, Split, digest
from freehold.render import Prompt, Rendered, Renderer, json_answer
from freehold.store.layout import ADAPTER_GGUF, MANIFEST_FILE, WEIGHTS_FILE
from freehold.store.workspace import Workspace, file_sha256, read_record, write_record
from freehold.tuning.checkpoint import TrainerState, read_state
from freehold.tuning.gguf_adapter import write_gguf_adapter
from freehold.tuning.lora import ADAPTER_FILE, save_adapter
from freehold.tuning.recipe import LoraRecipe
from freehold.tuning.train import Trained, TrainingJob, train

UNFINISHED = ".tuning"
CHECKPOINT_FILE = "checkpoint.safetensors"
_MEASURED = ("digest", "seconds", "tokens_per_second", "peak_memory_bytes")


@dataclass(frozen=True)
class Tuning:
    """What is tuned on what: everything that decides the weights."""

    base: Base
    dataset: Dataset
    prompt: Prompt
    recipe: LoraRecipe
    seed: int

    @property
    def digest(self) -> str:
        return digest([self.base.digest, self.dataset.digest, self.prompt, self.recipe, self.seed, _versions()])


def training_job(tuning: Tuning, examples: Sequence[Example], workspace: Workspace) -> TrainingJob:
    """What the trainer is given: the training and validation examples as token ids."""
    base_folder = workspace.models / tuning.base.name
    renderer = Renderer(base_folder)
    return TrainingJob(
        name=tuning.digest,
        base_folder=base_folder,
        train=_rendered(examples, Split.TRAIN, tuning, renderer),
        validation=_rendered(examples, Split.VALIDATION, tuning, renderer),
        recipe=tuning.recipe,
        seed=tuning.seed,
    )


def tune(tuning: Tuning, examples: Sequence[Example], workspace: Workspace, progress: Progress) -> AdapterManifest:
    """Train an adapter, or go on with one that was interrupted; returns its manifest."""
    job = training_job(tuning, examples, workspace)
    work = workspace.adapters / UNFINISHED / tuning.digest
    trained = train(job, work / CHECKPOINT_FILE, progress)
    manifest = _keep(tuning, trained, Renderer(job.base_folder).template.digest, workspace)
    shutil.rmtree(work, ignore_errors=True)
    return manifest


def unfinished(workspace: Workspace) -> list[tuple[TrainerState, float]]:
    """Tunings that were interrupted: where each stands, and when that was kept (seconds since 1970), newest first."""
    found = []
    for path in workspace.adapters.glob(f"{UNFINISHED}/*/{CHECKPOINT_FILE}"):
        state = read_state(path)
        if state is not None:
            found.append((state, path.stat().st_mtime))
    return sorted(found, key=lambda each: -each[1])


def read_adapter(workspace: Workspace, adapter: str, base: Base) -> AdapterManifest:
    """An adapter's manifest, its weights and its base checked; raises `ModelFileError` where anything differs."""
    folder = workspace.adapters / adapter
    try:
        manifest = read_record(folder / MANIFEST_FILE, AdapterManifest)
    except NotFoundError:
        raise ModelFileError(
            f"{folder}: there is no finished adapter {adapter[:12]}; `freehold run` makes it"
        ) from None
    if manifest.base_digest != base.digest:
        raise ModelFileError(f"adapter {adapter[:12]} was tuned on another {manifest.base}; tune again on this one")
    if manifest.template_digest != base.template_digest:
        raise ModelFileError(f"adapter {adapter[:12]} was tuned with another chat template; tune again with this one")
    if not (folder / ADAPTER_FILE).is_file() or file_sha256(folder / ADAPTER_FILE) != manifest.weights_sha256:
        raise ModelFileError(f"{folder / ADAPTER_FILE}: is not the file that was recorded; tune again")
    return manifest


def _rendered(examples: Sequence[Example], split: Split, tuning: Tuning, renderer: Renderer) -> list[Rendered]:
    """The split's examples as token ids; one that is longer than the model's context is refused."""
    rendered = []
    for example in examples:
        if example.split is not split:
            continue
        each = renderer.example(tuning.prompt.messages(example.messages), _answer(example, tuning.dataset))
        if len(each.prompt) + len(each.answer) > tuning.base.context_length:
            raise DataError(
                f"{example.origin}: {len(each.prompt) + len(each.answer)} tokens are more than the "
                f"{tuning.base.context_length} that {tuning.base.name} can read; shorten the message or drop the row"
            )
        rendered.append(each)
    return rendered


def _answer(example: Example, dataset: Dataset) -> str:
    """The reference as the model should write it."""
    return json_answer(example.reference, dataset.json_schema) if dataset.json_schema else example.reference


def _keep(tuning: Tuning, trained: Trained, template: str, workspace: Workspace) -> AdapterManifest:
    """Write the adapter under its digest, the manifest last."""
    work = workspace.adapters / UNFINISHED / tuning.digest / "finished"
    save_adapter(work, trained.tensors, tuning.recipe, tuning.base.name)
    write_gguf_adapter(work, workspace.models / tuning.base.name / WEIGHTS_FILE, work / ADAPTER_GGUF)
    manifest = _manifest(tuning, trained, template, work)
    folder = workspace.adapters / manifest.digest
    folder.mkdir(parents=True, exist_ok=True)
    for path in work.iterdir():
        path.replace(folder / path.name)
    write_record(folder / MANIFEST_FILE, manifest)
    return manifest


def _manifest(tuning: Tuning, trained: Trained, template: str, work: Path) -> AdapterManifest:
    state = trained.state
    manifest = AdapterManifest(
        digest="",
        task=tuning.dataset.task,
        base=tuning.base.name,
        base_digest=tuning.base.digest,
        dataset=tuning.dataset.digest,
        recipe=msgspec.to_builtins(tuning.recipe),
        render=msgspec.to_builtins(tuning.prompt),
        render_digest=digest(tuning.prompt),
        seed=tuning.seed,
        versions=_versions(),
        template_digest=template,
        weights_sha256=file_sha256(work / ADAPTER_FILE),
        gguf_sha256=file_sha256(work / ADAPTER_GGUF),
        losses=state.losses,
        best_step=state.best_step,
        seconds=round(state.seconds, 2),
        tokens_per_second=round(state.tokens / max(state.seconds, 1e-9), 1),
        peak_memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )
    content = {name: value for name, value in msgspec.to_builtins(manifest).items() if name not in _MEASURED}
    return msgspec.structs.replace(manifest, digest=digest(content))


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("freehold", "torch", "transformers")}
