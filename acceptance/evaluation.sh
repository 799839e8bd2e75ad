#!/usr/bin/env bash
# The promises of the evaluation (issue 7), run as a new user would; prints what was measured, fails where one is broken.
#
#   acceptance/evaluation.sh      needs `freehold` and `python` on PATH; ../shared/data for real votes and messages; ~20 minutes
set -uo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
shared="$here/../shared/data"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
. "$here/acceptance/lib/promises.sh"
holds() { # holds WHAT: the Python program on standard input ends well
  if python - "$shared" >out.txt 2>&1; then ok "$1"; sed 's/^/        /' out.txt; else fail "$1"; fi
}
if [ ! -d "$shared" ]; then
  echo "skipped: ../shared/data is not there, and these promises are kept on real votes and messages"
  exit 0
fi

echo "1. scorers, on real messages: a run that is killed and goes on"
printf 'def odd(answer, reference):\n    return 1 / (len(answer) %% 2)\n' >odd.py
cat >freehold.yaml <<Y
task: banking
description: Name the intent of a message to a bank.
answer: {type: label, labels: [activate_my_card, age_limit, apple_pay_or_google_pay, atm_support]}
data: {source: $shared/banking77/train.csv, held_out: $shared/banking77/test.csv, input: text, answer: category,
  other_answers: drop}
use: {commercial: true}
tune: {method: lora, epochs: 1}
guard: {}
judge: {model: smollm2-135m-instruct, rubric: "The right intent, and nothing else."}
scorers: [chrf, bleu, rouge_l, similarity, language, answered, "latency:2000", "cost:0.15,0.60", "regex:[a-z_]+",
  "python:odd.py:odd"]
decide: {margin: 0.10}
Y
freehold run >killed.txt 2>&1 &
child=$!
for _ in $(seq 300); do
  sleep 1
  kept=$(python -c "import sqlite3; print(sqlite3.connect('.freehold/freehold.db').execute('select count(*) from answers').fetchone()[0])" 2>/dev/null || echo 0)
  if [ "$kept" -gt 40 ] || ! kill -0 $child 2>/dev/null; then break; fi
done
kill -9 $child 2>/dev/null
wait $child 2>/dev/null
echo "        killed with $kept answers kept"
python -c "import sqlite3; sqlite3.connect('.freehold/freehold.db').backup(sqlite3.connect('before.db'))"
expect 0 "freehold run after kill -9" freehold run
sed -n '/candidate  /,/leaks/p' out.txt | sed 's/^/        /'
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
holds "every scorer gave a figure, and one that fails marks its rows while the run goes on" <<'P'
import json
found = json.load(open("report.json"))
for each in found["candidates"]:
    beside = each["secondary"]
    print(each["name"], {name.split(".py")[0]: (round(figure["value"], 3), figure["n"]) for name, figure in beside.items()})
named = ["chrf", "bleu", "rouge_l", "similarity", "language", "answered", "cost:0.15,0.60", "regex:[a-z_]+"]
tuned = next(each for each in found["candidates"] if each["kind"] == "tuned")
assert set(named) <= set(tuned["secondary"]) and "macro_f1" in tuned["secondary"]
assert 0 < tuned["secondary"]["python:odd.py:odd"]["n"] < tuned["n"]
P
cat >problems.jsonl <<'J'
{"prompt": "Write a Python function double(x) that returns x times two. Answer with code only.", "tests": "assert double(3) == 6"}
{"prompt": "Write a Python function last(items) that returns the last item of a list. Answer with code only.", "tests": "assert last([1, 2]) == 2"}
J
expect 0 "pass@k in a child process with limits" freehold benchmark programs problems.jsonl smollm2-135m-instruct --samples 3 --k 1 --k 3
tail -3 out.txt | sed 's/^/        /'

echo "2. statistics: coverage by simulation"
if python -c 'import pytest, hypothesis' 2>/dev/null; then
  expect 0 "95 % intervals cover 93 to 97 %" python -m pytest -q --rootdir "$here" -c "$here/pyproject.toml" -p no:cacheprovider "$here/tests/evaluation/test_statistics.py"
  tail -1 out.txt | sed 's/^/        /'
else
  echo "  skipped: pytest and hypothesis are not installed here"
fi

echo "3. a language model as the judge: a real small one, whose nonsense is counted"
tuned="tuned smollm2-135m-instruct" plain="classifier (tf-idf)"
expect 0 "pairs in both orders, with what sways it" freehold judge compare "$tuned" "$plain"
promise "verdicts that could not be read are shown" "could not be read"
promise "position and length are shown" "judged alike in both orders"
sed 's/^/        /' out.txt
expect 0 "grades against references" freehold judge grade "$tuned"
promise "and their nonsense" "verdicts could not be read"
sed 's/^/        /' out.txt
head -2 "$shared/mt_bench.jsonl" >two.jsonl
expect 0 "MT-Bench's two turns on two of its questions" freehold judge mt-bench two.jsonl smollm2-135m-instruct
promise "missing references are counted" "had no reference beside them"
sed 's/^/        /' out.txt
sed '/^judge:/d' freehold.yaml >plain.yaml
expect 2 "judge without a judge" freehold judge grade "$plain" --task-file plain.yaml
promise "it says what to add" "has no judge; add"

echo "4. a judge against people"
people="$shared/judge_votes/human.csv" judge="$shared/judge_votes/gpt3.csv"
expect 0 "agreement" freehold judge agreement "$people" "$judge" --labelled 120
sed 's/^/        /' out.txt | head -7
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
holds "1,000,000 votes over 100 models with 100 bootstrap rounds (promised: under 20 s on 2 free cores)" <<'P'
import subprocess, time
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
began = time.time()
subprocess.check_output(["freehold", "arena", "rank", "million.csv", "--json", "--rounds", "100"])
print(f"{time.time() - began:.1f} s")
P
printf 'left,right,winner\na,b,left\nc,d,tie\n' >split.csv
expect 4 "models that never met are not put on one scale" freehold arena rank split.csv
printf 'left,right,winner\na,b,left\na,b,nan\n' >bad.csv
expect 2 "a wrong vote is named" freehold arena rank bad.csv
promise "with its line" "bad.csv:3: winner is 'nan'"
expect 0 "a model that never played is said" freehold arena rank "$shared/arena/evalica_small/simple.csv" --among nobody
promise "with its name" "nobody never played"

echo "6. benchmarks"
expect 0 "MMLU 5-shot on a sample (all of it takes hours without a GPU)" freehold benchmark mmlu "$shared/mmlu" smollm2-135m-instruct --sample 12
promise "the published figure stands beside it" "published  29.3 %"
tail -4 out.txt | sed 's/^/        /'
expect 2 "an engine that cannot score says so" freehold benchmark mmlu "$shared/mmlu" smollm2-135m-instruct --engine llamacpp
promise "instead of guessing" "cannot score a continuation"
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
  tail -2 out.txt | sed 's/^/        /'
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
sed 's/^/        /' out.txt
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
expect 0 "eval diff" freehold eval diff "$plain" "prompted smollm2-135m-instruct"
promise "shows the examples that flipped" "examples that flipped"
head -2 out.txt | sed 's/^/        /'

[ $failed -eq 0 ] && echo "every promise was kept" || echo "a promise was broken"
exit $failed
