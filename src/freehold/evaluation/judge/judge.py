"""The judge itself: any endpoint that answers conversations, each verdict asked once and kept."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from freehold.engines.chat import Chat, ChatEndpoint
from freehold.engines.engine import Sampling
from freehold.evaluation.asking import Asked, LocalChat
from freehold.progress import SILENT, Progress
from freehold.records import Message, digest
from freehold.render import Renderer
from freehold.spec import Judge as JudgeSpec
from freehold.spec import expand
from freehold.store.answers import Answers
from freehold.store.layout import WEIGHTS_FILE
from freehold.store.workspace import Workspace

_LONGEST = 512


@dataclass(frozen=True)
class Judge:
    """Who judges, where its verdicts are kept, and by what rubric. `name` is the model's."""

    name: str
    endpoint: ChatEndpoint
    store: Answers
    rubric: str | None = None
    concurrency: int = 8

    def say(self, conversations: Sequence[tuple[Message, ...]], progress: Progress = SILENT) -> list[str]:
        """The judge's answers, in order; empty where it failed. Raises `EngineError` where it failed every time."""
        identity, sampling = digest(["judge", self.name]), Sampling(max_tokens=_LONGEST)
        asked = Asked(f"judge {self.name}", identity, self.endpoint, self.store, self.concurrency)
        return [
            each.text
            for each in asked.all([Chat(messages=each, sampling=sampling) for each in conversations], progress)
        ]


@contextmanager
def endpoint(spec: JudgeSpec, workspace: Workspace) -> Iterator[ChatEndpoint]:
    """Where a model is reached: its address, or a base of this workspace in an engine that stops with the block."""
    if spec.base_url:
        from freehold.engines.remote import Remote

        yield Remote(spec.model, spec.base_url, expand(spec.api_key) if spec.api_key else None)
        return
    from freehold.engines.llamacpp import LlamaCpp, Settings

    folder = workspace.models / spec.model
    engine = LlamaCpp(folder / WEIGHTS_FILE, settings=Settings(slots=2, context=4096))
    renderer = Renderer(folder)
    engine.start()
    try:
        yield LocalChat(engine, renderer)
    finally:
        engine.stop()
