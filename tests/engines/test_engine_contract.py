"""One suite, run on every engine: whatever answers must answer like this."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from freehold.engines import environments
from freehold.engines.engine import Completion, Constraint, Engine, Gbnf, JsonSchema, Labels, Regex, Sampling
from freehold.engines.fake import Fake
from freehold.engines.llamacpp import LlamaCpp, Settings
from freehold.engines.vllm import Vllm, VllmSettings
from freehold.errors import EngineError, NotFoundError, UserError

QUESTION = "<|im_start|>user\nIs fire hot? Answer yes or no.<|im_end|>\n<|im_start|>assistant\n"
SCHEMA = {
    "type": "object",
    "properties": {"hot": {"type": "boolean"}},
    "required": ["hot"],
    "additionalProperties": False,
}


def _say(text: str) -> str:
    """The fake's rule: something that every constraint of this suite can live with."""
    return "yes it is hot"


@pytest.fixture(scope="module", params=["fake", "llamacpp", "native", pytest.param("vllm", marks=pytest.mark.slow)])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    made: Engine
    if request.param == "fake":
        made = Fake(_say, context=256)
    elif request.param == "vllm":
        if environments.vllm_python() is None:
            pytest.skip(f"vLLM is not installed; {environments.VLLM_INSTALL}")
        made = Vllm(request.getfixturevalue("smollm2_safetensors"), settings=VllmSettings(slots=2, context=256))
    else:
        program = environments.native_server()
        if request.param == "native" and program is None:
            pytest.skip("no native llama-server; freehold engines build")
        weights: Path = request.getfixturevalue("smollm2")
        native = str(program) if request.param == "native" else None
        made = LlamaCpp(weights, settings=Settings(slots=2, context=256, program=native))
    made.start()
    yield made
    made.stop()


def ask(engine: Engine, text: str = QUESTION, max_tokens: int = 24, constraint: Constraint | None = None) -> Completion:
    return Completion(
        prompt=tuple(engine.tokenize(text)), sampling=Sampling(max_tokens=max_tokens, constraint=constraint)
    )


def test_the_same_question_has_the_same_answer(engine: Engine) -> None:
    first, second = engine.complete(ask(engine)), engine.complete(ask(engine))
    assert first.text == second.text != ""


def test_usage_counts_the_whole_prompt(engine: Engine) -> None:
    request = ask(engine)
    answer = engine.complete(request)
    assert answer.input_tokens == len(request.prompt)
    assert answer.cached_tokens < answer.input_tokens
    assert answer.latency_ms > 0
    assert answer.adapter is None


def test_output_tokens_count_the_answer_and_its_end(engine: Engine) -> None:
    labels = ("payroll", "safety", "scheduling")
    answer = engine.complete(ask(engine, constraint=Labels(labels=labels)))
    assert answer.output_tokens == len(engine.tokenize(answer.text)) + 1
    assert answer.finish_reason == "stop"


def test_max_tokens_end_an_answer(engine: Engine) -> None:
    answer = engine.complete(ask(engine, max_tokens=2))
    assert answer.finish_reason == "length"
    assert answer.output_tokens == 2


def test_stop_sequences_end_an_answer_and_are_left_out(engine: Engine) -> None:
    whole = engine.complete(ask(engine)).text
    word = whole.split()[1]
    request = Completion(prompt=tuple(engine.tokenize(QUESTION)), sampling=Sampling(max_tokens=24, stop=(word,)))
    answer = engine.complete(request)
    assert answer.text == whole[: whole.find(word)]
    assert answer.finish_reason == "stop"


AWKWARD = (
    'say "yes"',
    "C:\\temp",
    "دفع الرواتب",
    "工资",
    "tab\there",
    "pay",
    "payroll",
    "pay roll",
    "a]b^c-d",
    "gaji—🙂",
)


@pytest.mark.parametrize("label", AWKWARD)
def test_any_label_can_be_decoded(engine: Engine, label: str) -> None:
    answer = engine.complete(ask(engine, constraint=Labels(labels=(label,)), max_tokens=40))
    assert answer.text == label


def test_only_a_permitted_label_is_decoded(engine: Engine) -> None:
    answer = engine.complete(ask(engine, constraint=Labels(labels=AWKWARD), max_tokens=40))
    assert answer.text in AWKWARD


def test_json_satisfies_its_schema(engine: Engine) -> None:
    fake = isinstance(engine, Fake)
    speaker: Engine = Fake(lambda _: '{"hot": true}') if fake else engine
    speaker.start()
    answer = speaker.complete(ask(speaker, constraint=JsonSchema(json_schema=SCHEMA), max_tokens=40))
    assert isinstance(json.loads(answer.text)["hot"], bool)
    assert "\n" not in answer.text


def test_a_regex_and_a_grammar_bind(engine: Engine) -> None:
    bound = engine.complete(ask(engine, constraint=Regex(pattern=r"[a-z]{3}( \w+){1,3}")))
    assert bound.text.split()[0].isalpha()
    assert engine.complete(ask(engine, constraint=Gbnf(grammar='root ::= "yes it is hot"'))).text == "yes it is hot"


def test_pieces_add_up_to_the_answer(engine: Engine) -> None:
    pieces = list(engine.stream(ask(engine)))
    answer = pieces[-1].answer
    assert answer is not None
    assert all(piece.answer is None for piece in pieces[:-1])
    assert "".join(piece.text for piece in pieces) == answer.text == engine.complete(ask(engine)).text


def test_a_stream_can_be_left(engine: Engine) -> None:
    stream = engine.stream(ask(engine, max_tokens=200))
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert engine.complete(ask(engine)).text


def test_many_threads_each_get_their_own_answer(engine: Engine) -> None:
    labels = [f"label {letter}" for letter in "abcdefgh"]
    answers: dict[str, str] = {}

    def work(label: str) -> None:
        answers[label] = engine.complete(ask(engine, constraint=Labels(labels=(label,)))).text

    threads = [threading.Thread(target=work, args=(label,)) for label in labels]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {label: label for label in labels}


def test_too_long_a_prompt_is_the_callers_fault(engine: Engine) -> None:
    with pytest.raises(UserError, match=r"tokens and this engine's context holds 256"):
        engine.complete(ask(engine, text=QUESTION * 40))


def test_an_empty_prompt_is_the_callers_fault(engine: Engine) -> None:
    with pytest.raises(UserError, match="empty"):
        engine.complete(Completion(prompt=(), sampling=Sampling(max_tokens=1)))


@pytest.mark.parametrize(
    "constraint",
    [
        Labels(labels=()),
        Labels(labels=("",)),
        JsonSchema(json_schema={"type": "nonsense"}),
        Regex(pattern="(unclosed"),
        Regex(pattern=r"(a)\1"),
    ],
)
def test_a_wrong_constraint_is_the_callers_fault(engine: Engine, constraint: Constraint) -> None:
    with pytest.raises(UserError):
        engine.complete(ask(engine, constraint=constraint))


def test_an_adapter_that_is_not_loaded_is_not_found(engine: Engine) -> None:
    with pytest.raises(NotFoundError, match="nobody"):
        engine.complete(Completion(prompt=(1, 2), sampling=Sampling(max_tokens=1), adapter="nobody"))


def test_starting_twice_is_once(engine: Engine) -> None:
    engine.start()
    assert engine.complete(ask(engine)).text


@pytest.mark.parametrize("which", ["fake", "llamacpp"])
def test_a_stopped_engine_says_so(which: str, request: pytest.FixtureRequest) -> None:
    stopped: Engine = Fake(_say) if which == "fake" else LlamaCpp(request.getfixturevalue("smollm2"))
    stopped.stop()
    with pytest.raises(EngineError, match="stopped"):
        stopped.complete(Completion(prompt=(1,), sampling=Sampling(max_tokens=1)))
