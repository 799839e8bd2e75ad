#!/usr/bin/env bash
# The promises of the decision (issue 9), run as a new user would; prints what was measured, fails where one is broken.
#
#   acceptance/decision.sh        needs `freehold` and `python` on PATH; real messages from ../shared/data where they are
set -uo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
failed=0

promise() { # promise WHAT FILE PATTERN: the pattern stands in the file
  if grep -qE -- "$3" "$2"; then
    echo "  ok    $1"
  else
    echo "  FAIL  $1 (wanted: $3)"
    sed 's/^/        /' "$2" | head -20
    failed=1
  fi
}
expect() { # expect CODE WHAT COMMAND…: runs it, keeps what it printed in out.txt
  local code=$1 what=$2
  shift 2
  "$@" >out.txt 2>&1
  local got=$?
  if [ $got -ne "$code" ]; then
    echo "  FAIL  $what: exit $got, not $code"
    sed 's/^/        /' out.txt | tail -20
    failed=1
  fi
}
show() { sed 's/^/        /' out.txt; }

data="$here/../shared/data/banking77/train.csv"
if [ ! -f "$data" ]; then
  echo "skipped: ../shared/data/banking77 is not there, and these promises are kept on real messages"
  exit 0
fi

# Twelve intents of Banking77, and an invented rented model that is wrong one time in four.
python - "$data" <<'P'
import csv, json, random, sys
random.seed(3)
rows = list(csv.DictReader(open(sys.argv[1], encoding="utf-8")))
intents = sorted({row["category"] for row in rows})[:12]
rows = [row for row in rows if row["category"] in intents]
random.shuffle(rows)
with open("pairs.jsonl", "w") as file:
    for row in rows:
        answer = random.choice(intents) if random.random() < 0.25 else row["category"]
        file.write(json.dumps({"text": row["text"], "category": row["category"], "incumbent_answer": answer}) + "\n")
with open("few.jsonl", "w") as file:
    file.writelines(line for at, line in enumerate(open("pairs.jsonl")) if at < 190)
P
task() { # task FOLDER SOURCE PROVENANCE MARGIN
  mkdir -p "$1"
  cat >"$1/freehold.yaml" <<Y
task: banking
description: Name the intent of the message.
data: {source: ../$2, input: text, answer: category, provenance: $3}
incumbent: {model: rented, price: {input: 0.15, output: 0.60}}
candidates: []
tune: {method: none}
decide: {margin: $4}
Y
}

echo "1. the certificate"
task own pairs.jsonl human 0.02
cd own
expect 0 "plan" freehold plan
promise "the plan prints its power before any result" out.txt "within 2 points at 10 % disagreement you need about 1,550 pairs"
expect 0 "run" freehold run
expect 0 "plan" freehold plan
promise "and, once the data is there, how many pairs there are" out.txt "about 1,550 pairs; you have [0-9]+"
expect 0 "decision" freehold decision
show
promise "a verdict with difference and interval" out.txt "switch to classifier.*\(difference .*\[.*\]\)"
promise "its power" out.txt "pairs a margin of .* can be shown"
expect 0 "decision --json" freehold decision --json
if python - <<'P'; then
import json, os
found = json.load(open("out.txt"))
assert {"verdict", "candidate", "against", "reasons", "evidence"} <= set(found)
report = f".freehold/reports/report-{found['evidence']['report'][:12]}.json"
assert json.load(open(report))["digest"] == found["evidence"]["report"]
assert os.path.isdir(f".freehold/datasets/{found['evidence']['dataset']}")
P
  echo "  ok    --json holds the contract, and its evidence is there by digest"
else
  echo "  FAIL  --json"
  failed=1
fi
sed -i 's/margin: 0.02/margin: 0.10/' freehold.yaml
expect 0 "run again" freehold run
expect 0 "decision" freehold decision
promise "a margin changed after the fact is told as a new plan" out.txt "plan was changed after results .*margin 2 points"
expect 0 "decision log" freehold decision log
promise "the log keeps what was believed before" out.txt "switch .* 0\.02 "
cd ..
task echo pairs.jsonl incumbent 0.10
cd echo
expect 0 "run" freehold run
expect 0 "decision" freehold decision --json
promise "the incumbent's own answers never support a switch" out.txt '"verdict": "need-more-data"'
promise "and it says how many references it takes" out.txt "about [0-9,]+ independent references .* are needed; there are 0"
cd ..
task few few.jsonl human 0.02
cd few
expect 2 "hopelessly few" freehold run
promise "hopelessly few held-out examples stop the run" out.txt "cannot support a margin of 2 points \(about 1,550 are needed\)"
cd ..

echo "2. looking after every pair"
if python -c 'import freehold, numpy' 2>/dev/null; then
  python "$here/bench/anytime.py" 200 >out.txt
  show
  if python - <<'P'; then
import re
shares = [float(share) for share in re.findall(r"\| ([\d.]+) % \| [\d,]+ \(", open("out.txt").read())]
assert len(shares) == 6 and max(shares) < 5, shares
P
    echo "  ok    false switches stay under 5 % with continuous peeking"
  else
    failed=1
  fi
else
  echo "  skipped: the simulation needs the package importable by python"
fi
python - >pairs.txt <<'P'
import json, random
random.seed(1)
for _ in range(600):
    luck = random.random()
    print(json.dumps({"candidate": int(luck > 0.10), "against": int(luck > 0.05)}))
P
expect 0 "watch" freehold decision watch pairs.txt --margin 0.15
show
promise "live pairs decide, and say since when" out.txt "switch, since pair [0-9]+"

echo "3. rollback"
python - >canary.jsonl <<'P'
import json
for at in range(300):
    print(json.dumps({"id": f"r{at}", "latency_ms": 90, "failed": at % 9 == 0}))
P
expect 0 "rollback" freehold decision rollback canary.jsonl
show
promise "errors send a canary back, with the reason" out.txt "errors: more than 2 % of 300 requests fail"
promise "what was disputed is the next review queue" out.txt "review     34 disputed"

echo "4, 5, 7. costs, break-even, scenarios"
cat >own/costs.yaml <<'Y'
currency: USD
traffic: {jobs: [400000, 600000], active_users: 240}
start: 2026-12-01
options:
  incumbent:
    prices: [{form: tokens, input: 0.15, output: 0.60, source: price page}]
    input_tokens: 412
    output_tokens: 12
    attempts: 1.02
    turns: [1.1, 1.3]
  classifier:
    prices:
      - {form: machine, per_hour: 0.01}
      - {form: hours, what: labelling, hours: [4, 8], rate: 20, per: once}
  seats: {prices: [{form: seat, price: 20, seats: 300}], accepted: 0.9}
machines: {bigger: {per_hour: 0.04, speed: 2}}
Y
cd own
expect 0 "cost" freehold decision cost
show
promise "cost per accepted answer is a range" out.txt "incumbent +0\.[0-9]+ \[0\.[0-9]+, 0\.[0-9]+\]"
promise "follow-ups are a line" out.txt "follow-ups until accepted"
promise "retries are a line" out.txt "retries"
promise "idle machine time is a line" out.txt "machine waiting"
promise "unused licences show" out.txt "60 seats unused"
expect 0 "break-even" freehold decision break-even --option classifier --svg picture.html
show
promise "the date is a range" out.txt "date +2[0-9-]+ \[2[0-9-]+, (2[0-9-]+|never)\]"
promise "sensitivity to staff time" out.txt "people's time halved"
promise "and a picture" picture.html "<svg"
expect 0 "what-if" freehold decision what-if price=0.5 machine=bigger
promise "the vendor's price and another machine" out.txt "price=0.5 · machine=bigger"
expect 0 "page" freehold decision page --costs costs.yaml --to certificate.html
promise "one page to sign" certificate.html "When owning <bdi>classifier"
if grep -qE 'src=|href=|<script' certificate.html; then
  echo "  FAIL  the page asks for something outside itself"
  failed=1
fi
cd ..

echo "6, 8, 9. the captured traffic: tasks, history, backtest"
up=$(python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
gate=$(python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cd own
freehold fake-upstream --port "$up" --tokens 2 >/dev/null 2>&1 &
pids=($!)
freehold serve --port "$gate" --upstream "http://127.0.0.1:$up/v1" >serve.log 2>&1 &
pids+=($!)
trap 'kill "${pids[@]}" 2>/dev/null; rm -rf "$work"' EXIT
for _ in $(seq 100); do curl -sf "http://127.0.0.1:$gate/healthz" >/dev/null && break; sleep 0.3; done
python - "$gate" <<'P'
import json, sys, time, urllib.request
base = f"http://127.0.0.1:{sys.argv[1]}"
def post(path, body):
    headers = {"Content-Type": "application/json", "Authorization": "Bearer k"}
    request = urllib.request.Request(base + path, json.dumps(body).encode(), headers)
    return urllib.request.urlopen(request)
rows = [json.loads(line) for line in open("../pairs.jsonl")][:60]
route = "You name the intent of a message to a bank; answer with the intent and with nothing else at all."
polish = "Rewrite the letter below in plain and friendly language, keeping every fact, number and name as it is."
asked = {}
for row in rows:
    for system in (route, polish):
        messages = [{"role": "system", "content": system}, {"role": "user", "content": row["text"]}]
        answer = post("/v1/chat/completions", {"model": "gpt-4o-mini", "messages": messages})
        if system == route:
            asked[answer.headers["X-Freehold-Exchange"]] = row["category"]
time.sleep(3)
for exchange, category in asked.items():
    post("/freehold/v1/feedback", {"exchange": exchange, "verdict": "corrected", "correction": category})
P
expect 0 "tasks" freehold tasks --machine 0.01-0.02
show
promise "two tasks are told apart" out.txt "120 requests over 1 day"
expect 0 "tasks --json" freehold tasks --json
name=$(python -c 'import json; print(max(json.load(open("out.txt")), key=lambda task: task["references"])["task"])')
promise "by their system prompts" out.txt '"by": "system prompt"'
promise "and a saving without feedback is unknown" out.txt '"saving": null'
expect 0 "cost of a task" freehold decision cost --of "$name"
expect 0 "backtest" freehold decision backtest banking --of "$name" --on 2020-01-01
show
promise "what would have been served, and how often it would have been right" out.txt "quality    [0-9.]+ % \\[.*\\] right, against 0.0 %"
promise "what the model has learned from is left out" out.txt "left out +[0-9]+ requests"
expect 0 "decision log" freehold decision log
show
promise "the log sets what was promised beside what came of it" out.txt "nothing was judged since|of [0-9]+:"
kill "${pids[@]}" 2>/dev/null
cd ..

echo "bad input"
printf 'currency: USD\noptions:\n  a: {prices: [{form: request, price: -3}]}\n' >bad.yaml
expect 2 "negative price" freehold decision cost bad.yaml
promise "a negative price" out.txt "bad.yaml:3: .*greater than or equal to 0"
printf 'currency: USD\noptions:\n  a: {prices: [{form: request, price: 1, currency: EUR}]}\n' >bad.yaml
expect 2 "no rate" freehold decision cost bad.yaml
promise "currencies mixed without a rate" out.txt "what one EUR is in USD"
cat >bad.yaml <<'Y'
currency: USD
traffic: {jobs: 5}
options:
  a: {accepted: 1}
  b: {prices: [{form: request, price: 1}], accepted: 0}
Y
expect 0 "unknown costs" freehold decision cost bad.yaml
promise "no incumbent price: unknown" out.txt "a: no price is given"
promise "zero accepted answers: unknown" out.txt "b: no answer was accepted"
expect 2 "tasks" freehold tasks
promise "no traffic yet" out.txt "no traffic was captured yet"

if [ $failed -eq 0 ]; then echo "all promises kept"; else echo "a promise is broken"; fi
exit $failed
