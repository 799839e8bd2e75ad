"""The judge itself: any endpoint that answers conversations, each verdict asked once and kept."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from freehold.engines.chat import Chat, ChatEndpoint
from freehold.engines.engine import Sampling
from freehold.errors import NotFoundError
from freehold.evaluation.asking import Asked, LocalChat
from freehold.progress import SILENT, Progress
from freehold.records import Base, Message, digest
from freehold.render import Renderer
from freehold.spec import Judge as JudgeSpec
from freehold.spec import expand
from freehold.store.answers import Answers
from freehold.store.layout import BASE_FILE, WEIGHTS_FILE
from freehold.store.workspace import Workspace, read_record

_LONGEST = 512
_CONTEXT = 8192
"""Tokens for two conversations and a verdict on them; less where the base itself holds less."""


@dataclass(frozen=True)
class Judge:
    """Who judges, where its verdicts are kept, and by what rubric. `name` is the model's.

    `identity` is a digest of what the model is; left out, its name. Verdicts are kept under it.
    """

    name: str
    endpoint: ChatEndpoint
    store: Answers
    rubric: str | None = None
    identity: str | None = None
    concurrency: int = 8

    def say(self, conversations: Sequence[tuple[Message, ...]], progress: Progress = SILENT) -> list[str | None]:
        """The judge's answers, in order; None where it failed. Raises `EngineError` where it failed every time."""
        identity, sampling = digest(["judge", self.identity or self.name]), Sampling(max_tokens=_LONGEST)
        asked = Asked(f"judge {self.name}", identity, self.endpoint, self.store, self.concurrency)
        said = asked.all([Chat(messages=each, sampling=sampling) for each in conversations], progress)
        return [None if each.error else each.text for each in said]


def identity(spec: JudgeSpec, workspace: Workspace) -> str:
    """A digest of what a model is: its base's content, or its name and address."""
    if spec.base_url:
        return digest([spec.model, spec.base_url])
    return read_record(_folder(spec, workspace) / BASE_FILE, Base).digest


@contextmanager
def endpoint(spec: JudgeSpec, workspace: Workspace) -> Iterator[ChatEndpoint]:
    """Where a model is reached: its address, or a base of this workspace in an engine that stops with the block."""
    if spec.base_url:
        from freehold.engines.remote import Remote

        yield Remote(spec.model, spec.base_url, expand(spec.api_key) if spec.api_key else None)
        return
    from freehold.engines.fits import shape_of
    from freehold.engines.llamacpp import LlamaCpp, Settings

    folder = _folder(spec, workspace)
    weights = folder / WEIGHTS_FILE
    engine = LlamaCpp(weights, settings=Settings(slots=2, context=min(_CONTEXT, shape_of(weights).context)))
    renderer = Renderer(folder)
    engine.start()
    try:
        yield LocalChat(engine, renderer)
    finally:
        engine.stop()


def _folder(spec: JudgeSpec, workspace: Workspace) -> Path:
    folder = workspace.models / spec.model
    if not (folder / BASE_FILE).is_file():
        raise NotFoundError(
            f"{spec.model}: no such base in this workspace; `freehold pull {spec.model}` fetches it, or name its "
            "address with base_url"
        )
    return folder
