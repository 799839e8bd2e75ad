#!/usr/bin/env bash
# The promises of the evaluation (issue 7), run as a new user would; prints what was measured, fails where one is broken.
#
#   acceptance/evaluation.sh      needs `freehold` and `python` on PATH; ../shared/data for real votes and messages; ten to
#                                 thirty minutes on two cores. lm-eval, pytest and hypothesis are used where installed.
set -uo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
shared="$here/../shared/data"
work=$(mktemp -d)
pids=()
finish() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null; done
  rm -rf "$work"
}
trap finish EXIT
cd "$work" || exit 1
export FREEHOLD_HOME=
# shellcheck source=lib/promises.sh
. "$here/acceptance/lib/promises.sh"
indented() { sed 's/^/        /' "${1:-out.txt}"; }
holds() { # holds WHAT: the Python program on standard input ends well
  if python - "$shared" >out.txt 2>&1; then ok "$1"; indented; else fail "$1"; fi
}
answers() { python -c "import sqlite3; print(sqlite3.connect('.freehold/freehold.db').execute('select count(*) from answers').fetchone()[0])" 2>/dev/null || echo 0; }
port() { python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
await() { for _ in $(seq 300); do curl -sf "$1" >/dev/null && return; sleep 0.2; done; fail "nothing answers at $1"; }
if [ ! -d "$shared" ]; then
  echo "skipped: ../shared/data is not there, and these promises are kept on real votes and messages"
  exit 0
fi

echo "1. scorers, from a task file: each on a figure that was published or worked out by hand"
printf 'def odd(answer, reference):\n    return 1 / (len(answer) %% 2)\ndef half(answer, reference):\n    return 0.5\n' >odd.py
printf 'def no_number(answer, reference):\n    return float("nan")\n' >nan.py
for base in all-minilm-l6-v2 smollm2-135m-instruct; do
  expect 0 "freehold pull $base" freehold pull $base
done
holds "every scorer that the issue names, by its name in \`scorers\`" <<'P'
from pathlib import Path
from freehold.evaluation.scorers import program, registry
from freehold.records import Row
from freehold.spec import Task
schema = {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}}
answer, reference = "the cat sat on mat", "the cat sat on the mat"
document = ('{"a": 1, "b": "x"}', '{"b": "y", "a": 1.0}')
kinds = {"text": {"type": "text"}, "json": {"type": "json", "schema": schema}}
cases = [
    ("exact_match", "text", " yes ", "yes", 1, "by hand"),
    ("field_accuracy", "json", *document, 0.5, "by hand: one field of two"),
    ("schema_valid", "json", '{"a": "1"}', "{}", 0, "JSON Schema 2020-12: a string is no integer"),
    ("rouge_l", "text", "police kill the gunman", "police killed the gunman", 0.75, "Lin 2004, section 3"),
    ("chrf", "text", answer, reference, 0.669286, "sacrebleu 2.6.0, sentence_chrf"),
    ("bleu", "text", answer, reference, 0.651113, "sacrebleu 2.6.0, sentence_bleu, add-k"),
    ("regex:[a-z_]+", "text", "age_limit", "", 1, "by hand"),
    ("python:odd.py:half", "text", "a", "b", 0.5, "by hand"),
    ("tests_pass", "text", "def double(x): return 2 * x", "assert double(3) == 6", 1, "run in a child process"),
    ("answered", "text", "I'm sorry, but I can't help with that.", "", 0, "a refusal"),
    ("language", "text", "The train is not here and I wait", "Ich habe die Karte nicht und warte", 0, "two languages"),
]
for name, kind, given, wanted, figure, source in cases:
    task = Task.model_validate({"task": "t", "description": "d", "data": {"source": "x"}, "answer": kinds[kind], "scorers": [name]})
    scorers = registry.beside_the_metric(task, Path(".freehold/models"))
    found = scorers[name](given, wanted) if name in scorers else registry.scorer(name, task)(given, wanted)
    assert abs(found - figure) < 1e-6, (name, found, figure)
    print(f"{name:20} {found:.4f}   {source}")
task = Task.model_validate({"task": "t", "description": "d", "data": {"source": "x"}, "answer": {"type": "text"}, "scorers": ["similarity", "latency:300", "cost:0.5,2", "cost:3.6"]})
similar = registry.beside_the_metric(task, Path(".freehold/models"))["similarity"]
near, far = similar("The freezer is broken.", "Our cold store does not work."), similar("The freezer is broken.", "When is payday?")
similar.stop()
assert near > far + 0.2
print(f"{'similarity':20} {near:.4f}   the same said otherwise; {far:.4f} for another thing")
row = Row(candidate="c", example="e", answer="a", score=1.0, input_tokens=400, output_tokens=100, latency_ms=250.0)
spent = {name: score(row) for name, score in registry.beside_the_text(task).items()}
assert spent == {"latency:300": 1, "cost:0.5,2": 0.4, "cost:3.6": 0.25}, spent
print(f"{'latency, cost':20} {spent}   by hand")
for n, c, k, figure in ((10, 3, 1, 0.3), (10, 3, 5, 11 / 12), (5, 4, 2, 1.0)):
    assert abs(program.pass_at_k(n, c, k) - figure) < 1e-9
print(f"{'pass@k':20} 0.9167   Chen et al. 2021: 1 - C(7,5)/C(10,5)")
P
holds "programs are held to time, memory and their own folder, and reach no network" <<'P'
from freehold.evaluation.scorers import leash
assert not leash.holes(), f"a program could reach {leash.holes()}"
assert not leash.runs("while True: pass") and not leash.runs("b = bytearray(4 * 1024**3)")
assert leash.runs("open('mine', 'w').write('x')") and not leash.runs("open('/tmp/theirs', 'w')")
print("ten seconds of computing, one GiB, its own folder, no network: each tried")
P

echo "   and in a run that is killed and goes on, on real messages"
python - "$shared" <<'P'
import csv, sys
labels = ["activate_my_card", "age_limit", "apple_pay_or_google_pay", "atm_support"]
for split, most in (("train", 25), ("test", 8)):
    rows = list(csv.DictReader(open(f"{sys.argv[1]}/banking77/{split}.csv")))
    kept = [row for label in labels for row in [each for each in rows if each["category"] == label][:most]]
    writer = csv.DictWriter(open(f"{split}.csv", "w", newline=""), fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(kept)
P
cat >freehold.yaml <<'Y'
task: banking
description: Name the intent of a message to a bank.
answer: {type: label, labels: [activate_my_card, age_limit, apple_pay_or_google_pay, atm_support]}
data: {source: train.csv, held_out: test.csv, input: text, answer: category}
use: {commercial: true}
tune: {method: lora, epochs: 1}
guard: {}
judge: {model: smollm2-135m-instruct, rubric: "The right intent, and nothing else."}
scorers: [chrf, bleu, rouge_l, similarity, language, answered, "latency:2000", "cost:0.15,0.60", "regex:[a-z_]+",
  "python:odd.py:odd", "python:nan.py:no_number"]
decide: {margin: 0.20}
Y
freehold run >killed.txt 2>&1 &
child=$!
for _ in $(seq 600); do
  sleep 0.5
  if [ "$(answers)" -gt 12 ] || ! kill -0 $child 2>/dev/null; then break; fi
done
kill -9 $child 2>/dev/null
wait $child 2>/dev/null
echo "        killed with $(answers) answers kept"
python -c "import sqlite3; sqlite3.connect('.freehold/freehold.db').backup(sqlite3.connect('before.db'))"
expect 0 "freehold run after kill -9" freehold run
sed -n '/candidate  /,/leaks/p' out.txt | indented -
holds "what was kept was not asked again" <<'P'
import sqlite3
query = "select candidate, prompt, constrained, answered_at from answers where error is null"
before, after = ({row[:3]: row[3] for row in sqlite3.connect(name).execute(query)} for name in ("before.db", ".freehold/freehold.db"))
assert before and all(after[key] == at for key, at in before.items())
print(f"{len(before)} of {len(after)} answers were there before")
P
freehold report --json >report.json
holds "freehold report --json keeps its contract" <<'P'
import json
found = json.load(open("report.json"))
assert {"task", "dataset", "metric", "references", "candidates"} <= set(found)
wanted = {"name", "kind", "value", "low", "high", "n", "free_value", "tokens_per_request", "latency_ms"}
assert all(wanted <= set(each) and set(each["latency_ms"]) == {"p50", "p95"} for each in found["candidates"])
assert found["leaks"] == 0 and found["metric"] == "accuracy"
P
holds "the page is one file that asks nothing of the network" <<'P'
import re, subprocess
text = open(subprocess.check_output(["freehold", "report", "--html"], text=True).strip()).read()
assert "<script" not in text and not re.search(r"(src|href)=|url\(|@import|https?://", text) and "<svg" in text
print(f"{len(text) / 1024:.0f} kB")
P
holds "every scorer gave a figure, label F1 macro and micro among them, and one that fails marks its rows while the run goes on" <<'P'
import json
found = json.load(open("report.json"))
named = ["chrf", "bleu", "rouge_l", "similarity", "language", "answered", "cost:0.15,0.60", "regex:[a-z_]+", "macro_f1", "micro_f1"]
tuned = next(each for each in found["candidates"] if each["kind"] == "tuned")
assert set(named) <= set(tuned["secondary"]), set(named) - set(tuned["secondary"])
for name in named:
    figure = tuned["secondary"][name]
    print(f"{name:16} {figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}], n = {figure['n']}")
odd = tuned["secondary"]["python:odd.py:odd"]["n"]
assert 0 < odd < tuned["n"] and "python:nan.py:no_number" not in tuned["secondary"]
print(f"python:odd.py:odd fails on {tuned['n'] - odd} of {tuned['n']} rows; one that gives NaN has no figure at all")
P
freehold report >out.txt
promise "with how often a scorer failed, and why" "python:odd.py:odd failed on [0-9]+ of 32 answers of tuned .*ZeroDivisionError"
promise "and the terminal shows them with interval and n" "micro F1 +tuned smollm2-135m-instruct +[0-9.]+% +\["
cat >problems.jsonl <<'J'
{"prompt": "Write a Python function double(x) that returns x times two. Answer with code only.", "tests": "assert double(3) == 6"}
{"prompt": "Write a Python function last(items) that returns the last item of a list. Answer with code only.", "tests": "assert last([1, 2]) == 2"}
J
expect 0 "pass@k of a real model" freehold benchmark programs problems.jsonl smollm2-135m-instruct --samples 3 --k 1 --k 3
tail -4 out.txt | indented -

echo "2. statistics: sources, published examples, coverage by simulation"
if python -c 'import pytest, hypothesis' 2>/dev/null; then
  expect 0 "each function names its source; 95 % intervals cover 93 to 97 %" python -m pytest -rP --rootdir "$here" -c "$here/pyproject.toml" -p no:cacheprovider "$here/tests/evaluation/test_statistics.py" "$here/tests/evaluation/test_f1.py" "$here/tests/evaluation/test_agreement.py" "$here/tests/evaluation/test_arena.py"
  grep -E '^covers|passed' out.txt | indented -
else
  echo "  skipped: pytest and hypothesis are not installed here"
fi

echo "3. a language model as the judge"
tuned="tuned smollm2-135m-instruct" plain="classifier (tf-idf)"
expect 0 "a real small one: pairs in both orders, with what sways it" freehold judge compare "$tuned" "$plain"
promise "verdicts that could not be read are shown" "could not be read"
for what in "judged alike in both orders" "went to the first answer" "to the longer answer" "more for its own answers"; do
  promise "shown: $what" "$what"
done
indented
expect 0 "grades against references" freehold judge grade "$tuned"
promise "and their nonsense" "verdicts could not be read"
indented
cat >judge.py <<'P'
"""Any OpenAI-compatible API may judge: this one goes by a rule that the model's name says."""
import json, re, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Judge(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self): self.say({})
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        text = asked["messages"][-1]["content"]
        sides = [part.split("answer]\n", 1)[1].split("\n[The end", 1)[0] for part in text.split("[The start of ")[1:]]
        if asked["model"] == "first": said = "[[A]]"
        elif asked["model"] == "long" and sides: said = "[[A]]" if len(sides[0]) > len(sides[1]) else "[[B]]"
        elif asked["model"] == "wordy": said = "An answer of mine, which goes on and on and on."
        elif asked["model"] == "mad": said = "purple"
        elif "[The start of " in text: said = "[[C]]"
        else: said = "[[7]]" if "You grade" in asked["messages"][0]["content"] else "An answer of mine."
        choice = {"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
        self.say({"choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 1}})
    def say(self, document):
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Judge).serve_forever()
P
bench=$(port)
python judge.py "$bench" &
pids+=($!)
await "http://127.0.0.1:$bench/"
for who in first long mad fair; do
  sed "s#^judge:.*#judge: {model: $who, base_url: \"http://127.0.0.1:$bench/v1\"}#" freehold.yaml >$who.yaml
done
prompted="prompted smollm2-135m-instruct"
expect 0 "an API that likes whatever comes first" freehold judge compare "$prompted" "$plain" --task-file first.yaml
promise "is never called a win, and its bias is measured" "wins 0, loses 0, ties 32"
promise "with an exact p" "100.0% .* of the rest went to the first answer \(p = "
head -2 "$shared/mt_bench.jsonl" >two.jsonl
sed -n 21p "$shared/mt_bench.jsonl" >>two.jsonl
expect 0 "an API that likes whatever is longer, over two models, one of them wordy" freehold judge mt-bench two.jsonl brief --against wordy --base-url "http://127.0.0.1:$bench/v1" --task-file long.yaml
promise "and its bias is measured" "length +100.0% "
grep -E 'order|length' out.txt | indented -
expect 0 "an API that answers nonsense" freehold judge compare "$prompted" "$plain" --task-file mad.yaml
promise "which counts for nobody" "32 of 32 pairs could not be read"
expect 0 "MT-Bench's two turns on three of its questions, the model and the judge real" freehold judge mt-bench two.jsonl smollm2-135m-instruct --max-tokens 96
promise "missing references are counted" "4 of 6 answers had no reference beside them"
indented
had=$(answers)
expect 0 "again" freehold judge mt-bench two.jsonl smollm2-135m-instruct --max-tokens 96
if [ "$(answers)" = "$had" ]; then ok "nothing was asked twice ($had answers and verdicts kept)"; else fail "$(answers) answers, $had before"; fi
expect 0 "two models behind an API over all 80 questions, side by side in both orders" freehold judge mt-bench "$shared/mt_bench.jsonl" one --against other --base-url "http://127.0.0.1:$bench/v1" --task-file fair.yaml
promise "160 turns" "one wins 0, loses 0, ties 160 against other"
grep -E 'wins|nonsense|reference' out.txt | indented -
sed '/^judge:/d' freehold.yaml >plain.yaml
expect 2 "judge without a judge" freehold judge grade "$plain" --task-file plain.yaml
promise "it says what to add" "has no judge; add"

echo "4. a judge against people"
people="$shared/judge_votes/human.csv" judge="$shared/judge_votes/gpt3.csv"
expect 0 "agreement" freehold judge agreement "$people" "$judge" --labelled 120
head -7 out.txt | indented -
expect 0 "agreement --json" freehold judge agreement "$people" "$judge" --labelled 120 --json
mv out.txt few.json
expect 0 "with all votes" freehold judge agreement "$people" "$judge" --json
mv out.txt all.json
holds "votes on 120 items take the judge's bias off: the interval holds what 672 items' votes say" <<'P'
import json
few, every = (json.load(open(name))["left"] for name in ("few.json", "all.json"))
truth = every["people"]["value"]
assert few["corrected"]["low"] <= truth <= few["corrected"]["high"] and not few["judge"]["low"] <= truth
print(f"people {truth:.3f}, judge {few['judge']['value']:.3f}, corrected from 120: {few['corrected']['value']:.3f}")
P

echo "5. the arena reproduces what is published"
holds "evalica's golden ratings, Bradley-Terry and Elo" <<'P'
import csv, json, subprocess, sys
folder = f"{sys.argv[1]}/arena/evalica_small"
for name in ("food", "simple"):
    golden = list(csv.DictReader(open(f"{folder}/{name}-golden.csv")))
    for algorithm, options in (("bradley_terry", ["--natural"]), ("elo", ["--method", "elo"])):
        printed = subprocess.check_output(["freehold", "arena", "rank", f"{folder}/{name}.csv", "--json", *options])
        found = {each["model"]: each["rating"] for each in json.loads(printed)}
        expected = {row["item"]: float(row["score"]) for row in golden if row["algorithm"] == algorithm}
        worst = max(abs(found[each] - expected[each]) for each in expected)
        assert worst < 2e-6, (name, algorithm, worst)
        print(f"{name} {algorithm}: largest difference {worst:.1e}")
P
holds "baseball 1987, journal citations, and Wikipedia's example" <<'P'
import csv, json, math, subprocess, sys
folder = f"{sys.argv[1]}/arena/classic"
expected = json.load(open(f"{folder}/expected.json"))
def rated(games, anchor):
    with open("votes.csv", "w") as file:
        file.write("left,right,winner\n")
        for a, b, won, lost in games:
            file.writelines([f"{a},{b},left\n"] * won + [f"{a},{b},right\n"] * lost)
    options = ["--scale", "1", "--base", str(math.e), "--init", "0", "--anchor", anchor, "--json", "--rounds", "0"]
    printed = subprocess.check_output(["freehold", "arena", "rank", "votes.csv", *options])
    return {each["model"]: each["rating"] for each in json.loads(printed)}
rows = list(csv.DictReader(open(f"{folder}/{expected['baseball1987']['file']}")))
games = [(r["home_team"], r["away_team"], int(r["home_wins"]), int(r["away_wins"])) for r in rows]
teams = expected["baseball1987"]["published_log_ability_vs_Baltimore"]
found = rated(games, "Baltimore")
assert all(abs(found[team] - teams[team]) < 0.006 for team in teams), found
print("baseball  ", {team: round(found[team], 2) for team in teams})
rows = list(csv.DictReader(open(f"{folder}/{expected['citations']['file']}")))
games = [(r["cited"], r["citing"], int(r["count"]), 0) for r in rows if r["cited"] != r["citing"]]
journals = expected["citations"]["published_vs_Biometrika"]
found = rated(games, "Biometrika")
assert all(abs(found[each] - journals[each]) < 1e-4 for each in journals), found
print("citations ", {each: round(found[each], 4) for each in journals})
example = expected["wikipedia_worked_example"]
found = rated([tuple(game) for game in example["games"]], "A")
mean = sum(found.values()) / len(found)
powers = {each: math.exp(found[each] - mean) for each in found}
assert all(abs(powers[each] - value) < 2e-3 for each, value in example["published_power_geomean1"].items()), powers
print("wikipedia ", {each: round(power, 3) for each, power in powers.items()})
P
holds "1,000,000 votes over 100 models with 100 bootstrap rounds, in under 20 s" <<'P'
import os, subprocess, time
import numpy as np
random, n = np.random.default_rng(0), 1_000_000
strength = random.normal(0, 0.6, 100)
left = random.integers(0, 100, n)
right = (left + 1 + random.integers(0, 99, n)) % 100
won = random.random(n) < 1 / (1 + np.exp(strength[right] - strength[left]))
winner = np.where(random.random(n) < 0.2, "tie", np.where(won, "left", "right"))
with open("million.csv", "w") as file:
    file.write("left,right,winner\n")
    file.writelines(f"m{a},m{b},{c}\n" for a, b, c in zip(left, right, winner))
before, began = os.times(), time.time()
subprocess.check_output(["freehold", "arena", "rank", "million.csv", "--json", "--rounds", "100"])
wall, after = time.time() - began, os.times()
computed = after.children_user + after.children_system - before.children_user - before.children_system
print(f"{wall:.1f} s, {computed:.1f} s of them computing, at a load of {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
assert min(wall, computed) < 20
P
cat >points.py <<'P'
import csv, json, math, subprocess, sys
def rated(*options):
    printed = subprocess.check_output(["freehold", "arena", "rank", "pair.csv", "--json", *options])
    return {each["model"]: each for each in json.loads(printed)}
P
holds "scale, base, init, anchor and natural do what they say; intervals by bootstrap and by sandwich" <<'P'
import math
open("pair.csv", "w").write("left,right,winner\n" + "a,b,left\n" * 30 + "a,b,right\n" * 10)
exec(open("points.py").read())
gap = lambda found: found["a"]["rating"] - found["b"]["rating"]
assert math.isclose(gap(rated()), 400 * math.log10(3), abs_tol=1e-6), "three to one is 400 log10(3) points"
assert math.isclose(gap(rated("--scale", "1", "--base", str(math.e))), math.log(3), abs_tol=1e-6)
assert rated("--init", "1200", "--anchor", "b")["b"]["rating"] == 1200
natural = rated("--natural")
assert math.isclose(natural["a"]["rating"], 0.75, abs_tol=1e-9) and math.isclose(sum(e["rating"] for e in natural.values()), 1)
for name, options in (("bootstrap", []), ("sandwich", ["--rounds", "0"]), ("Elo, bootstrap", ["--method", "elo"])):
    found = rated(*options)
    print(f"{name:15}", {model: [round(each[key]) for key in ("rating", "low", "high")] for model, each in found.items()})
P
holds "style control finds what length is worth to voters, and gives the wordy model its due" <<'P'
import json, subprocess
import numpy as np
random = np.random.default_rng(4)
left = random.integers(0, 3, 6000)
right = (left + 1 + random.integers(0, 2, 6000)) % 3
lengths = [random.poisson(80 + 60 * (side == 2)) for side in (left, right)]
share = (lengths[0] - lengths[1]) / (lengths[0] + lengths[1])
won = random.random(6000) < 1 / (1 + np.exp(-4 * share))
with open("style.csv", "w") as file:
    file.write("left,right,winner,left_length,right_length\n")
    file.writelines(f"m{a},m{b},{'left' if w else 'right'},{x},{y}\n" for a, b, w, x, y in zip(left, right, won, *lengths))
raw = json.loads(subprocess.check_output(["freehold", "arena", "rank", "style.csv", "--json"]))
found = json.loads(subprocess.check_output(["freehold", "arena", "style", "style.csv", "length", "--json"]))
worth = found["coefficients"]["length"]
assert raw[0]["model"] == "m2" and raw[0]["rank"] == 1 and raw[1]["rank"] > 1
assert {each["rank"] for each in found["ratings"]} == {1} and worth["low"] <= 4 * share.std() <= worth["high"]
print(f"length is worth {worth['value']:.2f} [{worth['low']:.2f}, {worth['high']:.2f}] log odds a deviation ({4 * share.std():.2f} planted)")
P
holds "a voter who rigs is named, an honest crowd is not" <<'P'
import subprocess
import numpy as np
random = np.random.default_rng(11)
strength = np.array([0.0, 0.3, 0.6])
def file(rigged):
    with open("crowd.csv", "w") as out:
        out.write("left,right,winner,voter\n")
        for at in range(300):
            a = int(random.integers(0, 3)); b = (a + int(random.integers(1, 3))) % 3
            won = random.random() < 1 / (1 + np.exp(strength[b] - strength[a]))
            mine = rigged and at < 40
            if mine and 0 in (a, b): won = a == 0
            out.write(f"m{a},m{b},{'left' if won else 'right'},{'rigger' if mine else f'v{at % 12}'}\n")
    return subprocess.check_output(["freehold", "arena", "check", "crowd.csv"], text=True)
honest, rigged = file(False), file(True)
assert "nothing stands out" in honest, honest
assert "rigger" in rigged and "preferred m0" in rigged, rigged
print(honest.strip(), rigged.strip(), sep="\n")
P
printf 'l\nr\nt\ns\nq\n' | freehold arena vote --voter ann --count 20 >out.txt 2>&1
if grep -qE 'smollm2|classifier' out.txt; then fail "a voter saw whose answer is whose"; else ok "votes in the terminal, blind"; fi
gate=$(port)
freehold serve --port "$gate" --upstream "http://127.0.0.1:$bench/v1" >serve.txt 2>&1 &
pids+=($!)
await "http://127.0.0.1:$gate/healthz"
url="http://127.0.0.1:$gate/freehold/v1/arena"
curl -s -X POST "$url/banking/bouts" >out.txt
promise "votes over HTTP: a comparison is dealt" '"left"'
if grep -qE 'smollm2|classifier' out.txt; then fail "the address says whose answer is whose"; else ok "and anonymous"; fi
bout=$(python -c 'import json; print(json.load(open("out.txt"))["id"])')
for wanted in 200 400; do
  got=$(curl -s -o out.txt -w '%{http_code}' -X POST "$url/votes" -H 'content-type: application/json' -d "{\"id\": \"$bout\", \"winner\": \"left\", \"voter\": \"bob\"}")
  if [ "$got" = $wanted ]; then ok "a vote on it: HTTP $wanted"; else fail "a vote: HTTP $got, not $wanted"; fi
done
expect 0 "the votes as a file" freehold arena votes
cp out.txt cast.csv
promise "four, with the styles' columns" "^left,right,winner,voter,example,left_length"
if [ "$(wc -l <cast.csv)" = 5 ]; then ok "three by ann and one by bob"; else fail "not four votes"; fi

echo "6. benchmarks"
expect 0 "MMLU 5-shot on a sample (all of it takes hours without a GPU)" freehold benchmark mmlu "$shared/mmlu" smollm2-135m-instruct --sample 12
promise "the published figure stands beside it" "published  29.3 %"
tail -4 out.txt | indented -
expect 2 "an engine that cannot score says so" freehold benchmark mmlu "$shared/mmlu" smollm2-135m-instruct --engine llamacpp
promise "instead of guessing" "cannot score a continuation"
got=$(curl -s -o out.txt -w '%{http_code}' -X POST "http://127.0.0.1:$gate/v1/completions" -H 'content-type: application/json' -d '{"model": "banking:classifier-tf-idf", "prompt": "The capital", "echo": true, "logprobs": 1, "max_tokens": 0}')
if [ "$got" = 400 ] && grep -q 'cannot score' out.txt; then ok "and so does the gateway, with a 400"; else fail "echo with logprobs: HTTP $got"; fi
indented
kill "${pids[-1]}" 2>/dev/null
if python -c 'import lm_eval' 2>/dev/null; then
  mkdir -p tasks
  printf '{"text": "The opposite of hot is", "choices": ["cold", "seven"], "gold": 0}\n{"text": "The opposite of up is", "choices": ["down", "seven"], "gold": 0}\n' >tasks/data.jsonl
  cat >tasks/opposites.yaml <<Y
task: opposites
dataset_path: json
dataset_kwargs: {data_files: {test: $work/tasks/data.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{text}}"
doc_to_choice: "{{choices}}"
doc_to_target: gold
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
Y
  expect 0 "lm-eval from local files" freehold benchmark harness opposites tasks smollm2-135m-instruct
  tail -2 out.txt | indented -
else
  echo "  skipped: lm-eval is not installed here (pip install 'freehold[benchmarks]')"
fi

echo "7. nothing forgotten, nothing made unsafe"
holds "the report shows each change with its interval" <<'P'
import json
changes = json.load(open("report.json"))["changes"]
for each in changes:
    lost = each["lost"]
    print(f"{each['what']}: {each['before']['value']:.3f} to {each['after']['value']:.3f}, lost {lost['value']:+.3f} [{lost['low']:+.3f}, {lost['high']:+.3f}], n = {each['before']['n']}")
sizes = {each["what"]: each["before"]["n"] for each in changes}
assert set(sizes) == {"general questions", "harmful asks refused", "harmless asks answered", "perplexity"}
assert sizes["general questions"] >= 200 and sizes["harmful asks refused"] + sizes["harmless asks answered"] >= 150
P
freehold decision --json >decision.json
holds "and the decision refuses where more may have been lost than the guard allows" <<'P'
import json
report, decision = json.load(open("report.json")), json.load(open("decision.json"))
allowed = {"general questions": 0.1, "harmful asks refused": 0.1, "harmless asks answered": 0.1, "perplexity": 0.2}
too_much = any(each["lost"]["high"] >= allowed[each["what"]] for each in report["changes"])
refused = [reason for reason in decision["reasons"] if "is refused" in reason]
assert bool(refused) == too_much, (decision["reasons"], too_much)
assert not (too_much and decision["verdict"] == "switch" and decision["candidate"].startswith("tuned"))
print(*(refused or ["nothing was lost beyond the guard"]), sep="\n")
P

echo "8. the leaderboard, with costs"
cat >costs.yaml <<'Y'
currency: USD
traffic: {jobs: 20000}
options:
  classifier:
    prices: [{form: machine, per_hour: 0.04}]
  tuned:
    prices: [{form: machine, per_hour: 0.04}]
Y
expect 0 "eval leaderboard" freehold eval leaderboard
promise "costs stand beside the figures" "USD"
indented
expect 0 "as JSON" freehold eval leaderboard --json
expect 0 "as a page" freehold eval leaderboard --html board.html

echo "9. the regression suite"
expect 0 "eval pin" freehold eval pin --answered-by "$plain"
expect 0 "eval check: the pinned candidate holds" freehold eval check "$plain"
expect 3 "eval check: another breaks" freehold eval check "prompted smollm2-135m-instruct"
expect 0 "the next run checks every candidate" freehold run
freehold report >out.txt
promise "and says so" "pinned     $tuned: [0-9]+ hold, [0-9]+ broken"
grep pinned out.txt | sed 's/^/      /'

echo "10. any two candidates, later"
had=$(answers)
expect 0 "eval diff" freehold eval diff "$plain" "prompted smollm2-135m-instruct"
promise "shows the examples that flipped" "examples that flipped"
promise "which is better on each" "better: "
if [ "$(answers)" = "$had" ]; then ok "nothing was asked again"; else fail "$(answers) answers, $had before"; fi
holds "rows are kept one an example and candidate" <<'P'
import json, pathlib
report = json.load(open("report.json"))
rows = pathlib.Path(f".freehold/reports/report-{report['digest'][:12]}.rows.jsonl").read_text().splitlines()
assert len(rows) == sum(each["n"] for each in report["candidates"])
print(f"{len(rows)} rows of {len(report['candidates'])} candidates")
P
head -2 out.txt | indented -

printf 'left,right,winner\na,b,left\nc,d,tie\n' >split.csv
printf 'left,right,winner\na,b,left\na,b,nan\n' >bad.csv
printf 'left,right,winner,left_length,right_length\na,b,left,3,nan\nb,a,left,3,4\n' >nan-style.csv
printf 'left,right,winner\na,b,left\na,b,left\nb,c,left\nc,b,left\n' >one-sided.csv
printf '{"question_id": 1, "turns": ["a", "b"], "reference": ["x"]}\n' >broken.jsonl
printf '{"prompt": "x"}\n' >untested.jsonl
sed 's/^scorers:.*/scorers: [chrff, "latency:2000",/' freehold.yaml >wrong.yaml
echo "bad input"
expect 4 "models that never met are not put on one scale" freehold arena rank split.csv
promise "and it is said, not divided by zero" "2 groups that never met"
expect 2 "a vote that is NaN" freehold arena rank bad.csv
promise "is named with its line" "bad.csv:3: winner is 'nan'"
expect 2 "a rating scale that is NaN" freehold arena rank pair.csv --init nan
expect 2 "a style that is NaN" freehold arena style nan-style.csv length
promise "is named" "no count of 0 or more"
for options in "" "--rounds 0" "--natural"; do
  # shellcheck disable=SC2086
  expect 0 "one-sided votes ${options:+($options)}" freehold arena rank one-sided.csv $options
  promise "a model that never lost has no upper bound" "a never lost: the votes bound its rating on one side only"
done
expect 0 "a model that never played" freehold arena rank "$shared/arena/evalica_small/simple.csv" --among nobody
promise "is said" "nobody never played"
expect 2 "a scorer that is none is refused before anything is tuned" freehold plan wrong.yaml
promise "with what it may have meant" "chrff is not a scorer; did you mean chrf"
expect 2 "questions that are none" freehold judge mt-bench broken.jsonl smollm2-135m-instruct
promise "are named with their line" "broken.jsonl:1: needs at least one turn, and one reference a turn"
expect 2 "problems without tests" freehold benchmark programs untested.jsonl smollm2-135m-instruct
promise "are named with their line" "untested.jsonl:1: .*tests"
expect 2 "a candidate that was never measured" freehold eval diff nobody "$plain"
promise "is said with those that were" "no such candidate was measured"
echo "  also  a judge's nonsense and missing references: 3; a scorer that raises, and one that gives NaN: 1"

echo "11. this script"
[ $failed -eq 0 ] && echo "every promise was kept" || echo "a promise was broken"
exit $failed
