#!/usr/bin/env bash
# Runs every fuzz target for SECONDS (default 20), from the seeds in fuzz/corpus (and suites/) and from
# what earlier runs found.
#
#   scripts/fuzz.sh [SECONDS] [TARGET…]
#
# Needs stable Rust and a C++ compiler (libFuzzer is C++), nothing else. An input that crashes a target is kept in
# fuzz/artifacts, printed, and makes this end with 1; run it again with `scripts/fuzz.sh 1 TARGET`, which begins with
# what is kept there.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-20}
if ! [[ $seconds =~ ^[1-9][0-9]*$ ]]; then
  echo "usage: scripts/fuzz.sh [SECONDS] [TARGET…]: \"$seconds\" is no whole number of seconds above zero" >&2
  exit 2
fi
shift || true
if (($# > 0)); then targets=("$@"); else targets=(plan limit wire sse http_response); fi

if ! command -v "${CXX:-c++}" >/dev/null; then
  echo "fuzz: no C++ compiler \"${CXX:-c++}\" on PATH; libFuzzer is built with one (g++ or clang++)" >&2
  exit 3
fi

# The compiler's own coverage pass, without the nightly option that usually asks for it. With --target the flags hold
# for the targets and what they link, not for build scripts and macros.
host=$(rustc -vV | sed -n 's/^host: //p')
export RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing"
export CARGO_TARGET_DIR=$PWD/target/fuzz

build=()
for target in "${targets[@]}"; do build+=(--bin "$target"); done
cargo build --quiet --locked --manifest-path fuzz/Cargo.toml --target "$host" "${build[@]}"

failed=0
for target in "${targets[@]}"; do
  program=$CARGO_TARGET_DIR/$host/debug/$target
  found=$CARGO_TARGET_DIR/found/$target
  kept=fuzz/artifacts/$target
  log=$CARGO_TARGET_DIR/$target.log
  mkdir -p "$found" "$kept"
  seeds=("fuzz/corpus/$target")
  # The built-in suites are the best suites to begin with.
  if [[ $target == plan ]]; then seeds+=(suites); fi
  words=()
  if [[ -f fuzz/$target.dict ]]; then words=(-dict="fuzz/$target.dict"); fi

  status=0
  # What crashed before and is not mended yet crashes again at once.
  shopt -s nullglob
  earlier=("$kept"/crash-* "$kept"/timeout-* "$kept"/oom-* "$kept"/leak-*)
  shopt -u nullglob
  if ((${#earlier[@]} > 0)); then
    "$program" "${earlier[@]}" >"$log" 2>&1 || status=$?
  fi
  if ((status == 0)); then
    # 1.5 GiB and 10 s for one input: a small file that costs more is a fault as well.
    "$program" "$found" "${seeds[@]}" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1536 \
      -max_len=32768 -artifact_prefix="$kept/" "${words[@]}" >"$log" 2>&1 || status=$?
  fi
  if ((status != 0)); then
    failed=1
    echo "fuzz $target: FAILED, the end of its output (whole in ${log#"$PWD"/}):"
    grep -v -E '^#[0-9]+\s+(NEW|REDUCE|pulse|RELOAD)' "$log" | tail -n 40
    continue
  fi
  # A target that the coverage pass does not reach would run for its time and find nothing.
  runs=$(sed -n -E 's/^Done ([0-9]+) runs in .*/\1/p' "$log")
  cover=$(sed -n -E 's/.* cov: ([0-9]+) .*/\1/p' "$log" | tail -n 1)
  if [[ -z $runs || -z $cover || $cover -lt 50 ]]; then
    failed=1
    echo "fuzz $target: no coverage (${cover:-0} edges) in ${runs:-no} runs: the build is not instrumented; see ${log#"$PWD"/}"
    continue
  fi
  echo "fuzz $target: $runs runs in $seconds s, $cover edges covered, no crash"
done
exit "$failed"
