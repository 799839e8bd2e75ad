"""Answers that must not be learned: errors, truncations, refusals, and what is not text.

Each is a reason under which the row is dropped and counted. An answer that a person corrected is never dropped for what
the recorded one was.
"""

import re
from collections.abc import Mapping
from typing import Any

# Openings of refusals; an accepted answer does not begin like this in any task that asks for something.
_REFUSAL = re.compile(
    r"\s*(?:i['’]?m sorry,? but|i am sorry,? but|sorry,? (?:but )?i (?:can['’]?t|cannot)|as an ai(?: language)? model"
    r"|i (?:can['’]?t|cannot|am unable to|['’]?m unable to) (?:assist|help|comply|provide|fulfill)"
    r"|lo siento,? pero no puedo|je suis désolée?,? mais je ne peux pas|es tut mir leid,? aber ich kann"
    r"|mi dispiace,? ma non posso|desculpe,? mas não posso|maaf,? (?:tetapi |tapi )?saya tidak (?:dapat|bisa)"
    r"|(?:很)?抱歉，?我(?:无法|不能)|申し訳ありませんが|عذر[اًا]+،? (?:لكن )?لا (?:يمكنني|أستطيع))",
    re.IGNORECASE,
)


def fault(fields: Mapping[str, Any]) -> str | None:
    """Why a recorded exchange's answer must not be learned: `error`, `truncated`, `refusal`, `no_answer`; or None."""
    feedback = fields.get("feedback")
    corrected = feedback.get("verdict") if isinstance(feedback, Mapping) else feedback
    if corrected == "corrected":
        return None
    if {"request", "response"} <= fields.keys():
        return _response_fault(fields["response"])
    turns = fields.get("messages")
    last = turns[-1] if isinstance(turns, list) and turns else None
    return _text_fault(last.get("content")) if isinstance(last, Mapping) and last.get("role") == "assistant" else None


def _response_fault(response: object) -> str | None:
    if not isinstance(response, Mapping) or response.get("error"):
        return "error"
    choices = response.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, Mapping) or not isinstance(choice.get("message"), Mapping):
        return "no_answer"
    message = choice["message"]
    if choice.get("finish_reason") in ("length", "content_filter"):
        return "truncated"
    return "refusal" if message.get("refusal") else _text_fault(message.get("content"))


def _text_fault(content: object) -> str | None:
    if content is None or (isinstance(content, str) and not content.strip()):
        return "no_answer"
    return "refusal" if isinstance(content, str) and _REFUSAL.match(content) else None
