"""OpenAI's legacy Completions: the prompt is what the user says, the answer its continuation.

Source: OpenAI's API reference, *Completions*. The prompt goes through the model's chat template like any other message,
since that is how the model was tuned (invariant 2).
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from freehold.gateway.body import typed
from freehold.gateway.chat import DONE
from freehold.gateway.dialects.dialect import Asked, Document, event, unsaid

_OWN = frozenset(("prompt", "logprobs", "echo", "best_of", "suffix"))


class _Request(msgspec.Struct):
    prompt: str | list[Any]
    logprobs: int | None = None
    echo: bool | None = None
    best_of: int | None = None
    suffix: str | None = None


_REQUEST = msgspec.json.Decoder(_Request)
_FIELDS = msgspec.json.Decoder(dict[str, Any])


class Completions:
    """The dialect of /v1/completions."""

    def chat(self, content: bytes) -> Document:
        asked = typed(content, _REQUEST)
        if asked.echo:
            unsaid("echo", "is on: a chat cannot score a text (`freehold benchmark` does, in torch)")
        if asked.suffix:
            unsaid("suffix", "is given")
        if (asked.best_of or 1) > 1:
            unsaid("best_of", f"is {asked.best_of}")
        fields = {name: value for name, value in _FIELDS.decode(content).items() if name not in _OWN}
        if asked.logprobs is not None:
            fields["logprobs"] = True
            fields |= {"top_logprobs": asked.logprobs} if asked.logprobs else {}
        return {**fields, "messages": [{"role": "user", "content": _text(asked.prompt)}]}

    def answer(self, asked: Asked, completion: Document) -> Document:
        choices = [_choice(each, (each.get("message") or {}).get("content")) for each in completion.get("choices", ())]
        return {**completion, "object": "text_completion", "choices": choices}

    def stream(self, asked: Asked) -> "_Stream":
        return _Stream()


class _Stream:
    """The chunks, each with its text where the chat's has a delta; the opening one says nothing here."""

    def feed(self, chunk: Document) -> Iterator[bytes]:
        choices = [_choice(each, (each.get("delta") or {}).get("content")) for each in chunk.get("choices") or ()]
        said = [each for each in choices if each["text"] or each["finish_reason"]]
        if said or not choices:
            yield event({**chunk, "object": "text_completion", "choices": said})

    def finish(self) -> Iterator[bytes]:
        yield DONE


def _text(prompt: str | list[Any]) -> str:
    if isinstance(prompt, str):
        return prompt
    if len(prompt) == 1 and isinstance(prompt[0], str):
        return prompt[0]
    what = "holds token ids" if any(isinstance(each, int | list) for each in prompt) else f"holds {len(prompt)} texts"
    unsaid("prompt", what)


def _choice(choice: Document, text: str | None) -> Document:
    return {
        "index": choice.get("index", 0),
        "text": text or "",
        "logprobs": _logprobs(choice.get("logprobs")),
        "finish_reason": choice.get("finish_reason"),
    }


def _logprobs(chat: Document | None) -> Document | None:
    """Four lists of one entry a token; offsets count characters from the start of the answer."""
    content = (chat or {}).get("content")
    if not content:
        return None
    offsets, at = [], 0
    for each in content:
        offsets.append(at)
        at += len(each["token"])
    return {
        "tokens": [each["token"] for each in content],
        "token_logprobs": [each["logprob"] for each in content],
        "top_logprobs": [{top["token"]: top["logprob"] for top in each.get("top_logprobs") or ()} for each in content],
        "text_offset": offsets,
    }
