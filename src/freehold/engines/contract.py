"""The contract that any engine must keep before it is trusted with answers, as questions put to it.

The tests put more of them to every engine; these few are put to a program that was found or built on this machine.
"""

import json
import re
from collections.abc import Callable

from freehold.engines.engine import Answer, Completion, Constraint, Engine, Gbnf, JsonSchema, Labels, Regex, Sampling
from freehold.errors import EngineError, UserError

_QUESTION = "<|im_start|>user\nIs fire hot? Answer yes or no.<|im_end|>\n<|im_start|>assistant\n"
_LABELS = ("payroll", "دفع الرواتب", "工资", "a]b^c-d", 'say "yes"')
_SCHEMA = {
    "type": "object",
    "properties": {"hot": {"type": "boolean"}},
    "required": ["hot"],
    "additionalProperties": False,
}


def check(engine: Engine) -> int:
    """Put every clause to a started engine; how many it kept. Raises `EngineError` naming the first that it breaks."""
    for clause in CLAUSES:
        if not clause(engine):
            raise EngineError(f"the engine breaks its contract: {clause.__doc__}")
    return len(CLAUSES)


def _ask(engine: Engine, constraint: Constraint | None = None, tokens: int = 24, stop: tuple[str, ...] = ()) -> Answer:
    return engine.complete(_request(engine, Sampling(max_tokens=tokens, constraint=constraint, stop=stop)))


def _request(engine: Engine, sampling: Sampling, times: int = 1) -> Completion:
    return Completion(prompt=tuple(engine.tokenize(_QUESTION)) * times, sampling=sampling)


def _repeats(engine: Engine) -> bool:
    """the same question has the same answer"""
    return _ask(engine).text == _ask(engine).text != ""


def _labels(engine: Engine) -> bool:
    """a label, in any script, is one of those permitted, and counted whole"""
    for permitted in (_LABELS, *((label,) for label in _LABELS)):
        answer = _ask(engine, Labels(labels=permitted), tokens=40)
        if answer.text not in permitted or answer.output_tokens != len(engine.tokenize(answer.text)) + 1:
            return False
    return True


def _schema(engine: Engine) -> bool:
    """JSON satisfies its schema"""
    return isinstance(json.loads(_ask(engine, JsonSchema(json_schema=_SCHEMA), tokens=40).text)["hot"], bool)


def _grammars(engine: Engine) -> bool:
    """a regular expression and a grammar bind"""
    matched = re.fullmatch(r"[a-z]{3}-\d{2}", _ask(engine, Regex(pattern=r"[a-z]{3}-\d{2}")).text)
    return matched is not None and _ask(engine, Gbnf(grammar='root ::= "yes it is hot"')).text == "yes it is hot"


def _bounds(engine: Engine) -> bool:
    """an answer ends at its bound and before its stop sequence"""
    short, whole = _ask(engine, tokens=2), _ask(engine).text
    word = whole.split()[-1]
    return short.finish_reason == "length" and _ask(engine, stop=(word,)).text == whole[: whole.find(word)]


def _pieces(engine: Engine) -> bool:
    """the pieces of a stream add up to the answer"""
    pieces = list(engine.stream(_request(engine, Sampling(max_tokens=24))))
    last = pieces[-1].answer
    return last is not None and "".join(piece.text for piece in pieces) == last.text == _ask(engine).text


def _refuses(engine: Engine) -> bool:
    """a prompt that does not fit is the caller's fault"""
    try:
        engine.complete(_request(engine, Sampling(max_tokens=1), times=500))
    except UserError:
        return True
    return False


CLAUSES: tuple[Callable[[Engine], bool], ...] = (_repeats, _labels, _schema, _grammars, _bounds, _pieces, _refuses)
