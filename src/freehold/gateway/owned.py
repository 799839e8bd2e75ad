"""How an owned model answers a chat: the deployment's own prompt, renderer and constraint, over the child's HTTP.

The gateway never loads a model. It sends the token ids that `render.py` makes (invariant 2) to the engine's child
process, under the deployment's constraint: a label task can only answer a label.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

import aiohttp
import msgspec

from freehold.engines.engine import Completion, Constraint, JsonSchema, Labels, Sampling
from freehold.errors import EngineError, FreeholdError
from freehold.gateway.chat import ChatRequest, Piece, Reply
from freehold.gateway.children import RunningChild
from freehold.gateway.faults import GatewayError
from freehold.records import AnswerType, Message
from freehold.render import Prompt, Renderer
from freehold.store.deployments import AdapterTarget, BaseTarget, Deployment

_UNLIMITED = aiohttp.ClientTimeout(total=None, sock_connect=5)


class Respondent(Protocol):
    """Whatever answers a chat under a public name."""

    fingerprint: str

    async def answer(self, chat: ChatRequest) -> Reply: ...

    def stream(self, chat: ChatRequest) -> AsyncIterator[Piece]: ...


class _Choice(msgspec.Struct):
    text: str = ""
    finish_reason: str | None = None


class _Details(msgspec.Struct):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: _Details | None = None


class _Answered(msgspec.Struct):
    choices: list[_Choice]
    usage: _Usage | None = None


_ANSWERED = msgspec.json.Decoder(_Answered)


class OwnedModel:
    """A base, prompted or with an adapter, answering through an engine's child process."""

    def __init__(
        self, deployment: Deployment, renderer: Renderer, child: RunningChild, http: aiohttp.ClientSession
    ) -> None:
        target = deployment.target
        assert isinstance(target, AdapterTarget | BaseTarget)
        self._deployment = deployment
        self._adapter = target.adapter if isinstance(target, AdapterTarget) else None
        self._prompt: Prompt | None = target.prompt
        self._renderer = renderer
        self._child = child
        self._http = http
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
        )
        return Completion(prompt=prompt, sampling=sampling, adapter=self._adapter)

    async def answer(self, chat: ChatRequest) -> Reply:
        async with self._ask(self.completion(chat), stream=False) as response:
            answered = _decode(await response.read())
        choice = answered.choices[0]
        return _reply(choice.text, choice.finish_reason, answered.usage)

    async def stream(self, chat: ChatRequest) -> AsyncIterator[Piece]:
        completion = self.completion(chat)
        text, reason, counts = [], None, None
        async with self._ask(completion, stream=True) as response:
            async for line in response.content:
                if not line.startswith(b"data:") or line.strip() == b"data: [DONE]":
                    continue
                answered = _decode(line[5:])
                counts = answered.usage or counts
                for choice in answered.choices:
                    reason = choice.finish_reason or reason
                    if choice.text:
                        text.append(choice.text)
                        yield Piece(choice.text)
        if reason is None:
            self._child.failed()
            raise EngineError(f"the engine behind {self._deployment.name} broke off in the middle of an answer")
        yield Piece("", _reply("".join(text), reason, counts))

    @asynccontextmanager
    async def _ask(self, completion: Completion, stream: bool) -> AsyncIterator[aiohttp.ClientResponse]:
        """Post to the child; whatever goes wrong there becomes an `EngineError` here."""
        child, address = self._child, self._child.address
        headers = {"authorization": f"Bearer {address.secret}", "content-type": "application/json"}
        body = msgspec.json.encode(child.body(completion, stream))
        try:
            with child.busy():
                async with self._http.post(
                    f"{address.url}/completions", data=body, headers=headers, timeout=_UNLIMITED
                ) as response:
                    if response.status != 200:
                        raise self._refused(response.status, await response.text())
                    yield response
        except aiohttp.ClientError as error:
            child.failed()
            message = f"the engine behind {self._deployment.name} does not answer ({error}); it is being started again"
            raise EngineError(message) from error

    def _refused(self, status: int, said: str) -> FreeholdError:
        if status == 400 and "context" in said:
            return GatewayError(
                400,
                f"the conversation is longer than {self._deployment.name} can read",
                code="context_length_exceeded",
                param="messages",
            )
        return EngineError(f"the engine behind {self._deployment.name} refused ({status}): {said[:300]}")


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
    wrong = {"tools": bool(chat.tools), "logprobs": bool(chat.logprobs), "n": (chat.n or 1) != 1}
    for field, asked in wrong.items():
        if asked:
            raise GatewayError(400, f"{field} is not served by an owned model", code="unsupported_value", param=field)
    for field, value, low, high in (("temperature", chat.temperature, 0, 2), ("top_p", chat.top_p, 0, 1)):
        if value is not None and not low <= value <= high:
            raise GatewayError(
                400, f"{field} is {value}; it must lie in {low} to {high}", code="invalid_value", param=field
            )


def _decode(data: bytes) -> _Answered:
    try:
        return _ANSWERED.decode(data)
    except msgspec.MsgspecError as error:
        raise EngineError(f"the engine answered what cannot be read: {error}") from None


def _reply(text: str, reason: str | None, counts: _Usage | None) -> Reply:
    counts = counts or _Usage()
    details = counts.prompt_tokens_details
    return Reply(
        text=text,
        finish_reason="length" if reason == "length" else "stop",
        input_tokens=counts.prompt_tokens,
        output_tokens=counts.completion_tokens,
        cached_tokens=(details.cached_tokens or 0) if details else 0,
    )
