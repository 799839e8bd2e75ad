"""Through the real engine: the free answer that is a permitted label is what constrained decoding gives."""

from pathlib import Path

from evaluation_material import LABELS, example

from freehold.engines.chat import Chat
from freehold.engines.engine import Answer, Completion, Sampling
from freehold.engines.llamacpp import LlamaCpp, Settings
from freehold.evaluation.answerers import EngineAnswerer, RemoteAnswerer, constraint
from freehold.evaluation.measure import measure
from freehold.evaluation.prompted import answer_tokens, careful_prompt
from freehold.records import Candidate, CandidateKind, Split
from freehold.render import Prompt, Renderer, Shot
from freehold.spec import Task
from freehold.store.answers import Answers

TEXTS = {
    "payroll": ["my payslip is short", "where is my overtime pay", "wrong tax code on my wages", "bonus not paid"],
    "safety": ["wet floor by the loading dock", "the fire exit is blocked", "guard missing on the saw", "gas smell"],
    "scheduling": ["can I swap my Friday shift", "am I on tomorrow", "who is on nights next week", "rota is wrong"],
}
ASKED = [(text, label) for label, texts in TEXTS.items() for text in texts]
HELD_OUT = [example(at, label, text=text) for at, (text, label) in enumerate(ASKED)]
TRAIN = [example(at, LABELS[at % 3], Split.TRAIN, text=f"about {LABELS[at % 3]}, please") for at in range(6)]


def test_a_free_label_is_the_constrained_one(smollm2_folder: Path, smollm2: Path, task: Task, answers: Answers) -> None:
    renderer = Renderer(smollm2_folder)
    shots = tuple(Shot(input=text, answer=label) for at in (0, 1) for text, label in ASKED[at::4])
    prompt = Prompt(system="Answer with a label.", shots=shots)
    engine = LlamaCpp(smollm2, settings=Settings(slots=2, context=512))
    engine.start()
    try:
        candidate = Candidate(name="prompted", kind=CandidateKind.PROMPTED, digest="a" * 64)
        answerer = EngineAnswerer(engine, renderer, prompt, task, concurrency=2)
        rows = measure(candidate, answerer, HELD_OUT, task, answers)
        implied = [(row, each) for row, each in zip(rows, HELD_OUT, strict=True) if row.free_answer in LABELS]
        assert implied, "the base answers no label freely; this test needs messages on which it does"
        sampling = Sampling(max_tokens=answer_tokens(task, renderer), constraint=constraint(task))
        for row, each in implied:
            ids = renderer.ids(prompt.messages(each.messages))
            assert engine.complete(Completion(prompt=ids, sampling=sampling)).text == row.answer == row.free_answer
    finally:
        engine.stop()
    assert all(row.answer in LABELS and row.error is None and row.input_tokens > 0 for row in rows)


def test_a_remote_model_is_asked_under_the_same_prompt(smollm2_folder: Path, task: Task, answers: Answers) -> None:
    seen: list[Chat] = []

    class Endpoint:
        def chat(self, request: Chat) -> Answer:
            seen.append(request)
            return Answer(
                text="payroll", input_tokens=50, output_tokens=2, cached_tokens=0, finish_reason="stop", latency_ms=9.0
            )

    prompt = careful_prompt(task, TRAIN, Renderer(smollm2_folder), 512)
    candidate = Candidate(name="rented", kind=CandidateKind.INCUMBENT, digest="b" * 64)
    rows = measure(candidate, RemoteAnswerer(Endpoint(), prompt, task), HELD_OUT, task, answers)
    assert sum(row.score for row in rows) == 4
    assert {request.messages for request in seen} == {prompt.messages(each.messages) for each in HELD_OUT}
    assert seen[0].sampling.max_tokens >= len("scheduling")
