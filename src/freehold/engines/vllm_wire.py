"""vLLM's `/v1/completions` as JSON: what is asked by its own means, what comes back, and what its refusals mean."""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from freehold.engines.engine import Answer, Completion, Constraint, Gbnf, JsonSchema, Labels, TokenLogprob
from freehold.engines.grammar import checked_schema, to_gbnf
from freehold.errors import EngineError, NotFoundError, UserError

BASE = "base"  # the name that the base is served under; an adapter's is its digest
_AS_ID = "token_id:"


def body(request: Completion, room: int) -> dict[str, Any]:
    """The request, without its model; `room` is how many tokens the context still holds."""
    sampling = request.sampling
    return {
        "prompt": request.prompt,
        "max_tokens": min(sampling.max_tokens, room),
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "stop": list(sampling.stop),
        **({} if sampling.seed is None else {"seed": sampling.seed}),
        **({} if sampling.logprobs is None else {"logprobs": sampling.logprobs, "return_tokens_as_token_ids": True}),
        **({} if sampling.constraint is None else {"structured_outputs": structured(sampling.constraint)}),
    }


def structured(constraint: Constraint) -> dict[str, Any]:
    """vLLM's structured outputs; raises `UserError` for what no engine of ours takes."""
    if isinstance(constraint, JsonSchema):
        checked_schema(constraint.json_schema)
        return {"json": constraint.json_schema}
    grammar = to_gbnf(constraint)
    if isinstance(constraint, Labels):
        return {"choice": list(constraint.labels)}
    return {"grammar": grammar} if isinstance(constraint, Gbnf) else {"regex": constraint.pattern}


def choice(ids: Iterable[int]) -> dict[str, Any]:
    """One token of these, and its id in the answer."""
    return {"max_tokens": 1, "allowed_token_ids": sorted(ids), "return_token_ids": True, "structured_outputs": None}


def chosen(result: Mapping[str, Any]) -> int:
    """The id of the one token that was decoded."""
    return int(result["choices"][0]["token_ids"][0])


def answer(result: Mapping[str, Any], latency_ms: float, text_of: Callable[[int], str]) -> Answer:
    """A finished completion. `text_of` says what a token id is as text."""
    choice, usage = result["choices"][0], result["usage"]
    details = usage.get("prompt_tokens_details") or {}
    return Answer(
        text=choice["text"],
        input_tokens=usage["prompt_tokens"],
        output_tokens=usage["completion_tokens"],
        cached_tokens=details.get("cached_tokens") or 0,
        finish_reason="length" if choice["finish_reason"] == "length" else "stop",
        latency_ms=latency_ms,
        adapter=None if result["model"] == BASE else result["model"],
        logprobs=_logprobs(choice.get("logprobs"), text_of),
    )


def refusal(status: int, content: bytes) -> EngineError | UserError:
    """vLLM's error as ours: the one boundary where its errors are translated."""
    try:
        found = json.loads(content)
        message = str(found.get("error", found)["message"]).strip()
    except (ValueError, KeyError, TypeError, AttributeError):
        message = content[:200].decode(errors="replace")
    if status == 404:
        return NotFoundError(f"vLLM has no such model ({message})")
    if status in (400, 422):
        return UserError(f"vLLM refuses the request: {message}")
    return EngineError(f"vLLM answered HTTP {status}: {message}")


def _logprobs(found: Mapping[str, Any] | None, text_of: Callable[[int], str]) -> tuple[TokenLogprob, ...]:
    if not found:
        return ()
    steps = zip(found["tokens"], found["token_logprobs"], found["top_logprobs"], strict=True)
    return tuple(
        TokenLogprob(id=_id(token), text=text_of(_id(token)), logprob=logprob, top=_rivals(top))
        for token, logprob, top in steps
    )


def _rivals(top: Mapping[str, float]) -> dict[str, float]:
    return {str(_id(token)): logprob for token, logprob in top.items()}


def _id(token: str) -> int:
    return int(token.removeprefix(_AS_ID))
