"""How many tokens an answer cost, whichever dialect it is reported in.

Sources: OpenAI's API reference (*usage* of Chat Completions, Completions, Embeddings and Responses), Anthropic's
(*usage* of Messages, where `input_tokens` leaves out what was read from or written to the cache).
"""

import msgspec


class Tokens(msgspec.Struct, frozen=True):
    """`cached` is part of `input`, `reasoning` is part of `output`. `estimated` where nobody reported them."""

    input: int = 0
    cached: int = 0
    output: int = 0
    reasoning: int = 0
    estimated: bool = False


class _Details(msgspec.Struct):
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class Usage(msgspec.Struct):
    """The union of every dialect's usage object."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _Details | None = None
    output_tokens_details: _Details | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None


class _Answer(msgspec.Struct):
    usage: Usage | None = None


_ANSWER = msgspec.json.Decoder(_Answer)


def reported(answer: bytes) -> Tokens | None:
    """The counts in a whole JSON answer, None where it holds none."""
    try:
        usage = _ANSWER.decode(answer).usage
    except msgspec.MsgspecError:
        return None
    return counted(usage) if usage is not None else None


def counted(usage: Usage) -> Tokens:
    """One dialect's usage as tokens."""
    if usage.prompt_tokens is not None:
        given, made = usage.prompt_tokens_details, usage.completion_tokens_details
        return Tokens(
            input=usage.prompt_tokens,
            cached=_cached(given),
            output=usage.completion_tokens or 0,
            reasoning=_reasoning(made),
        )
    read, written = usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0
    return Tokens(
        input=(usage.input_tokens or 0) + read + written,
        cached=read or _cached(usage.input_tokens_details),
        output=usage.output_tokens or 0,
        reasoning=_reasoning(usage.output_tokens_details),
    )


def _cached(details: _Details | None) -> int:
    return (details.cached_tokens or 0) if details else 0


def _reasoning(details: _Details | None) -> int:
    return (details.reasoning_tokens or 0) if details else 0
