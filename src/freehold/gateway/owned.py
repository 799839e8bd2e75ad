"""How an owned model answers a chat: the deployment's prompt, renderer and constraint, in an engine's child process.

The gateway never loads a model. It hands the token ids that `render.py` makes (invariant 2) to the engine, under the
deployment's constraint: a label task can only answer a label.
"""

import math
from collections.abc import AsyncIterator
from typing import Protocol

from freehold.engines.engine import Answer, Completion, Constraint, JsonSchema, Labels, Sampling
from freehold.errors import EngineError
from freehold.gateway.chat import ChatRequest, Piece, Reply
from freehold.gateway.children import RunningChild
from freehold.gateway.faults import GatewayError
from freehold.records import AnswerType, Message
from freehold.render import Prompt, Renderer
from freehold.store.deployments import AdapterTarget, BaseTarget, Deployment


class Respondent(Protocol):
    """Whatever answers a chat under a public name."""

    fingerprint: str

    async def answer(self, chat: ChatRequest) -> Reply: ...

    def stream(self, chat: ChatRequest) -> AsyncIterator[Piece]: ...


class OwnedModel:
    """A base, prompted or with an adapter, answering through an engine's child process."""

    def __init__(
        self, deployment: Deployment, target: AdapterTarget | BaseTarget, renderer: Renderer, child: RunningChild
    ) -> None:
        self._deployment = deployment
        self._adapter = target.adapter if isinstance(target, AdapterTarget) else None
        self._prompt: Prompt | None = target.prompt
        self._renderer = renderer
        self._child = child
        self._says_how_sure = deployment.cascade is not None and deployment.cascade.of == target
        self.fingerprint = f"fh-{(self._adapter or renderer.template.digest)[:12]}"

    def completion(self, chat: ChatRequest) -> Completion:
        """What the engine is asked; a `GatewayError` for what an owned model cannot do."""
        refuse_unsupported(chat)
        turns = chat.turns()
        prompt = self._renderer.ids(self._prompt.messages(turns) if self._prompt else turns)
        sampling = Sampling(
            max_tokens=chat.bound() or self._deployment.max_tokens,
            temperature=chat.temperature or 0.0,
            top_p=1.0 if chat.top_p is None else chat.top_p,
            seed=chat.seed,
            stop=chat.stops(),
            constraint=constraint_of(self._deployment, chat),
            logprobs=1 if self._says_how_sure else None,
        )
        return Completion(prompt=prompt, sampling=sampling, adapter=self._adapter)

    async def answer(self, chat: ChatRequest) -> Reply:
        completion = self.completion(chat)
        if self._says_how_sure or isinstance(completion.sampling.constraint, Labels):  # quickest asked for whole
            return _reply(*await self._child.complete(completion))
        async for piece, seconds in self._child.stream(completion):  # so that a hang-up stops the decoding
            if piece.answer is not None:
                return _reply(piece.answer, seconds)
        raise self._broken_off()

    async def stream(self, chat: ChatRequest) -> AsyncIterator[Piece]:
        async for piece, seconds in self._child.stream(self.completion(chat)):
            if piece.answer is not None:
                yield Piece(piece.text, _reply(piece.answer, seconds))
                return
            yield Piece(piece.text)
        raise self._broken_off()

    def _broken_off(self) -> EngineError:
        return EngineError(f"the engine behind {self._deployment.name} broke off in the middle of an answer")


def constraint_of(deployment: Deployment, chat: ChatRequest) -> Constraint | None:
    """What may be decoded: the deployment's own rule first, else the caller's `response_format`."""
    if deployment.answer_type is AnswerType.LABEL:
        return Labels(labels=deployment.labels)
    if deployment.answer_type is AnswerType.JSON:
        return JsonSchema(json_schema=deployment.json_schema or {"type": "object"})
    wanted = chat.response_format
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return JsonSchema(json_schema={"type": "object"})
    if wanted.type == "json_schema" and wanted.json_schema is not None:
        return JsonSchema(json_schema=wanted.json_schema.schema or {"type": "object"})
    raise GatewayError(
        400,
        f"response_format.type is {wanted.type!r}; it may be text, json_object or json_schema",
        code="unsupported_value",
        param="response_format",
    )


def last_user_text(turns: tuple[Message, ...]) -> str:
    """What the user wrote last: all that a plain classifier sees."""
    return next((turn.content for turn in reversed(turns) if turn.role == "user"), "")


def refuse_unsupported(chat: ChatRequest) -> None:
    """A `GatewayError` for fields that an owned model does not serve, and for values out of range."""
    wrong = {"tools": bool(chat.tools), "logprobs": bool(chat.logprobs), "n": (chat.n or 1) != 1}
    for field, asked in wrong.items():
        if asked:
            what = f"{field} is not served by an owned model"
            raise GatewayError(400, what, code="unsupported_value", param=field)
    for field, value, low, high in (("temperature", chat.temperature, 0, 2), ("top_p", chat.top_p, 0, 1)):
        if value is not None and not low <= value <= high:
            what = f"{field} is {value}; it must lie in {low} to {high}"
            raise GatewayError(400, what, code="invalid_value", param=field)


def _reply(answer: Answer, seconds: float) -> Reply:
    return Reply(
        text=answer.text,
        finish_reason=answer.finish_reason,
        input_tokens=answer.input_tokens,
        output_tokens=answer.output_tokens,
        cached_tokens=answer.cached_tokens,
        machine_s=seconds,
        confidence=math.exp(sum(token.logprob for token in answer.logprobs)) if answer.logprobs else None,
    )
