#!/usr/bin/env bash
# What issue 6 and docs/data.md promise, point by point, as a new user would find it: needs `freehold` on the PATH, and
# ../shared/data for real data. ROWS=1000000 imports a million exchanges (1.5 GB on the disk twice, some minutes).
set -uo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
shared=$here/../shared/data
work=$(mktemp -d)
gateway=0
trap '[ $gateway = 0 ] || kill $gateway; rm -rf "$work"' EXIT
cd "$work" || exit 1
export FREEHOLD_HOME=
# shellcheck source=lib/promises.sh
. "$here/acceptance/lib/promises.sh"
json() { # json WHAT CONDITION-ON-d: over what the last command printed
  if python3 -c "import json,sys; d=json.load(open('out.json')); sys.exit(not ($2))"; then ok "$1"; else fail "$1"; fi
}
asks() { # asks WHAT COMMAND…: exit 0, its JSON kept in out.json
  local what=$1
  shift
  if "$@" >out.json 2>out.txt; then ok "$what"; else fail "$what"; fi
}
show() { python3 -c "import json; d=json.load(open('out.json')); print('        ' + $1)"; }

echo "1. import"
python3 - <<'P'
import csv, json
turns = [{"role": "user", "content": "Where is my wage?"}]
reply = {"role": "assistant", "content": "pay"}
choices = {"choices": [{"message": reply, "finish_reason": "stop"}]}
records = {
    "openai": {"messages": [*turns, reply]},
    "anthropic": {"request": {"messages": turns}, "response": {"content": [{"type": "text", "text": "pay"}]}},
    "sharegpt": {"conversations": [{"from": "human", "value": "Where?"}, {"from": "gpt", "value": "pay"}]},
    "alpaca": {"instruction": "Sort.", "input": "Where is my wage?", "output": "pay"},
    "litellm": {"model": "m", "messages": turns, "response": choices, "status": "success"},
    "langfuse": {"id": "g1", "input": turns, "output": reply, "startTime": "2026-11-23T10:00:00Z"},
    "helicone": {"request_body": {"messages": turns}, "response_body": choices},
}
for name, record in records.items():
    open(f"{name}.jsonl", "w").write(json.dumps(record) + "\n")
with open("traces.csv", "w", newline="") as handle:
    writer = csv.writer(handle)
    writer.writerow(["id", "input", "output"])
    writer.writerow(["g1", json.dumps(turns), json.dumps(reply)])
P
for format in openai anthropic sharegpt alpaca litellm langfuse helicone; do
  freehold data import $format.jsonl x-$format.jsonl --json >out.json 2>out.txt
  json "$format" "d['format']=='$format' and d['kept']==1"
done
asks "CSV with JSON in its cells" freehold data import traces.csv x-csv.jsonl --json
if python3 -c 'import pyarrow' 2>/dev/null; then
  python3 -c "import pyarrow as pa, pyarrow.parquet as pq, json; pq.write_table(pa.Table.from_pylist([json.loads(open('helicone.jsonl').read())]), 'n.parquet')"
  asks "Parquet with nested types" freehold data import n.parquet x-parquet.jsonl --json
  json "its turns are read" "d['kept']==1 and d['format']=='helicone'"
fi
mkdir docs && printf '# One\n\ntext\n' >docs/a.md && printf '<p>two &amp; three</p><script>x</script>' >docs/b.html && cp docs/a.md docs/c.txt
asks "a folder of documents" freehold data import docs corpus.jsonl --json
json "the same text only once" "d['kept']==2 and d['duplicates']==1"
rows=${ROWS:-20000}
python3 - "$rows" <<'P'
import json, random, sys
draw, words = random.Random(0), ["".join(random.Random(n).choices("etaoinshrdlu", k=6)) for n in range(5000)]
with open("big.jsonl", "w") as out:
    for at in range(int(sys.argv[1])):
        said = " ".join(draw.choices(words, k=190))
        turns = [{"role": "user", "content": said}, {"role": "assistant", "content": "pay"}]
        out.write(json.dumps({"id": f"r{at}", "messages": turns}) + "\n")
P
python3 - "$rows" <<'P'
import json, os, resource, signal, subprocess, sys, time
size = os.path.getsize("big.jsonl") / 1e6
first = subprocess.Popen(["freehold", "data", "import", "big.jsonl", "big.out", "--json"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
while first.poll() is None and not os.path.exists("big.out.resume"):
    time.sleep(0.05)
first.send_signal(signal.SIGKILL)
first.wait()
begun = time.time()
done = subprocess.run(["freehold", "data", "import", "big.jsonl", "big.out", "--json"], capture_output=True, text=True)
seconds, peak = time.time() - begun, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
rows = json.loads(done.stdout)["rows"]
lines = sum(1 for _ in open("big.out"))
print(f"        {rows:,} exchanges, {size:,.0f} MB, killed once and gone on: {seconds:,.0f} s, peak {peak:,.0f} MB")
json.dump({"rows": rows, "lines": lines, "peak": peak}, open("out.json", "w"))
P
rm -f big.jsonl big.out
json "$rows exchanges, killed with -9 and gone on, under 1,500 MB" "d['rows']==d['lines']==$rows and d['peak']<1500"

echo "2. curate"
python3 - <<'P'
import hashlib, json
def said(at):
    noise = hashlib.sha256(str(at).encode()).hexdigest()
    return f"{noise[:20]} {noise[20:45]}"
def row(at, answer, **more):
    turns = [{"role": "system", "content": "You sort messages of frontline workers. Answer with one word."}, {"role": "user", "content": said(at)}]
    choice = {"message": {"role": "assistant", "content": answer}, "finish_reason": more.pop("stop", "stop")}
    return {"id": f"r{at}-{answer}-{len(more)}", "request": {"messages": turns}, "response": {"choices": [choice]}, **more}
rows = [row(at, ("pay", "rota")[at % 2]) for at in range(60)]
rows += [row(70, "I'm sorry, but I can't help with that."), row(71, "pay", stop="length"), row(72, "")]
rows += [{"request": {"messages": []}, "response": {"error": {"message": "overloaded"}}}]
rows += [row(1, "pay"), row(2, "pay", feedback="corrected", correction="rota")]
open("traffic.jsonl", "w").write("".join(json.dumps(each) + "\n" for each in rows))
german = [{"text": said(at), "answer": f"Das ist nicht die Antwort auf {said(at)}"} for at in range(30)]
german.append({"text": said(99), "answer": "This is the answer that you have asked for"})
open("german.jsonl", "w").write("".join(json.dumps(each) + "\n" for each in german))
P
printf 'task: c\ndescription: d\nincumbent: {model: m}\ndata: {source: traffic.jsonl, provenance: incumbent, repeats: consensus}\n' >c.yaml
asks "a dataset of traffic" freehold data card c.yaml --json
dataset=$(python3 -c "import json; print(json.load(open('out.json'))['digest'])")
cp .freehold/datasets/"$dataset"/dataset.json out.json
json "errors, truncations, refusals and empty answers are dropped" "all(d['dropped'][each]==1 for each in ('error','truncated','refusal','no_answer'))"
json "repeated inputs are counted, and a dispute is settled or dropped" "d['repeated']==2 and d['disputed']==2 and (d['dropped']['disagreement'], d['dropped']['outvoted'])==(2, 1)"
json "the constant part of every prompt is cut, and kept for serving" "'frontline workers' in d['pruning']['system']['prefix']"
id=$(python3 -c "import json; print([json.loads(l) for l in open('.freehold/datasets/$dataset/dropped.jsonl')][0]['id'][:16])")
expect 0 "freehold data why tells what became of a dropped row" freehold data why "$id"
promise "with its reason" "dropped: (refusal|truncated|no answer|error)"
printf 'task: g\ndescription: d\nanswer: {type: text}\ndata: {source: german.jsonl, language: German}\n' >g.yaml
asks "answers in another language" freehold data card g.yaml --json
json "are dropped" "any(row==['wrong language','1'] for s in d['sections'] for row in s['rows'])"

echo "a small task"
python3 - <<'P'
import hashlib
rows = ["text,answer,subject,at"]
for at in range(120):
    noise = hashlib.sha256(str(at).encode()).hexdigest()
    rows.append(f"{noise[:20]} {noise[20:45]},{('pay','rota','safety')[at % 3]},user{at % 9},{1_700_000_000 + at}")
open("m.csv", "w").write("\n".join(rows) + "\n")
P
printf 'task: t\ndescription: d\ndata: {source: m.csv}\n' >t.yaml
freehold data card t.yaml --json >card1.json 2>/dev/null
rm -rf .freehold
freehold data card t.yaml --json >card2.json 2>/dev/null
expect 0 "the same input gives the same digest" cmp -s card1.json card2.json

if [ -d "$shared/banking77" ]; then
  echo "3. near-duplicates and splits (Banking77)"
  printf 'task: b\ndescription: d\ndata: {source: %s/banking77/train.csv, held_out: %s/banking77/test.csv, answer: category}\n' \
    "$shared" "$shared" >b.yaml
  asks "10,003 and 3,080 messages become a dataset" freehold data card b.yaml --json
  show "' · '.join(f'{r[0]}: {r[1]}' for s in d['sections'] if s['title'] in ('Dropped rows','Checks') for r in s['rows'][1:])"
  json "neighbours of the official test leave training, and the independent check finds none" \
    "any(r==['neighbour of held out','109'] for s in d['sections'] for r in s['rows']) and any(r[1]=='0' for s in d['sections'] if s['title']=='Checks' for r in s['rows'])"
  printf 'task: y\ndescription: d\ndata: {source: m.csv, time: at}\n' >y.yaml
  asks "a split by time" freehold data card y.yaml --json
  echo "        a million short messages: python bench/data.py 1000000 (docs/data.md has the figures)"

  echo "4. label quality (Banking77, 5 % flipped)"
  python3 - "$shared/banking77/train.csv" <<'P'
import csv, json, random, sys
rows = list(csv.DictReader(open(sys.argv[1], encoding="utf-8", newline="")))
labels = sorted({row["category"] for row in rows})
draw = random.Random(77)
flipped = set(draw.sample(range(len(rows)), len(rows) // 20))
with open("flipped.csv", "w", encoding="utf-8", newline="") as handle:
    writer = csv.DictWriter(handle, ["text", "category"])
    writer.writeheader()
    for at, row in enumerate(rows):
        if at in flipped:
            row["category"] = draw.choice([each for each in labels if each != row["category"]])
        writer.writerow(row)
json.dump([" ".join(rows[at]["text"].split()) for at in flipped], open("flips.json", "w"))
P
  printf 'task: q\ndescription: d\ndata: {source: flipped.csv, answer: category, provenance: incumbent}\n' >q.yaml
  freehold data review q.yaml --limit 1000 --json >worst.json 2>/dev/null
  python3 - <<'P'
import csv, json
flips = set(json.load(open("flips.json")))
worst = json.load(open("worst.json"))
share = len(flips & {" ".join(each["text"].split()) for each in worst}) / len(flips)
print(f"        {share:.1%} of {len(flips)} flipped labels are among the worst 1,000")
json.dump(share, open("out.json", "w"))
with open("verdicts.csv", "w", newline="") as handle:
    writer = csv.writer(handle)
    writer.writerows([["id", "answer"], *([each["id"], each["suggested"]] for each in worst[:20])])
P
  json "at least 70 % of flipped labels are among the worst tenth" "d >= 0.7"
  expect 0 "a person's verdicts are taken" freehold data review q.yaml --apply verdicts.csv
  asks "and become" freehold data card q.yaml --json
  json "human references (of twenty, but for those that now are near-duplicates)" \
    "any(r[0]=='references: human' and 15<=int(r[1])<=20 for s in d['sections'] for r in s['rows'])"
else
  echo "skipped: 3, 4, 9, 10 on Banking77 (needs ../shared/data/banking77)"
fi

echo "5. contamination"
printf 'question\nWhat is the capital of France?\nWho wrote this line of text here today?\n' >bench.csv
printf '{"text":"I asked: WHAT is the capital -- of France, then"}\n{"text":"nothing"}\n' >train.jsonl
asks "the command" freehold data contamination train.jsonl --against bench.csv --json
json "one of two items is found, with its place" "d['contaminated']==1 and d['items'][0]['found_in']=='train.jsonl:1'"
if [ -d "$shared/mmlu/test" ]; then
  cp "$shared/mmlu/test/anatomy_test.csv" leak.csv
  asks "MMLU" freehold data contamination leak.csv --against "$shared/mmlu/test" --json
  json "135 anatomy questions are found among 14,042" \
    "sum(i['item'].startswith('anatomy_test') for i in d['items'])==135 and d['benchmark_items']==14042"
  python3 - "$shared/mmlu/test" <<'P'
import json, random, subprocess, sys, time
draw, words = random.Random(0), ["".join(random.Random(n).choices("etaoinshrdlu", k=1 + n % 9)) for n in range(20000)]
with open("corpus.txt.jsonl", "w") as out:
    for _ in range(100_000):
        out.write(json.dumps({"text": " ".join(draw.choices(words, k=170))}) + "\n")
import os
size = os.path.getsize("corpus.txt.jsonl") / 1e6
begun = time.time()
done = subprocess.run(["freehold", "data", "contamination", "corpus.txt.jsonl", "--against", sys.argv[1], "--json"], capture_output=True)
seconds = time.time() - begun
print(f"        {size:.0f} MB against 14,042 questions: {seconds:.1f} s, {size / seconds:.0f} MB/s from start to end")
json.dump({"rc": done.returncode, "speed": size / seconds}, open("out.json", "w"))
P
  json "searched through (20 MB/s is promised on a quiet machine; what was measured stands above)" "d['rc']==0"
  rm -f corpus.txt.jsonl
else
  echo "skipped: MMLU (needs ../shared/data/mmlu)"
fi

echo "6. data card"
expect 0 "as HTML" freehold data card t.yaml --out card.html
expect 0 "as Markdown" freehold data card t.yaml --out card.md
cp card.md out.txt
promise "with sources, licence, consent and digest" "licence . consent . SHA-256"

echo "7. whose data"
asks "a person is forgotten" freehold forget user3 --json
json "and a certificate names what was done" "sum(map(len,d['examples'].values()))>=13 and 'retraining_seconds' in d"
expect 1 "and is gone from the workspace" grep -rq user3 .freehold
expect 2 "a stranger is not found" freehold forget nobody
echo "        taint, refusal to deploy, retraining seconds: tests/data/test_forget.py, tests/gateway/test_owned.py"

echo "8. memorised"
printf 'task: k\ndescription: d\ndata: {source: m.csv, canaries: 4}\n' >k.yaml
asks "secrets are planted in training" freehold data card k.yaml --json
json "ten examples with a secret beside the 107 of the people who were not forgotten" "all(any(r==each for s in d['sections'] for r in s['rows']) for each in (['examples','117'],['planted secrets, among train','10']))"
expect 2 "without an adapter there is nothing to measure, and it says so" freehold data memorised
if [ -n "${ADAPTERS:-}" ]; then # a workspace in which `freehold run` tuned something
  FREEHOLD_HOME=$ADAPTERS freehold data memorised
else
  echo "skipped: a tuned adapter's figures (ADAPTERS=…/.freehold after freehold run)"
fi

if [ -d "$shared/banking77" ]; then
  echo "9. learning curve"
  asks "from Banking77" freehold data enough b.yaml --json
  show "f\"{d['examples']:,} examples: {d['forecast'][0]['value']:.1%} [{d['forecast'][0]['low']:.1%}, {d['forecast'][0]['high']:.1%}], twice as many: {d['forecast'][1]['value']:.1%}; worth collecting: {d['collect']}\""
  echo "10. sampling for labelling"
  asks "fifty to label" freehold data sample q.yaml --count 50 --out label.csv --json
  json "most doubtful first, none twice" "len({each['id'] for each in d})==50"
  python3 - <<'P'
import csv
rows = list(csv.DictReader(open("label.csv", newline="")))
for row in rows[:10]:
    row["answer"] = row["incumbent"]
with open("label.csv", "w", newline="") as handle:
    writer = csv.DictWriter(handle, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
P
  expect 0 "ten filled in and taken back" freehold data review q.yaml --apply label.csv
  promise "as verdicts" "10 verdicts kept"
fi

echo "11. retention and backup"
port=$(python3 -c "import socket; s=socket.socket(); s.bind(('127.0.0.1',0)); print(s.getsockname()[1])")
up=$((port + 1))
freehold fake-upstream --port $up >up.log 2>&1 &
upstream=$!
freehold serve --port "$port" --upstream http://127.0.0.1:$up/v1 >serve.log 2>&1 &
gateway=$!
trap 'kill $gateway $upstream 2>/dev/null; rm -rf "$work"' EXIT
python3 - "$port" <<'P'
import json, sys, time, urllib.request
body = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "where is my wage"}]}).encode()
headers = {"content-type": "application/json", "authorization": "Bearer x", "x-freehold-tags": "team=blue"}
for attempt in range(200):
    try:
        for _ in range(5):
            urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{sys.argv[1]}/v1/chat/completions", body, headers), timeout=20).read()
        break
    except OSError:
        time.sleep(0.2)
P
asks "a backup while the gateway serves" freehold backup b.tar --json
show "f\"{d['files']} files, {d['bytes'] / 1e6:.1f} MB, digest {d['digest'][:12]}\""
asks "captures by query" freehold data import captured c.jsonl --model gpt-4o-mini --feedback none --json
json "all of them" "d['kept']==5"
FREEHOLD_HOME=$work/second/.freehold expect 0 "restored elsewhere, digests verified" freehold restore b.tar
promise "every file" "digests verified"
python3 -c "
b=bytearray(open('b.tar','rb').read()); b[b.index(b'SQLite format 3')+5000]^=1; open('bad.tar','wb').write(b)"
FREEHOLD_HOME=$work/third/.freehold expect 2 "one flipped bit is refused" freehold restore bad.tar
expect 0 "a retention policy" freehold retention --keep 90d
promise "says what went" "0 older ones"
kill $gateway $upstream; wait $gateway $upstream 2>/dev/null; gateway=0
trap 'rm -rf "$work"' EXIT

echo "bad input"
printf '{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}\n{"messages":[\n' >broken.jsonl
expect 2 "a broken line stops the import and is named" freehold data import broken.jsonl y.jsonl
promise "by its line" "broken.jsonl:2: is not JSON"
expect 1 "nothing half-written is left under the final name" test -e y.jsonl
asks "or it is left out and counted" freehold data import broken.jsonl y.jsonl --skip-broken --json
json "as asked" "d['kept']==1 and d['broken']==1"
printf 'text,answer\ncaf\351,pay\n' >latin.csv
printf 'task: l\ndescription: d\ndata: {source: latin.csv}\n' >l.yaml
expect 2 "mixed encodings" freehold data card l.yaml
promise "by line and byte" "latin.csv:2: byte 0xE9 is not UTF-8"
python3 -c "
print('{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"b\"}]}'); print('x' * 100_000_000)" >long.jsonl
expect 2 "a line of 100 MB" freehold data import long.jsonl z.jsonl
promise "is named" "long.jsonl:2: is longer than 16 MiB"
asks "or left out" freehold data import long.jsonl z.jsonl --skip-broken --json
json "and the rest kept" "d['kept']==1 and d['broken']==1"
rm -f long.jsonl
python3 - <<'P'
import hashlib, json
def row(at, **more):
    turns = [{"role": "user", "content": hashlib.sha256(str(at).encode()).hexdigest()}, {"role": "assistant", "content": ("pay", "rota")[at % 2]}]
    return {"id": f"r{at}", "messages": turns, **more}
rows = [row(at, **({"parent": f"r{(at + 1) % 3}"} if at < 3 else {})) for at in range(40)]
open("cycle.jsonl", "w").write("".join(json.dumps(each) + "\n" for each in rows))
twice = [row(1), {**row(2), "id": "r1"}]
open("twice.jsonl", "w").write("".join(json.dumps(each) + "\n" for each in twice))
open("zone.jsonl", "w").write(json.dumps({**row(1), "at": "2026-11-23 10:00:00"}) + "\n")
changed = {"request_body": {"messages": []}, "response_body": {}}
open("changed.jsonl", "w").write(json.dumps(row(1)) + "\n" + json.dumps(changed) + "\n")
P
printf 'task: z\ndescription: d\ndata: {source: cycle.jsonl, provenance: incumbent}\n' >z.yaml
asks "a session that runs in a circle is one session" freehold data card z.yaml --json
json "and the card counts it" "any(r==['sessions','1'] for s in d['sections'] for r in s['rows'])"
expect 2 "one id with two contents" freehold data import twice.jsonl t1.jsonl
promise "is named" "twice.jsonl:2: the id 'r1' stands earlier with another content"
expect 2 "a time without its zone" freehold data import zone.jsonl t2.jsonl
promise "is named" "zone.jsonl:1: .*no zone"
expect 2 "a schema that changes midway" freehold data import changed.jsonl t3.jsonl
promise "is named, with what it looks like" "changed.jsonl:2: .*helicone: split"
exit $failed
