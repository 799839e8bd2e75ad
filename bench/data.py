"""How fast the data room is, beside what people use today: `python bench/data.py [MESSAGES]`.

Messages are made of words with natural frequencies, and every twentieth is another one with a word changed. Each figure
is one run in this process; peak memory is the process's own, so it only grows from row to row. `datasets` and
`datasketch` are measured where they are installed (pip install datasets datasketch).
"""

import json
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from freehold.data import corpus, importing, intake
from freehold.data.contamination import contamination
from freehold.data.duplicates import distinct, near_pairs
from freehold.data.leakage import leaks
from freehold.data.redact import Redaction
from freehold.data.row import Row
from freehold.data.shingles import normal, shingles
from freehold.progress import SILENT
from freehold.records import Message, Provenance


def messages(count: int) -> list[str]:
    """Short messages of 5 to 16 words; every twentieth is an earlier one with its last word changed."""
    draw = random.Random(0)
    letters = "etaoinshrdlucmfwypvbgk"
    vocabulary = ["".join(draw.choices(letters, k=draw.randint(2, 9))) for _ in range(20_000)]
    weights = [1 / (rank + 10) for rank in range(len(vocabulary))]
    pool = draw.choices(vocabulary, weights, k=11 * count)
    made: list[str] = []
    at = 0
    for number in range(count):
        size = draw.randint(5, 16)
        if number % 20 == 19:
            made.append(made[draw.randrange(number)].rpartition(" ")[0] + " " + pool[at])
        else:
            made.append(" ".join(pool[at : at + size]))
        at = (at + size) % (len(pool) - 20)
    return made


def rows(texts: list[str]) -> list[Row]:
    human = Provenance.HUMAN
    return [Row(at, f"f:{at}", (Message(role="user", content=text),), "a", human) for at, text in enumerate(texts)]


def timed(name: str, work: Callable[[], str]) -> None:
    start = time.perf_counter()
    result = work()
    seconds = time.perf_counter() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{name:<42} {seconds:8.1f} s   peak {memory:6.0f} MB   {result}", flush=True)


def with_datasketch(texts: list[str]) -> str:
    """Plain datasketch at threshold 0.8: candidates only, nothing verified."""
    from datasketch import MinHash, MinHashLSH

    index, found = MinHashLSH(threshold=0.8, num_perm=128), 0
    for at, text in enumerate(texts):
        sketch = MinHash(num_perm=128)
        sketch.update_batch([gram.encode() for gram in shingles(normal(text))])
        found += len(index.query(sketch))
        index.insert(at, sketch)
    return f"{found:,} candidate pairs, not verified"


def with_datasets(source: Path, target: Path) -> str:
    """Hugging Face's `datasets`: the same file loaded, and written again as exchanges; nothing is checked."""
    from datasets import load_dataset

    def exchange(row: dict[str, Any]) -> dict[str, Any]:
        turns = row["messages"]
        return {"request": {"messages": turns[:-1]}, "response": {"choices": [{"message": turns[-1]}]}}

    loaded = load_dataset("json", data_files=str(source), split="train", cache_dir=str(target.parent / "cache"))
    loaded.map(exchange, remove_columns=["messages"]).to_json(str(target))
    return f"{len(loaded):,} rows"


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    texts = messages(count)
    print(f"{count:,} messages, {sum(map(len, texts)) / 1e6:.1f} MB")
    unique = list(dict.fromkeys(map(normal, texts)))
    timed("near-duplicate pairs, verified", lambda: f"{sum(1 for _ in near_pairs(unique)):,} pairs")
    few = unique[: max(1, count // 20)]
    timed(f"the same, {len(few):,} messages", lambda: f"{sum(1 for _ in near_pairs(few)):,} pairs")
    if find_spec("datasketch"):
        timed(f"datasketch, {len(few):,} messages", lambda: with_datasketch(few))
    kept = distinct(rows(texts)).kept
    cut = len(kept) // 5
    timed("independent check, a fifth held out", lambda: f"{len(leaks(kept[:cut], kept[cut:])):,} leaks")
    timed("redaction", lambda: f"{sum(bool(Redaction().hide(text)) for text in texts):,} texts")
    with tempfile.TemporaryDirectory() as folder:
        _files(Path(folder), texts)


def _files(folder: Path, texts: list[str]) -> None:
    source = folder / "logs.jsonl"
    with source.open("w") as handle:
        for text in texts:
            turns = [{"role": "user", "content": text}, {"role": "assistant", "content": "pay"}]
            handle.write(json.dumps({"messages": turns}) + "\n")
    size = source.stat().st_size / 1e6
    timed(
        f"import, {size:.1f} MB",
        lambda: f"{importing.import_rows(intake.Records(source, None), folder / 'x.jsonl', False, SILENT).kept:,} kept",
    )
    if find_spec("datasets"):
        timed(f"datasets, {size:.1f} MB", lambda: with_datasets(source, folder / "hf.jsonl"))
    bench = folder / "bench.csv"
    bench.write_text("question\n" + "".join(f"{text}\n" for text in texts[:: max(1, len(texts) // 2000)]))
    timed(
        f"contamination, {size:.1f} MB against 2,000 items",
        lambda: f"{contamination(corpus.documents(source), corpus.items(bench), SILENT).contaminated:,} found",
    )


if __name__ == "__main__":
    main()
