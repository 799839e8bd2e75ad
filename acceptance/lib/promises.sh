# shellcheck shell=bash
# What the acceptance scripts say of a promise; sourced, never run. `failed` is 1 once one is broken.
failed=0

ok() { echo "  ok    $1"; }
fail() { echo "  FAIL  $1"; [ -f out.txt ] && sed 's/^/        /' out.txt | tail -20; failed=1; }
expect() { # expect CODE WHAT COMMAND…: runs it, keeps what it printed in out.txt
  local code=$1 what=$2
  shift 2
  "$@" >out.txt 2>&1
  local got=$?
  if [ $got -eq "$code" ]; then ok "$what"; else fail "$what: exit $got, not $code"; fi
}
promise() { # promise WHAT PATTERN: stands in what the last command printed
  if grep -qE -- "$2" out.txt; then ok "$1"; else fail "$1 (wanted: $2)"; fi
}
