#!/usr/bin/env bash
# What docs/data.md promises, as a new user would find it: needs `freehold` on the PATH, and ../shared for real data.
set -uo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
shared=$here/../shared/data
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
failed=0
check() { # check "what was promised" command…
  local what=$1
  shift
  if "$@"; then echo "  ok    $what"; else echo "  FAIL  $what"; failed=1; fi
}
json() { python3 -c "import json,sys; d=json.load(open(sys.argv[1])); assert $2, d" "$1"; }
exits() { local want=$1; shift; "$@" >out.txt 2>err.txt; [ $? = "$want" ] && [ "$(wc -l <err.txt)" -le 1 ]; }

echo "contamination"
printf 'question\nWhat is the capital of France?\nWho wrote this line of text here today?\n' >bench.csv
printf '{"text":"I asked: WHAT is the capital -- of France, then"}\n{"text":"nothing"}\n' >train.jsonl
freehold data contamination train.jsonl --against bench.csv --json >c.json
check "one of two items is found, with its place" json c.json "d['contaminated']==1 and d['items'][0]['found_in']=='train.jsonl:1'"

echo "import"
printf '{"instruction":"Sort.","input":"Where is my wage?","output":"pay"}\n{"instruction":\n' >alpaca.jsonl
check "a broken line stops the import and is named" exits 2 freehold data import alpaca.jsonl x.jsonl
check "nothing half-written is left under the final name" test ! -e x.jsonl
freehold data import alpaca.jsonl x.jsonl --skip-broken --json >i.json
check "or it is left out and counted" json i.json "d['kept']==1 and d['broken']==1 and d['format']=='alpaca'"

echo "a small task"
python3 - <<'P'
import hashlib
rows = ["text,answer,subject"]
for at in range(120):
    noise = hashlib.sha256(str(at).encode()).hexdigest()
    rows.append(f"{noise[:20]} {noise[20:45]},{('pay','rota','safety')[at % 3]},user{at % 9}")
open("m.csv", "w").write("\n".join(rows) + "\n")
P
printf 'task: t\ndescription: d\ndata: {source: m.csv}\n' >t.yaml
freehold data card t.yaml --json >card1.json 2>/dev/null
rm -rf .freehold
freehold data card t.yaml --json >card2.json 2>/dev/null
check "the same input gives the same digest" cmp -s card1.json card2.json
check "the card is written as HTML" freehold data card t.yaml --out card.html
check "bad input is one sentence and exit 2" exits 2 freehold data card gone.yaml
freehold forget user3 --json >f.json
check "a person is forgotten, and a certificate names what was done" json f.json "sum(map(len,d['examples'].values()))>=13"
check "and is gone from the workspace" sh -c '! grep -rq user3 .freehold'
check "a stranger is not found" exits 2 freehold forget nobody

if [ -d "$shared/banking77" ]; then
  echo "Banking77"
  printf 'task: b\ndescription: d\ndata: {source: %s/banking77/train.csv, held_out: %s/banking77/test.csv, answer: category}\n' \
    "$shared" "$shared" >b.yaml
  freehold data card b.yaml --json >b.json 2>/dev/null
  python3 - <<'P'
import json
for section in json.load(open("b.json"))["sections"]:
    if section["title"] in ("Dropped rows", "Checks"):
        for name, value in section["rows"][1:]:
            print(f"        {name}: {value}")
P
  check "neighbours of the official test leave training, and none is left" json b.json \
    "any(r==['neighbour of held out','109'] for s in d['sections'] for r in s['rows']) and any(r[1]=='0' for s in d['sections'] if s['title']=='Checks' for r in s['rows'])"
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
  printf 'task: q\ndescription: d\ndata: {source: flipped.csv, answer: category}\n' >q.yaml
  freehold data review q.yaml --limit 1000 --json >worst.json 2>/dev/null
  python3 - <<'P'
import json
flips = set(json.load(open("flips.json")))
worst = {" ".join(each["text"].split()) for each in json.load(open("worst.json"))}
share = len(flips & worst) / len(flips)
print(f"        {share:.1%} of 5 % flipped labels are among the worst 1,000")
json.dump(share, open("share.json", "w"))
P
  check "at least 70 % of flipped labels are among the worst tenth" json share.json "d >= 0.7"
else
  echo "skipped: Banking77 (needs ../shared/data/banking77)"
fi
if [ -d "$shared/mmlu/test" ]; then
  echo "MMLU"
  cp "$shared/mmlu/test/anatomy_test.csv" leak.csv
  freehold data contamination leak.csv --against "$shared/mmlu/test" --json >m.json 2>/dev/null
  check "135 anatomy questions are found among 14,042" json m.json \
    "sum(i['item'].startswith('anatomy_test') for i in d['items'])==135 and d['benchmark_items']==14042"
else
  echo "skipped: MMLU (needs ../shared/data/mmlu)"
fi
exit $failed
