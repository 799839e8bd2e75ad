"""Asking each conversation once: answers are kept as they come, so that what was stopped goes on where it was."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from time import monotonic

from freehold.engines.chat import Chat, ChatEndpoint
from freehold.engines.engine import Answer, Completion, Engine
from freehold.errors import EngineError, FreeholdError
from freehold.progress import SILENT, Progress
from freehold.records import digest
from freehold.render import Renderer
from freehold.store.answers import Answered, Answers

_SECONDS = 2.0


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
        for each in self._fresh([(prompts[at], requests[at]) for at in missing], progress):
            known[each.prompt, False] = each
        answers = [known[prompt, False] for prompt in prompts]
        if answers and all(each.error for each in answers):
            raise EngineError(f"{self.name} failed on all {len(answers)} questions: {answers[0].error}")
        return answers

    def _fresh(self, asked: Sequence[tuple[str, Chat]], progress: Progress) -> Iterator[Answered]:
        """Answers as they come, kept every two seconds and at the end, however it ends."""
        fresh: list[Answered] = []
        kept_at = monotonic()
        with progress.step(self.name, len(asked)) as step, ThreadPoolExecutor(self.concurrency) as pool:
            futures = [pool.submit(self._one, prompt, request) for prompt, request in asked]
            try:
                for future in as_completed(futures):
                    answered = future.result()
                    fresh.append(answered)
                    if monotonic() - kept_at > _SECONDS:
                        self.store.keep(self.identity, fresh)
                        fresh, kept_at = [], monotonic()
                    step.advance()
                    yield answered
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
                self.store.keep(self.identity, fresh)

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
