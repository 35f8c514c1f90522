#!/bin/sh
# Runs nasgen's samplers and Optuna's on the space `cells` with a formula in place of trainings, and prints how good
# they were. Cut off, it goes on where it was.
#   benches/cells/run.sh OUT_FOLDER [FROM:TO]
set -eu
out=$1 seeds=${2:-100:150}
here=$(dirname "$0")
mkdir -p "$out"
cargo build --release --example cells_yardstick
program=${CARGO_TARGET_DIR:-target}/release/examples/cells_yardstick
if [ ! -s "$out/nasgen.jsonl" ]; then
    rm -f "$out/nasgen.part"
    "$program" "$out/nasgen.part" "$seeds" auto tpe evolution local nsga2 random
    mv "$out/nasgen.part" "$out/nasgen.jsonl"
fi
"${PYTHON:-python3}" "$here/optuna_runs.py" "$program" "$out/optuna.jsonl" --seeds "$seeds"
"${PYTHON:-python3}" "$here/report.py" "$out/nasgen.jsonl" "$out/optuna.jsonl" --seeds "$seeds"
