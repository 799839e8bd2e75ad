"""What a judge is told, and how its verdict is read.

The wording follows MT-Bench's (Zheng et al. 2023, "Judging LLM-as-a-Judge with MT-Bench and Chatbot Arena"): the
verdict stands in double brackets at the end. What does not hold one is nonsense: it is counted, never guessed.
"""

import re
from collections.abc import Sequence

from freehold.evaluation.arena.votes import LEFT, RIGHT, TIE
from freehold.records import Message

LOWEST, HIGHEST = 1.0, 10.0
_FAIR = (
    "Be objective: let neither the order of the answers, nor their length, nor the name of any assistant sway you. "
    "Explain your judgment in a few sentences, then end with the verdict "
)
_GRADE = re.compile(r"\[\[\s*(\d+(?:\.\d+)?)\s*(?:/\s*10)?\s*\]\]")
_CHOICE = re.compile(r"\[\[\s*([ABC])\s*\]\]")
_CHOICES = {"A": LEFT, "B": RIGHT, "C": TIE}


def grading(turns: Sequence[Message], rubric: str | None, reference: str | None = None) -> tuple[Message, ...]:
    """Asks for a grade of the conversation's last answer; the turns before it are context."""
    told = f"You grade an assistant's last answer on a scale from 1 to 10. {_FAIR}as a number: [[5]]."
    return (
        Message(role="system", content=_with(told, rubric)),
        Message(role="user", content=f"{_conversation(turns)}{_reference(reference)}"),
    )


def comparing(
    question: str, answers: tuple[str, str], rubric: str | None, reference: str | None = None
) -> tuple[Message, ...]:
    """Asks which of two answers, A or B, is better."""
    told = f"You compare two assistants' answers. {_FAIR}: [[A]], [[B]], or [[C]] where neither is better."
    text = (
        f"[The question]\n{question}\n{_reference(reference)}\n"
        f"[The start of assistant A's answer]\n{answers[0]}\n[The end of assistant A's answer]\n\n"
        f"[The start of assistant B's answer]\n{answers[1]}\n[The end of assistant B's answer]"
    )
    return Message(role="system", content=_with(told, rubric)), Message(role="user", content=text)


def grade(text: str) -> float | None:
    """The grade in a judge's answer; None where it holds none, or several that differ, or one off the scale."""
    found = {float(each) for each in _GRADE.findall(text)}
    value = found.pop() if len(found) == 1 else None
    return value if value is not None and LOWEST <= value <= HIGHEST else None


def choice(text: str) -> int | None:
    """`LEFT` for A, `RIGHT` for B, `TIE` for C; None where the judge's answer holds none, or several that differ."""
    found = set(_CHOICE.findall(text))
    return _CHOICES[found.pop()] if len(found) == 1 else None


def _with(told: str, rubric: str | None) -> str:
    return f"{told}\n\nWhat a good answer is:\n{rubric}" if rubric else told


def _reference(reference: str | None) -> str:
    return f"\n[A reference answer]\n{reference}\n" if reference else ""


def _conversation(turns: Sequence[Message]) -> str:
    names = {"system": "The instruction", "user": "The user", "assistant": "The assistant"}
    return "\n\n".join(f"[{names.get(turn.role, turn.role)}]\n{turn.content}" for turn in turns)
