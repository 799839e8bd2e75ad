"""An engine without a model: deterministic answers by a rule, for tests, demonstrations and dry runs. It ships."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches

from freehold.engines.engine import Answer, Completion, Constraint, JsonSchema, Labels, Piece
from freehold.engines.grammar import checked_schema, permits, to_gbnf
from freehold.errors import EngineError, NotFoundError, UserError

Rule = Callable[[str], str]


def _bytes_to_text(ids: Sequence[int]) -> str:
    return bytes(ids).decode(errors="replace")


class Fake:
    """An `Engine` that answers what `rule` says of the prompt's text.

    Its tokens are UTF-8 bytes unless `decode` says how ids become text (`Renderer.decode`, say). `adapters` maps an
    adapter's name to the rule that answers in its stead; an adapter's digest is its name. `context` is in tokens.
    Under a label constraint the nearest permitted label to the rule's answer is given.
    """

    def __init__(
        self,
        rule: Rule,
        adapters: Mapping[str, Rule] | None = None,
        decode: Callable[[Sequence[int]], str] = _bytes_to_text,
        context: int = 8192,
    ) -> None:
        self._rule, self._adapters = rule, dict(adapters or {})
        self._decode, self._context = decode, context
        self._running = False

    def start(self) -> None:
        self._running = True

    def stop(self) -> None:
        self._running = False

    def complete(self, request: Completion) -> Answer:
        begun = time.monotonic()
        self._check(request)
        sampling = request.sampling
        text = self._rule_of(request.adapter)(self._decode(request.prompt))
        if sampling.constraint is not None:
            text = _permitted(sampling.constraint, text)
        text, stopped = _cut(text, sampling.stop)
        tokens = list(text.encode())
        finished = stopped or len(tokens) < sampling.max_tokens
        return Answer(
            text=text if finished else bytes(tokens[: sampling.max_tokens]).decode(errors="ignore"),
            input_tokens=len(request.prompt),
            output_tokens=min(len(tokens) + 1, sampling.max_tokens),
            cached_tokens=0,
            finish_reason="stop" if finished else "length",
            latency_ms=(time.monotonic() - begun) * 1000,
            adapter=request.adapter,
        )

    def stream(self, request: Completion) -> Iterator[Piece]:
        answer = self.complete(request)
        for character in answer.text:
            yield Piece(text=character)
        yield Piece(text="", answer=answer)

    def tokenize(self, text: str) -> Sequence[int]:
        return tuple(text.encode())

    def _check(self, request: Completion) -> None:
        if not self._running:
            raise EngineError("engine fake is stopped")
        if not request.prompt:
            raise UserError("the prompt is empty; an engine needs at least one token")
        if len(request.prompt) > self._context:
            raise UserError(
                f"the prompt has {len(request.prompt)} tokens and this engine's context holds {self._context}; "
                "shorten the messages or serve with a longer context"
            )

    def _rule_of(self, adapter: str | None) -> Rule:
        if adapter is None:
            return self._rule
        if adapter not in self._adapters:
            raise NotFoundError(f"adapter {adapter} is not loaded in this engine; it has {sorted(self._adapters)}")
        return self._adapters[adapter]


def _permitted(constraint: Constraint, text: str) -> str:
    if isinstance(constraint, JsonSchema):
        checked_schema(constraint.json_schema)
    else:
        to_gbnf(constraint)  # refuses what the real engine refuses
    if permits(constraint, text):
        return text
    if isinstance(constraint, Labels):
        return (get_close_matches(text, constraint.labels, n=1, cutoff=0.0) or constraint.labels)[0]
    raise EngineError(f"the fake's rule answers {text!r}, which the request's constraint forbids")


def _cut(text: str, stops: Sequence[str]) -> tuple[str, bool]:
    found = [at for at in (text.find(stop) for stop in stops) if at >= 0]
    return (text[: min(found)], True) if found else (text, False)
