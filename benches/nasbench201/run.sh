#!/bin/sh
# Runs nasgen's samplers and Optuna's on the same table with the same seeds, and prints how good they were.
#   benches/nasbench201/run.sh TABLE.csv.gz OUT_FOLDER [FROM:TO]
# Cut off, it goes on where it was: Optuna's GPSampler takes most of the time (two hours of one core for 50 seeds).
set -eu
table=$1 out=$2 seeds=${3:-100:150}
here=$(dirname "$0")
mkdir -p "$out"
if [ ! -s "$out/nasgen.jsonl" ]; then
    rm -f "$out/nasgen.part"
    cargo run --release -p nasgen-search --example nasbench201 -- "$table" "$out/nasgen.part" "$seeds" \
        auto tpe 'tpe={"multivariate":false}' evolution local nsga2 random
    mv "$out/nasgen.part" "$out/nasgen.jsonl"
fi
"${PYTHON:-python3}" "$here/optuna_runs.py" "$table" "$out/optuna.jsonl" --seeds "$seeds"
"${PYTHON:-python3}" "$here/report.py" "$table" "$out/nasgen.jsonl" "$out/optuna.jsonl" --seeds "$seeds"
