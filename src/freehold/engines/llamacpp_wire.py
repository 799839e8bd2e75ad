"""llama.cpp's `/completion` as JSON: what is asked, what comes back, and what its refusals mean."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from freehold.engines.engine import Completion, JsonSchema, Labels, Sampling, TokenLogprob
from freehold.engines.grammar import checked_schema, telling_prefixes, to_gbnf
from freehold.errors import EngineError, NotFoundError, UserError

PROBABILITIES = "completion_probabilities"
_ABOVE_ALL = 1000.0  # logits lie within tens of each other; float32 is exact to 0.0001 up here
_FEW = ["tokens", "content", "tokens_evaluated", "tokens_predicted", "stop_type", "timings"]


def body(request: Completion, adapters: Sequence[str]) -> dict[str, Any]:
    """The request. Every loaded adapter's scale is named: 1 for the one that must answer, 0 for the rest."""
    if not request.prompt:
        raise UserError("the prompt is empty; an engine needs at least one token")
    if request.adapter is not None and request.adapter not in adapters:
        raise NotFoundError(f"adapter {request.adapter} is not loaded in this engine; it has {sorted(adapters)}")
    sampling = request.sampling
    return {
        "prompt": request.prompt,
        "n_predict": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": 1 if sampling.temperature == 0 else 0,
        "min_p": 0.0,
        "stop": list(sampling.stop or forced_from(sampling)),
        "cache_prompt": True,
        "lora": [{"id": at, "scale": float(name == request.adapter)} for at, name in enumerate(adapters)],
        **({} if sampling.seed is None else {"seed": sampling.seed}),
        **({} if sampling.logprobs is None else {"n_probs": sampling.logprobs}),
        **_constraint(sampling),
    }


def choice(ids: Iterable[int]) -> dict[str, Any]:
    """One token of these: their logits are lifted above all others, which keeps the distances between them."""
    bias = [[each, _ABOVE_ALL] for each in sorted(ids)]
    one = {"n_predict": 1, "logit_bias": bias, "return_tokens": True, "response_fields": _FEW}
    return one | {"grammar": "", "stop": []}


def one_line(grammar: str) -> str:
    """llama.cpp's grammar of a JSON Schema with at most one space wherever it allows any white space."""
    return re.sub(r"^space ::=.*$", 'space ::= | " "', grammar, flags=re.MULTILINE)


def forced_from(sampling: Sampling) -> Mapping[str, str]:
    """Prefixes at which decoding may stop because the rest of the label is forced, and those labels.

    None where log-probabilities are asked for: llama.cpp drops those of what it stopped at.
    """
    constraint = sampling.constraint
    whole = sampling.stop or sampling.logprobs is not None
    return telling_prefixes(constraint.labels) if isinstance(constraint, Labels) and not whole else {}


def forced(sampling: Sampling, result: Mapping[str, Any]) -> str | None:
    """The whole label where decoding was stopped at its telling prefix."""
    return forced_from(sampling).get(result["stopping_word"]) if result["stop_type"] == "word" else None


def logprobs(result: Mapping[str, Any]) -> tuple[TokenLogprob, ...]:
    """The decoded tokens' log-probabilities, each with its rivals."""
    return tuple(_logprob(each) for each in result.get(PROBABILITIES, ()))


def _logprob(entry: Mapping[str, Any]) -> TokenLogprob:
    rivals = {str(each["id"]): float(each["logprob"]) for each in entry.get("top_logprobs", ())}
    return TokenLogprob(id=entry["id"], text=entry["token"], logprob=entry["logprob"], top=rivals)


def _constraint(sampling: Sampling) -> dict[str, Any]:
    if isinstance(sampling.constraint, JsonSchema):
        return {"json_schema": checked_schema(sampling.constraint.json_schema)}
    return {} if sampling.constraint is None else {"grammar": to_gbnf(sampling.constraint)}


def refusal(status: int, content: bytes) -> EngineError | UserError:
    """llama.cpp's error as ours: the one boundary where its errors are translated."""
    try:
        error = json.loads(content)["error"]
    except (ValueError, KeyError, TypeError):
        return EngineError(f"llama.cpp answered HTTP {status}: {content[:200]!r}")
    message = str(error.get("message", "")).strip()
    if error.get("type") == "exceed_context_size_error":
        return UserError(
            f"the prompt has {error.get('n_prompt_tokens')} tokens and this engine's context holds "
            f"{error.get('n_ctx')}; shorten the messages or serve with a longer context"
        )
    if status == 400:
        return UserError(f"llama.cpp refuses the request: {message}")
    return EngineError(f"llama.cpp answered HTTP {status}: {message}")
