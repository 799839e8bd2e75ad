"""Asking each conversation once: answers are kept as they come, so that what was stopped goes on where it was."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from freehold.engines.chat import Chat, ChatEndpoint
from freehold.engines.engine import Answer, Completion, Engine
from freehold.errors import EngineError, FreeholdError
from freehold.progress import SILENT, Progress
from freehold.records import digest
from freehold.render import Renderer
from freehold.store.answers import Answered, Answers

_BATCH = 32


@dataclass(frozen=True)
class LocalChat:
    """A local engine as a `ChatEndpoint`: messages are rendered with the base's own template."""

    engine: Engine
    renderer: Renderer
    adapter: str | None = None

    def chat(self, request: Chat) -> Answer:
        ids = self.renderer.ids(request.messages)
        return self.engine.complete(Completion(prompt=ids, sampling=request.sampling, adapter=self.adapter))


@dataclass(frozen=True)
class Asked:
    """Who is asked. What was answered under `identity` (a digest of model and purpose) is not asked again."""

    name: str
    identity: str
    endpoint: ChatEndpoint
    store: Answers
    concurrency: int = 1

    def all(self, requests: Sequence[Chat], progress: Progress = SILENT) -> list[Answered]:
        """An answer to every request, in order, failed ones with their error; raises `EngineError` where all failed."""
        prompts = [digest([each.messages, each.sampling]) for each in requests]
        known = dict(self.store.of(self.identity))
        distinct = {prompt: at for at, prompt in enumerate(prompts)}
        missing = [at for prompt, at in distinct.items() if (prompt, False) not in known]
        with progress.step(self.name, len(missing)) as step, ThreadPoolExecutor(self.concurrency) as pool:
            for start in range(0, len(missing), _BATCH):
                batch = missing[start : start + _BATCH]
                given = list(pool.map(lambda at: self._one(prompts[at], requests[at]), batch))
                self.store.keep(self.identity, given)
                known.update({(each.prompt, False): each for each in given})
                step.advance(len(given))
        answers = [known[prompt, False] for prompt in prompts]
        if answers and all(each.error for each in answers):
            raise EngineError(f"{self.name} failed on all {len(answers)} questions: {answers[0].error}")
        return answers

    def _one(self, prompt: str, request: Chat) -> Answered:
        try:
            answer = self.endpoint.chat(request)
        except FreeholdError as error:
            return _kept(prompt, None, str(error))
        return _kept(prompt, answer, None)


def _kept(prompt: str, answer: Answer | None, error: str | None) -> Answered:
    return Answered(
        prompt=prompt,
        constrained=False,
        text=answer.text if answer else "",
        input_tokens=answer.input_tokens if answer else 0,
        output_tokens=answer.output_tokens if answer else 0,
        latency_ms=answer.latency_ms if answer else 0.0,
        error=error,
    )
