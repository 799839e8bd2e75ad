"""How many held-out label examples a second are measured, the whole way: `python bench/evaluation.py`.

Rendered, answered by llama.cpp freely and under the label constraint, scored, and stored in SQLite, as `freehold run`
does it: one child of one thread a core, each asked one question at a time, so that the same inputs give the same
answers. The messages are the bundled task's, cut to about 30 tokens. The base as it is mostly begins no label, and its
free answer ends there; an adapter that has learnt the labels (`--adapter`) writes one to its end and settles both ways
at once. The engine is the best that is installed: this machine's own `llama-server` (`freehold engines build`) where
there is one, else the wheel's (`--wheel` asks for that one). Three passes, each in a fresh store, show that answers
repeat, and how much the machine swings; one more shows that what is kept is not asked again.
"""

import argparse
import csv
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
from base import base_folder
from processor import children_seconds

from freehold import spec
from freehold.engines import environments
from freehold.engines.llamacpp import LlamaCpp, Settings
from freehold.engines.native import NATIVE, WHEEL
from freehold.engines.quantise import reencode
from freehold.evaluation.answerers import EngineAnswerer
from freehold.evaluation.measure import measure
from freehold.records import Candidate, CandidateKind, Example, Message, Provenance, Row, Split
from freehold.render import Prompt, Renderer
from freehold.store.answers import Answers
from freehold.store.database import connect

BUNDLED = Path(__file__).parents[1] / "examples" / "frontline"
TOKENS = 30
RUNS = 3


def examples(renderer: Renderer, count: int) -> list[Example]:
    """The first messages of the bundled task that have 30 tokens or more, cut to 30."""
    with (BUNDLED / "messages.csv").open(encoding="utf-8", newline="") as file:
        rows = [(renderer.encode(row["text"]), row["category"]) for row in csv.DictReader(file)]
    long = [(renderer.decode(ids[:TOKENS]), label) for ids, label in rows if len(ids) >= TOKENS]
    return [
        Example(
            id=str(at),
            salt="",
            split=Split.HELD_OUT,
            messages=(Message(role="user", content=text),),
            reference=label,
            provenance=Provenance.HUMAN,
            origin=f"messages.csv:{at}",
        )
        for at, (text, label) in enumerate(long[:count])
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "base", type=Path, nargs="?", help="the folder of a pulled base; left out: SmolLM2-135M, pulled"
    )
    parser.add_argument("--adapter", type=Path, help="an adapter.gguf that was tuned on the bundled task")
    parser.add_argument("--wheel", action="store_true", help="the engine in the wheel, whatever else is installed")
    parser.add_argument("--encoding", default="Q8_0", help="what the base is re-encoded in")
    parser.add_argument("--examples", type=int, default=200)
    options = parser.parse_args()
    task = spec.load(BUNDLED / "freehold.yaml").task
    base = base_folder(options.base)
    renderer = Renderer(base)
    held_out = examples(renderer, options.examples)
    cores = psutil.cpu_count() or 1
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.gguf"
        reencode(base / "weights.gguf", weights, options.encoding)
        adapters = {"a": options.adapter} if options.adapter else {}
        native = None if options.wheel else environments.native_server()
        program = str(native) if native else None
        engine = LlamaCpp(weights, adapters, Settings(slots=1, children=cores, threads=1, program=program))
        engine.start()
        try:
            answerer = EngineAnswerer(
                engine,
                renderer,
                Prompt(system=task.description),
                task,
                adapter="a" if adapters else None,
                concurrency=cores,
            )
            measure_once(answerer, held_out[:4], task, Path(folder) / "warm.db")
            before = children_seconds()
            fresh = [measure_once(answerer, held_out, task, Path(folder) / f"{run}.db") for run in range(RUNS)]
            processor = (children_seconds() - before) / RUNS
            _, again = measure_once(answerer, held_out, task, Path(folder) / "0.db")
        finally:
            engine.stop()
    figures = {
        "engine": f"{NATIVE if native else WHEEL}, {options.encoding}",
        "examples": len(held_out),
        "examples_per_second": round(len(held_out) / statistics.median(seconds for _, seconds in fresh), 1),
        "by_run": [round(len(held_out) / seconds, 1) for _, seconds in fresh],
        "engine_processor_ms_an_example": round(1000 * processor / len(held_out), 1),
        "kept_examples_per_second": round(len(held_out) / again, 1),
        "same_answers": all(_answers(rows) == _answers(fresh[0][0]) for rows, _ in fresh),
        "cores": cores,
        "load": round(psutil.getloadavg()[0], 1),
    }
    print(json.dumps(figures, indent=1))


def measure_once(
    answerer: EngineAnswerer, held_out: Sequence[Example], task: spec.Task, database: Path
) -> tuple[list[Row], float]:
    """The rows, and the seconds from the first prompt to the last row stored."""
    candidate = Candidate(name="bench", kind=CandidateKind.TUNED, digest="bench")
    store = Answers(connect(f"sqlite:///{database}"))
    began = time.perf_counter()
    return measure(candidate, answerer, held_out, task, store), time.perf_counter() - began


def _answers(rows: Sequence[Row]) -> list[tuple[str, str | None]]:
    return [(row.answer, row.free_answer) for row in rows]


if __name__ == "__main__":
    main()
