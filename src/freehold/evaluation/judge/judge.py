"""The judge itself: any endpoint that answers conversations, each verdict asked once and kept."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from freehold.engines.chat import Chat, ChatEndpoint
from freehold.engines.engine import Answer, Completion, Engine, Sampling
from freehold.errors import EngineError, FreeholdError
from freehold.progress import SILENT, Progress
from freehold.records import Message, digest
from freehold.render import Renderer
from freehold.spec import Judge as JudgeSpec
from freehold.spec import expand
from freehold.store.answers import Answered, Answers
from freehold.store.layout import WEIGHTS_FILE
from freehold.store.workspace import Workspace

_BATCH = 32
_LONGEST = 512


@dataclass(frozen=True)
class LocalChat:
    """A local engine as a `ChatEndpoint`: messages are rendered with the base's own template."""

    engine: Engine
    renderer: Renderer

    def chat(self, request: Chat) -> Answer:
        return self.engine.complete(Completion(prompt=self.renderer.ids(request.messages), sampling=request.sampling))


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
        prompts = [digest([each, sampling]) for each in conversations]
        known = dict(self.store.of(identity))
        distinct = {prompt: at for at, prompt in enumerate(prompts)}
        missing = [at for prompt, at in distinct.items() if (prompt, False) not in known]
        with progress.step("judge", len(missing)) as step, ThreadPoolExecutor(self.concurrency) as pool:
            for start in range(0, len(missing), _BATCH):
                batch = missing[start : start + _BATCH]
                asked = pool.map(
                    lambda at: self._one(prompts[at], Chat(messages=conversations[at], sampling=sampling)), batch
                )
                given = list(asked)
                self.store.keep(identity, given)
                known.update({(each.prompt, False): each for each in given})
                step.advance(len(given))
        answers = [known[prompt, False] for prompt in prompts]
        if answers and all(each.error for each in answers):
            raise EngineError(f"the judge {self.name} failed on all {len(answers)} questions: {answers[0].error}")
        return [each.text for each in answers]

    def _one(self, prompt: str, request: Chat) -> Answered:
        try:
            answer = self.endpoint.chat(request)
        except FreeholdError as error:
            return Answered(
                prompt=prompt,
                constrained=False,
                text="",
                input_tokens=0,
                output_tokens=0,
                latency_ms=0,
                error=str(error),
            )
        return Answered(
            prompt=prompt,
            constrained=False,
            text=answer.text,
            input_tokens=answer.input_tokens,
            output_tokens=answer.output_tokens,
            latency_ms=answer.latency_ms,
        )


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
