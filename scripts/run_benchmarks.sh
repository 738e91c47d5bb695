#!/usr/bin/env bash
# Runs benchmark suites and writes their reports: a thin wrapper of `eventbench run`.
set -uo pipefail
root=$(cd "$(dirname "$0")/.." && pwd) || exit 3

usage() {
  cat <<'HELP'
Runs benchmark suites and writes their reports.

  scripts/run_benchmarks.sh [--with-load-test] [SUITE…] [OPTIONS of `eventbench run`]

  SUITE             suites by name, or suite files; event-bus if none is given
  --with-load-test  the load tests of the agent-stream suite as well (virtual users; some minutes)
  --dry-run         show what would be run, and end
  --help            this text

Everything from the first option on is passed on to `eventbench run`, such as --profile standard or --only latency.

Reports of each suite go to the directory $BENCHMARK_RESULTS (benchmark-results if it is not set): SUITE.md for people, SUITE.json
with everything, SUITE.xml as JUnit XML.

The program is $EVENTBENCH, else the release build of this directory's sources, else the one on PATH, else it is built.

Exit codes are those of `eventbench run`, of several suites the gravest: 0 pass or warnings, 1 a limit failed,
2 usage or plan, 3 environment, 4 no data, 5 the instrument could not be trusted, 130 interrupted.
HELP
}

load_test=0
dry_run=0
suites=()
options=()
for argument in "$@"; do
  case $argument in
    --with-load-test) load_test=1 ;;
    -h | --help)
      usage
      exit 0
      ;;
    -*)
      [[ $argument == --dry-run ]] && dry_run=1
      options+=("$argument")
      ;;
    # A word behind an option is the option's value.
    *) if ((${#options[@]})); then options+=("$argument"); else suites+=("$argument"); fi ;;
  esac
done
((${#suites[@]})) || suites=(event-bus)

built=${CARGO_TARGET_DIR:-$root/target}/release/eventbench
if [[ -n ${EVENTBENCH:-} ]]; then
  program=("$EVENTBENCH")
elif [[ -x $built ]]; then
  program=("$built")
elif command -v eventbench >/dev/null; then
  program=(eventbench)
else
  program=(cargo run --quiet --release --manifest-path "$root/Cargo.toml" --package eventbench --)
fi

results=${BENCHMARK_RESULTS:-benchmark-results}
((dry_run)) || mkdir -p "$results" || exit 3

# How grave an exit code is, as eventbench itself weighs several suites.
rank() {
  case $1 in 0) echo 0 ;; 4) echo 1 ;; 1) echo 2 ;; 5) echo 3 ;; 3) echo 4 ;; 2) echo 5 ;; *) echo 6 ;; esac
}

worst=0
# One suite under a name for its reports, with further arguments.
run() {
  local name=$1 code=0
  shift
  "${program[@]}" run "$@" ${options[@]+"${options[@]}"} \
    -o "markdown=$results/$name.md" -o "json=$results/$name.json" -o "junit=$results/$name.xml" || code=$?
  if (($(rank "$code") > $(rank "$worst"))); then worst=$code; fi
  ((dry_run)) || echo "Reports: $results/$name.md, .json, .xml (exit code $code)"
  # Who has interrupted one suite does not want the next.
  ((code != 130)) || exit 130
}

for suite in "${suites[@]}"; do
  name=$(basename "$suite" .toml)
  run "$name" "$suite"
done
if ((load_test)); then run agent-stream-load-test agent-stream --only load-test; fi
exit "$worst"
