"""How an owned model answers a chat: the deployment's prompt, renderer and constraint, in an engine's child process.

The gateway never loads a model. It hands the token ids that `render.py` makes (invariant 2) to the engine, under the
deployment's constraint: a label task can only answer a label.
"""

import math
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from msgspec.structs import replace

from freehold.engines.engine import Answer, Completion, JsonSchema, Labels, Sampling, TokenLogprob
from freehold.errors import EngineError, ModelFileError
from freehold.gateway.chat import ChatRequest, Piece, Reply, TokenScore
from freehold.gateway.children import RunningChild
from freehold.gateway.faults import GatewayError
from freehold.gateway.structured import constraint_of
from freehold.gateway.tools import CallReader, Offer, ToolCall, offer
from freehold.records import Message
from freehold.render import Prompt, Renderer
from freehold.store.deployments import AdapterTarget, BaseTarget, Deployment


class Respondent(Protocol):
    """Whatever answers a chat under a public name."""

    fingerprint: str

    async def answer(self, chat: ChatRequest) -> Reply: ...

    def stream(self, chat: ChatRequest) -> AsyncIterator[Piece]: ...


@dataclass(frozen=True)
class Asked:
    """What the engine is asked, and how its answer is read.

    `opened` counts the prompt's last tokens that belong to the answer: the opening of a call that must be made.
    """

    completion: Completion
    rivals: int | None = None
    offered: Offer | None = None
    opened: int = 0


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

    def asked(self, chat: ChatRequest) -> Asked:
        """What the engine is asked; a `GatewayError` for what an owned model cannot do."""
        check_ranges(chat)
        offered = offer(chat.tools, chat.tool_choice, chat.parallel_tool_calls, self._renderer.template)
        constraint = constraint_of(self._deployment, chat)
        if offered is not None and constraint is not None:
            what = f"{self._deployment.name} answers under a rule, and cannot call tools beside it; leave tools out"
            raise GatewayError(400, what, code="unsupported_value", param="tools")
        turns = chat.turns()
        prompt, opened = self._ids(self._prompt.messages(turns) if self._prompt else turns, offered), 0
        if offered is not None and offered.must:
            constraint = JsonSchema(json_schema=offered.json_schema)
            opened = len(self._renderer.encode(offered.syntax.opening))
            prompt += self._renderer.encode(offered.syntax.opening)
        rivals = chat.rivals()
        sampling = Sampling(
            max_tokens=chat.bound() or self._deployment.max_tokens,
            temperature=chat.temperature or 0.0,
            top_p=1.0 if chat.top_p is None else chat.top_p,
            seed=chat.seed,
            stop=chat.stops(),
            constraint=constraint,
            logprobs=max(1, rivals or 0) if self._says_how_sure or rivals is not None else None,
        )
        return Asked(Completion(prompt=prompt, sampling=sampling, adapter=self._adapter), rivals, offered, opened)

    def _ids(self, turns: Sequence[Message], offered: Offer | None) -> tuple[int, ...]:
        try:
            return self._renderer.ids(turns, offered.documents if offered else ())
        except ModelFileError as error:  # a system message in the middle, say: the template's rule, the caller's turns
            raise GatewayError(400, str(error), code="unsupported_value", param="messages") from None

    async def answer(self, chat: ChatRequest) -> Reply:
        asked = self.asked(chat)
        if self._says_how_sure or isinstance(asked.completion.sampling.constraint, Labels):  # quickest asked for whole
            answer, seconds = await self._child.complete(asked.completion)
            return self._reply(asked, answer, seconds)
        async for piece, seconds in self._child.stream(asked.completion):  # so that a hang-up stops the decoding
            if piece.answer is not None:
                return self._reply(asked, piece.answer, seconds)
        raise self._broken_off()

    async def stream(self, chat: ChatRequest) -> AsyncIterator[Piece]:
        asked = self.asked(chat)
        reader = CallReader(asked.offered) if asked.offered else None
        async for piece, seconds in self._child.stream(asked.completion):
            text, calls = reader.feed(piece.text) if reader else (piece.text, ())
            scores = self._scores(asked, piece.logprobs)
            if piece.answer is None:
                yield Piece(text, None, calls, scores, piece.adapter)
                continue
            rest, more = reader.finish() if reader else ("", ())
            last = self._reply(asked, piece.answer, seconds)
            if reader is not None:  # a call has the id under which it was streamed
                last = replace(last, calls=tuple(reader.calls))
            yield Piece(text + rest, last, calls + more, scores, last.adapter)
            return
        raise self._broken_off()

    def _reply(self, asked: Asked, answer: Answer, seconds: float) -> Reply:
        text, calls = answer.text, tuple[ToolCall, ...]()
        if asked.offered is not None:
            reader = CallReader(asked.offered)
            text = reader.feed(answer.text)[0] + reader.finish()[0]
            calls = tuple(reader.calls)
        sure = math.exp(sum(token.logprob for token in answer.logprobs)) if answer.logprobs else None
        return Reply(
            text=text,
            finish_reason="tool_calls" if calls and answer.finish_reason == "stop" else answer.finish_reason,
            input_tokens=answer.input_tokens - asked.opened,
            output_tokens=answer.output_tokens + asked.opened,
            cached_tokens=min(answer.cached_tokens, answer.input_tokens - asked.opened),
            machine_s=seconds,
            confidence=sure,
            calls=calls,
            scores=self._scores(asked, answer.logprobs),
            adapter=answer.adapter,
        )

    def _scores(self, asked: Asked, logprobs: Sequence[TokenLogprob]) -> tuple[TokenScore, ...] | None:
        """Log-probabilities as they were asked for; the end of the turn is no part of what is said."""
        rivals = asked.rivals
        if rivals is None:
            return None
        end = self._renderer.end_id
        return tuple(
            TokenScore(each.text, each.logprob, list(self._bytes(each)), self._rivals(each, rivals))
            for each in logprobs
            if each.id != end
        )

    def _bytes(self, token: TokenLogprob) -> bytes:
        """Of a character that took several tokens llama.cpp tells the last one, with the text of all."""
        own, whole = self._renderer.spelled(token.id), token.text.encode()
        return whole if whole.endswith(own) else own

    def _rivals(self, token: TokenLogprob, most: int) -> tuple[TokenScore, ...]:
        likeliest = sorted(token.top.items(), key=lambda pair: -pair[1])[:most]
        spelled = [(self._renderer.spelled(int(id)), logprob) for id, logprob in likeliest]
        return tuple(TokenScore(each.decode(errors="replace"), logprob, list(each)) for each, logprob in spelled)

    def _broken_off(self) -> EngineError:
        return EngineError(f"the engine behind {self._deployment.name} broke off in the middle of an answer")


def last_user_text(turns: tuple[Message, ...]) -> str:
    """What the user wrote last: all that a plain classifier sees."""
    return next((turn.content for turn in reversed(turns) if turn.role == "user"), "")


def refuse_unsupported(chat: ChatRequest) -> None:
    """A `GatewayError` for what a plain classifier does not serve, and for values out of range."""
    wrong = {"tools": bool(chat.tools) and chat.tool_choice != "none", "logprobs": bool(chat.logprobs)}
    for field, asked in wrong.items():
        if asked:
            what = f"{field} is not served by a plain classifier"
            raise GatewayError(400, what, code="unsupported_value", param=field)
    check_ranges(chat)


def check_ranges(chat: ChatRequest) -> None:
    """A `GatewayError` for values out of range."""
    for field, value, low, high in (("temperature", chat.temperature, 0, 2), ("top_p", chat.top_p, 0, 1)):
        if value is not None and not low <= value <= high:
            what = f"{field} is {value}; it must lie in {low} to {high}"
            raise GatewayError(400, what, code="invalid_value", param=field)
